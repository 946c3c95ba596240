"""Exact laws on a grid whose gaps differ, such as bfloat16's, where they double at every power of two.

`chain.py` has one gap for all states. Here each state has a row of its own: where its step lands among unequal gaps.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from scipy.special import ndtr

from lpsgld import formats
from lpsgld.formats import AnyFormat
from lpsgld.toy.exact.laws import Law, left_eigenvector, nearest, require_room
from lpsgld.toy.exact.outcomes import TAIL
from lpsgld.toy.one_step import landing, truncated_power
from lpsgld.toy.targets import Target

Rounding = Literal["naive", "nearest", "vc"]


def law(
    target: Target,
    alpha: float,
    fmt: AnyFormat,
    rounding: Rounding,
    low: float,
    high: float,
    steps: float | None = None,
) -> Law:
    """The stationary law of the chain of `transition`; or its law after `steps` steps, rounded up to a power of two,
    from the number next to the target's mode."""
    points, matrix = transition(target, alpha, fmt, rounding, low, high)
    start = nearest(points, target.mode)
    if steps is None:
        return Law(points, left_eigenvector(matrix, start))
    for _ in range(math.ceil(math.log2(steps))):
        matrix = matrix @ matrix
    return Law(points, matrix[start])


def transition(
    target: Target, alpha: float, fmt: AnyFormat, rounding: Rounding, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of fmt from low to high [n], and the matrix [n, n] whose row i is the law of one step from point i.

    With μ = θ - α∇U(θ) and v = 2α: "naive" is Q^s(μ + √v ξ), "nearest" Q^d(μ + √v ξ), "vc" Q^vc(μ, v). A step beyond
    an end stops there: choose them where hardly any step goes.
    """
    points = formats.parse(fmt).values().double().numpy()
    points = points[(points >= low) & (points <= high)]
    require_room(len(points), len(points))
    mean, std = points - alpha * target.gradient(points), math.sqrt(2 * alpha)
    if rounding == "vc":
        return points, _corrected(points, mean, std, fmt)
    if rounding == "nearest":
        above = ndtr((mean[:, None] - (points[1:] + points[:-1]) / 2) / std)
    else:  # between two points, the probability of the upper one rises from 0 to 1: the linear B-spline
        above = -np.diff(truncated_power(1, mean[:, None] - points, std), axis=1) / np.diff(points)
    above = np.pad(above, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))  # P(at this point or above)
    return points, np.maximum(-np.diff(above, axis=1), 0)


def _corrected(points: np.ndarray, mean: np.ndarray, std: float, fmt: AnyFormat) -> np.ndarray:
    """One step of Q^vc from each point, on the uniform grid around its mean that has head-room for the noise."""
    gaps = formats.grid(fmt, torch.from_numpy(mean), reach=6 * std).gap.numpy()
    matrix = np.zeros((len(points), len(points)))
    for gap in np.unique(gaps):
        rows = np.flatnonzero(gaps == gap)[:, None]
        t, reach = mean[rows] / gap, math.ceil(TAIL * std / gap) + 3
        codes = np.floor(t) + np.arange(-reach, reach + 1)
        columns = np.minimum(np.searchsorted(points, codes * gap), len(points) - 1)
        np.add.at(matrix, (rows, columns), landing("vc", (std / gap) ** 2).probabilities(t, codes))
    return np.maximum(matrix, 0)
