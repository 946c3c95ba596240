"""Distances between a law on the line and a target: Wasserstein-2, Kullback-Leibler, total variation."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import logsumexp

from lpsgld.toy.exact.laws import Law
from lpsgld.toy.targets import Target

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_OUTSIDE = 1e-12  # probability in each tail that `wasserstein2_smooth` leaves out


def wasserstein2(law: Law, target: Target) -> float:
    """W2(law, target), in the unit of the points.

    On the line the best plan joins equal quantiles, W2² = ∫ (q_law(u) - q_target(u))² du over u from 0 to 1, and
    q_law is a staircase, so that each step is a closed form in the target's quantile moments.
    """
    edges = np.concatenate([[0.0], np.cumsum(law.probabilities)])
    edges = np.clip(edges / edges[-1], 0.0, 1.0)
    mass = np.diff(edges)
    first, second = (np.diff(moment) for moment in target.quantile_moments(edges))
    return float(np.sqrt(max(0.0, np.sum(law.points**2 * mass - 2 * law.points * first + second))))


def wasserstein2_smooth(law: Law, target: Target) -> float:
    """W2(law, target) for a law that stands for a density at equally spaced points: a full-precision accumulator's.

    Read as atoms, such a law would be at least spacing/√12 away from any density. Here a cubic spline goes through the
    density, its integral F is the law's cdf, and W2² = ∫ (x - q_target(F(x)))² dF(x). The error is below 1e-6 for the
    laws of `exact.stationary`, tested against closed forms.
    """
    spacing = law.points[1] - law.points[0]
    cdf = CubicSpline(law.points, law.probabilities / spacing).antiderivative()(law.points)
    u = (cdf + law.probabilities[0] / 2) / (cdf[-1] + law.probabilities[0])
    keep = (u > _OUTSIDE) & (u < 1 - _OUTSIDE)
    moved = law.points[keep] - target.quantile(u[keep])
    return float(np.sqrt(moved**2 @ law.probabilities[keep]))


def on_grid_floor(points: np.ndarray, target: Target) -> float:
    """The smallest W2 that any law on these (sorted) points can have: that of the target rounded to nearest.

    For a fine grid it is Δ/√12, and it is what every sampler pays that ends on the grid.
    """
    middles = (points[1:] + points[:-1]) / 2
    edges = np.concatenate([[0.0], target.cdf(middles), [1.0]])
    return wasserstein2(Law(points, np.diff(edges)), target)


def kl_divergence(law: Law, target: Target) -> float:
    """Σ p log(p/q) in nats: from the law p on equally spaced points to the target rounded to nearest on them, q."""
    p = law.probabilities
    terms = np.where(p > 0, np.log(np.where(p > 0, p, 1.0)) - _log_cells(law.points, target), 0.0)
    return float(p @ terms)


def total_variation(law: Law, target: Target) -> float:
    """½ Σ |p - q|: the largest difference in any event between the law and the target rounded to nearest."""
    return float(np.abs(law.probabilities - np.exp(_log_cells(law.points, target))).sum() / 2)


def _log_cells(points: np.ndarray, target: Target) -> np.ndarray:
    """log of the target's probability in the cell around each point; the outer cells reach to infinity.

    In logarithms, since a wide law has mass where the target's own underflows.
    """
    spacing = points[1] - points[0]
    logs = target.log_density(points[:, None] + spacing / 2 * _NODES)
    cells = logsumexp(logs, b=_WEIGHTS * spacing / 2, axis=1)
    below, above = target.cdf(points[0] - spacing / 2), 1 - target.cdf(points[-1] + spacing / 2)
    with np.errstate(divide="ignore"):  # nothing beyond the range: log 0
        cells[0] = np.logaddexp(cells[0], np.log(below))
        cells[-1] = np.logaddexp(cells[-1], np.log(max(above, 0.0)))
    return cells
