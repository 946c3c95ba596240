"""The law of a stochastic gradient at each state: exact gradient, Gaussian noise, stochastic rounding."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lpsgld.formats import Format
from lpsgld.toy.exact.laws import require_room
from lpsgld.toy.one_step import Landing

TAIL = 8.5  # standard deviations: a Gaussian has 2e-17 beyond, below float64's resolution
_NODES = 6  # of the quadrature over rounded gradients


class Outcomes(NamedTuple):
    """The law of a stochastic gradient at each of n states: K values with weights, plus a Gaussian of this std."""

    values: np.ndarray  # [n, K]
    weights: np.ndarray  # [n, K]
    gaussian_std: float


def grid_codes(fmt: Format) -> tuple[float, np.ndarray]:
    """The gap of a fixed-point format and all of its codes."""
    g = fmt.uniform
    return g.gap, np.arange(g.low, g.high + 1)


def gradient_outcomes(slopes: np.ndarray, noise: float, grad: Format | None) -> Outcomes:
    """Q_G(slope + noise·ξ) at each of these slopes [n]; a Gaussian part is left only where nothing is rounded."""
    if grad is None:
        return Outcomes(slopes[:, None], np.ones((len(slopes), 1)), noise)
    gap, codes = grid_codes(grad)
    t = slopes / gap
    s = noise / gap
    reach = math.ceil(TAIL * s) + 1
    require_room(len(slopes), 2 * reach + 2)
    ends = np.floor(t)[:, None] + np.arange(-reach, reach + 2)
    weights = np.maximum(Landing.of(1, s).probabilities(t[:, None], ends), 0.0)
    return Outcomes(np.clip(ends, codes[0], codes[-1]) * gap, weights / weights.sum(axis=1, keepdims=True), 0.0)


def compressed(outcomes: Outcomes, smooth_below: float) -> Outcomes:
    """The Gauss quadrature of each state's gradient law: the same first 11 moments from 6 values.

    What follows is smooth on the scale `smooth_below` (in the gradient's unit); if the gradient varies by less than a
    sixth of it, the error is below 6^-12 / 12! and no digit of float64 changes. Otherwise nothing is compressed.
    """
    values, weights, _ = outcomes
    centre = (values * weights).sum(axis=1, keepdims=True)
    x = values - centre
    spread = np.sqrt((x * x * weights).sum(axis=1)).max()
    if values.shape[1] <= _NODES or spread > smooth_below / 6:
        return outcomes
    n = len(x)
    jacobi = np.zeros((n, _NODES, _NODES))
    previous, current, beta = np.zeros_like(x), np.sqrt(weights), np.zeros(n)
    for k in range(_NODES):  # Lanczos: orthogonal polynomials of the discrete law
        step = x * current
        jacobi[:, k, k] = (step * current).sum(axis=1)
        step = step - jacobi[:, k, k, None] * current - beta[:, None] * previous
        beta = np.sqrt((step * step).sum(axis=1))
        alive = beta > 1e-12 * (spread + 1e-300)  # a law of fewer values ends earlier, with nodes of weight 0
        beta = np.where(alive, beta, 0.0)
        previous, current = current, np.where(alive[:, None], step / np.where(alive, beta, 1.0)[:, None], 0.0)
        if k + 1 < _NODES:
            jacobi[:, k, k + 1] = jacobi[:, k + 1, k] = beta
    nodes, vectors = np.linalg.eigh(jacobi)
    return Outcomes(nodes + centre, vectors[:, 0, :] ** 2, outcomes.gaussian_std)
