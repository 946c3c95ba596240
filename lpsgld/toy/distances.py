"""Distances between a discrete law on the line and a target."""

from __future__ import annotations

import numpy as np

from lpsgld.toy.exact import Law
from lpsgld.toy.targets import Gaussian


def wasserstein2(law: Law, target: Gaussian) -> float:
    """W2(law, target), in the unit of the points.

    On the line the best plan joins equal quantiles, W2² = ∫ (q_law(u) - q_target(u))² du over u from 0 to 1, and
    q_law is a staircase, so that each step is a closed form in the target's quantile moments.
    """
    edges = np.concatenate([[0.0], np.cumsum(law.probabilities)])
    edges = np.clip(edges / edges[-1], 0.0, 1.0)
    mass = np.diff(edges)
    first, second = (np.diff(moment) for moment in target.quantile_moments(edges))
    return float(np.sqrt(max(0.0, np.sum(law.points**2 * mass - 2 * law.points * first + second))))


def on_grid_floor(points: np.ndarray, target: Gaussian) -> float:
    """The smallest W2 that any law on these (sorted) points can have: that of the target rounded to nearest.

    For a fine grid it is Δ/√12, and it is what every sampler pays that ends on the grid.
    """
    middles = (points[1:] + points[:-1]) / 2
    edges = np.concatenate([[0.0], target.cdf(middles), [1.0]])
    return wasserstein2(Law(points, np.diff(edges)), target)
