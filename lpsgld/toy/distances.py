"""The Wasserstein-2 distance between a law on the line and a target."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from lpsgld import formats
from lpsgld.formats import AnyFormat
from lpsgld.samplers.accumulators import Accumulator
from lpsgld.toy.exact import Law, stationary
from lpsgld.toy.targets import SeenThrough, Target

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


def of_sampler(target: Target, alpha: float, fmt: AnyFormat, accumulator: Accumulator, *noise, **settings) -> float:
    """W2 between the target and the law to which a sampler converges: `exact.stationary` of the same arguments."""
    law = stationary(target, alpha, fmt, accumulator, *noise, **settings)
    return (wasserstein2_smooth if accumulator == "full" else wasserstein2)(law, target)


def full_floor(target: Target, fmt: AnyFormat) -> float:
    """The W2 that SGLDLP-F keeps as α → 0, because gradients are taken at rounded weights."""
    limit = SeenThrough(target, fmt)
    points = np.linspace(*limit.quantile([0.0, 1.0]), 30_001)
    return wasserstein2_smooth(Law(points, limit.density(points) * (points[1] - points[0])), target)


def best_step(distance: Callable[[float], float]) -> tuple[float, float]:
    """The step size at which this function of it is smallest, searched from 1e-4 to 0.9, and its value there."""
    bounds = (math.log(1e-4), math.log(0.9))
    options = {"xatol": 1e-3}
    found = minimize_scalar(lambda log: distance(math.exp(log)), bounds=bounds, method="bounded", options=options)
    return math.exp(found.x), float(found.fun)


def on_grid_floor(target: Target, fmt: AnyFormat) -> float:
    """The smallest W2 that any law on the numbers of a format can have: that of the target rounded to nearest.

    For a fine grid it is Δ/√12, and it is what every sampler pays that ends on the grid.
    """
    points = formats.parse(fmt).values().double().numpy()
    middles = (points[1:] + points[:-1]) / 2
    edges = np.concatenate([[0.0], target.cdf(middles), [1.0]])
    return wasserstein2(Law(points, np.diff(edges)), target)
