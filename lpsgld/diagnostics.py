"""What a set of chains is worth: effective sample size, R-hat and autocorrelation, computed by arviz-stats.

draws are [n, chains], as `chains.run` returns them, for one scalar quantity.
"""

from __future__ import annotations

import numpy as np
from arviz_stats.base import array_stats


def effective_sample_size(draws) -> float:
    """The number of independent draws whose mean is as precise as that of these draws [n, chains], n ≥ 4."""
    return float(array_stats.ess(_chains_first(draws), chain_axis=0, draw_axis=1, method="mean"))


def rhat(draws) -> float:
    """Split rank-normalised R-hat of draws [n, chains], n ≥ 4: near 1 where the chains agree, above 1.01 suspicious."""
    return float(array_stats.rhat(_chains_first(draws), chain_axis=0, draw_axis=1, method="rank"))


def autocorrelation(draws, lags: int) -> np.ndarray:
    """The correlation of draws that are 0, 1, ..., lags - 1 steps apart, averaged over chains [lags]."""
    return np.mean([array_stats.autocorr(chain) for chain in _chains_first(draws)], axis=0)[:lags]


def _chains_first(draws) -> np.ndarray:
    draws = np.asarray(draws, dtype=float)
    if draws.ndim != 2 or draws.shape[0] < 4:
        raise ValueError(f"draws have shape {draws.shape}, but must be [n, chains] with n ≥ 4 draws a chain")
    return np.ascontiguousarray(draws.T)
