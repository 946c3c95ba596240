"""What a set of chains is worth: R-hat, effective sample size and autocorrelation, computed by arviz-stats.

draws are [chains, draws, ...] with at least 4 draws of each chain; further axes, if any, number the quantities, each
of which is judged alone. `toy.chains.run` returns one row a step: transpose it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats


class Mixing(NamedTuple):
    """What chains are worth, over all quantities: the median of R-hat, the share of quantities whose R-hat is above
    1.01, the median of the effective sample sizes, and the number of draws that they compare with."""

    rhat: float
    suspicious: float
    ess: float
    draws: int

    def told(self) -> dict[str, float]:
        """The numbers by name, in four digits after the point: `Mixing(**told)` has them again."""
        return {name: round(value, 4) for name, value in self._asdict().items()}

    def __str__(self) -> str:
        return f"R-hat {self.rhat:.3f} ({self.suspicious:.0%} above 1.01), ESS {self.ess:.0f} of {self.draws}"


def mixing(draws) -> Mixing | None:
    """R-hat and effective sample size of draws, in four numbers; None for one chain, or fewer than 4 draws of each.

    A quantity whose draws are all equal does not count; where all are such, chains agree: R-hat is 1, and each draw
    counts.
    """
    draws = np.asarray(draws, dtype=float)
    if draws.ndim > 1 and (draws.shape[0] < 2 or draws.shape[1] < 4):
        return None
    draws = _checked(draws)
    count = draws.shape[0] * draws.shape[1]
    moving = draws.reshape(*draws.shape[:2], -1)
    moving = moving[:, :, np.ptp(moving, axis=(0, 1)) > 0]
    if not moving.size:
        return Mixing(1.0, 0.0, float(count), count)
    rhats, sizes = rhat(moving), effective_sample_size(moving)
    return Mixing(float(np.median(rhats)), float(np.mean(rhats > 1.01)), float(np.median(sizes)), count)


def rhat(draws) -> np.ndarray:
    """Split rank-normalised R-hat of each quantity [...]: near 1 where the chains agree, above 1.01 suspicious
    (Vehtari et al. 2021). NaN where all draws are equal. Needs two chains or more."""
    draws = _checked(draws)
    if len(draws) < 2:
        raise ValueError(f"draws have shape {draws.shape}, but R-hat compares chains: give it 2 or more")
    with np.errstate(invalid="ignore", divide="ignore"):  # constant draws have no variance
        return array_stats.rhat(draws, chain_axis=0, draw_axis=1, method="rank")[()]


def effective_sample_size(draws) -> np.ndarray:
    """The number of independent draws whose mean is as precise as that of these, for each quantity [...]."""
    return array_stats.ess(_checked(draws), chain_axis=0, draw_axis=1, method="mean")[()]


def autocorrelation(draws, lags: int) -> np.ndarray:
    """The correlation of draws that are 0, 1, ..., lags - 1 steps apart, around the mean of all chains [lags, ...].

    Around its own mean, each short chain would look as if it forgot too quickly.
    """
    draws = _checked(draws)
    n = draws.shape[1]
    if not 1 <= lags <= n:
        raise ValueError(f"lags is {lags}, but must be from 1 to {n}, the number of draws a chain")
    power = np.abs(np.fft.rfft(draws - draws.mean(axis=(0, 1)), 2 * n, axis=1)) ** 2
    sums = np.fft.irfft(power, axis=1).mean(axis=0)[:lags]
    covariance = sums / (n - np.arange(lags)).reshape(-1, *[1] * (sums.ndim - 1))
    return covariance / covariance[0]


def _checked(draws) -> np.ndarray:
    draws = np.asarray(draws, dtype=float)
    if draws.ndim < 2 or draws.shape[1] < 4 or 0 in draws.shape:
        raise ValueError(
            f"draws have shape {draws.shape}, but must be [chains, draws, ...] with at least 4 draws of each chain: "
            "transpose what has one row a step"
        )
    return draws
