"""Metropolis' correction of a chain on a grid, exact: the probability of each step, and of the way back, is known.

Hastings (1970): propose y from x with probability P(x, y), accept it with min(1, π(y)P(y, x)/(π(x)P(x, y))), else stay.
Then π is the law in the long run, whatever P is; here π is the target on the grid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from lpsgld import text
from lpsgld.toy.exact import Law
from lpsgld.toy.exact.laws import left_eigenvector
from lpsgld.toy.targets import Target

_RARE = 1e-12  # of the density's peak: points below are never entered


class Corrected(NamedTuple):
    """law: in the long run. matrix: [n, n], of the corrected chain. accepted: [n], how much of what is proposed at each
    point is accepted."""

    law: Law
    matrix: np.ndarray
    accepted: np.ndarray

    @property
    def acceptance(self) -> float:
        """The share that is accepted in the long run."""
        return float(self.law.probabilities @ self.accepted)


def corrected(points: np.ndarray, proposals: np.ndarray, target: Target, noise: float = 0.0) -> Corrected:
    """The chain that proposes by a transition matrix [n, n] (`exact.transition`) and accepts as Metropolis says.

    noise: standard deviation of the Gaussian error in each log ratio, such as that of a mini-batch's energies; with it,
    the law is no longer the target. Points where the target's density is below 1e-12 of its peak are left out.
    """
    text.number("noise", noise)
    density = target.density(points)
    kept = density > _RARE * density.max()
    points, density, p = points[kept], density[kept], np.maximum(proposals[np.ix_(kept, kept)], 0)
    there, back = density[:, None] * p, density[None] * p.T
    both = (there > 0) & (back > 0)
    ratio = np.log(back, out=np.zeros_like(p), where=both) - np.log(there, out=np.zeros_like(p), where=both)
    matrix = p * _accepts(ratio, noise) * both
    accepted = matrix.sum(axis=1)
    matrix[np.diag_indices_from(matrix)] += 1 - accepted
    law = left_eigenvector(matrix, int(density.argmax())) if noise else density / density.sum()
    return Corrected(Law(points, law), matrix, accepted)


def _accepts(ratio: np.ndarray, noise: float) -> np.ndarray:
    """E min(1, e^(ratio + noise·ξ)), ξ standard normal."""
    if noise == 0:
        return np.exp(np.minimum(ratio, 0))
    rise = np.exp(np.minimum(ratio + noise**2 / 2, 700))
    return np.minimum(ndtr(ratio / noise) + rise * ndtr(-ratio / noise - noise), 1)
