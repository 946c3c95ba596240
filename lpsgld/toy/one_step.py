"""One step from a given point: which grid points it reaches, with what probability, and with what variance.

Lengths are in gaps, so that grid points are the whole numbers. Rounding is a B-spline, whose degree is the number of
uniform numbers added before rounding to nearest: 0 is nearest itself, 1 stochastic rounding Q^s, 2 triangular dither,
which is the first branch of Q^vc. The exact laws (`exact/`) are made of these steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import Polynomial
from scipy.special import ndtr
from torch import Tensor

from lpsgld import formats
from lpsgld.formats import AnyFormat
from lpsgld.rounding import quantize

# ---- one rounding ----------------------------------------------------------------------------------------------------


def spline(degree: int, distance):
    """The probability that x is rounded to a grid point at this distance (array): the B-spline of degree 0, 1 or 2."""
    d = np.abs(distance)
    if degree == 2:
        return np.where(d <= 0.5, 0.75 - d * d, np.maximum(1.5 - d, 0) ** 2 / 2)
    return np.maximum(1 - d, 0) if degree else (d < 0.5).astype(float)


def mean_error(degree: int, position):
    """E Q(x) - x for x at this position in its cell, from 0 to 1 (array)."""
    return np.zeros_like(position) if degree else np.floor(position + 0.5) - position


def squared_error(degree: int, position):
    """E (Q(x) - x)²: the square of the distance to the nearest, f(1 - f), or 1/4 (array)."""
    return (mean_error(0, position) ** 2, position * (1 - position), np.full_like(position, 0.25))[degree]


def std_of_squares(degree: int, position):
    """The standard deviation of (Q(x) - x)² around `squared_error` (array)."""
    distance = np.expand_dims(position, -1) - np.arange(-1, 3)
    fourth = (spline(degree, distance) * distance**4).sum(axis=-1)
    return np.sqrt(np.maximum(fourth - squared_error(degree, position) ** 2, 0))


def dithered(x: Tensor, fmt: AnyFormat, degree: int, generator: torch.Generator | None = None) -> Tensor:
    """x (in its own unit) on the grid of a fixed-point format, by one of the three; 1 is `quantize`'s own."""
    if degree == 1:
        return quantize(x, fmt, "stochastic", generator)
    for _ in range(degree):
        x = x + formats.parse(fmt).uniform.gap * (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5)
    return quantize(x, fmt, "nearest")


# ---- one step --------------------------------------------------------------------------------------------------------


class Landing(NamedTuple):
    """P(step ≥ j) is the finite difference over j, of this order, of function(t - j), where t is the step's mean.

    A B-spline is a finite difference of a truncated power, so that the integral of a Gaussian of standard deviation
    std against one is a finite difference of the Gaussian's truncated moments.
    """

    function: Callable
    order: int
    std: float = 0.0

    @classmethod
    def of(cls, degree: int, std: float) -> Landing:
        """t + std·ξ, rounded with the B-spline of this degree."""
        return cls(partial(truncated_power, degree, s=std), degree, std)

    def probabilities(self, mean, codes: np.ndarray) -> np.ndarray:
        """P(step = code) from this mean, for each of the codes."""
        n, d = self.order + 1, mean - codes + min(self.order, 1)
        return sum((-1) ** i * math.comb(n, i) * self.function(d - i) for i in range(n + 1))


def landing(accumulator: str, variance: float, more: float = 0.0) -> Landing:
    """Where a "naive" step Q^s(t + √v ξ) or a "vc" step Q^vc(t, v) lands; without variance, both are Q^s(t).

    more: standard deviation of Gaussian noise in t itself, such as the gradient's. The second branch of Q^vc, v ≤ 1/4,
    is of order 0. (Zhang, Wilson and De Sa 2022, equation 5 and Algorithm 1.)
    """
    if accumulator == "vc" and 0 < variance <= 0.25:
        return Landing(partial(_smeared_correction if more else _correction, w=variance, s=more), 0, more)
    degree = 2 if accumulator == "vc" and variance else 1
    return Landing.of(degree, math.sqrt(variance - (degree - 1) / 4 + more**2))


def truncated_power(degree: int, d, s: float):
    """E max(d + c + sξ, 0)^degree / degree!; c is 0 for degree 1, else 1/2: the spline is centred on a grid point."""
    if degree != 1:
        d = d + 0.5
    if s == 0:
        return (d > 0) * d**degree / math.factorial(degree)
    return _ramps(d, s, degree)[degree]


@np.errstate(under="ignore")
def _ramps(d, s: float, highest: int) -> list:
    """r_k = E max(d + sξ, 0)^k / k! for k from 0 to `highest`, by k r_k = d r_(k-1) + s² r_(k-2)."""
    ramps = [phi(d / s) / s, ndtr(d / s)]
    for k in range(1, highest + 1):
        ramps.append((d * ramps[-1] + s * s * ramps[-2]) / k)
    return ramps[1:]


@np.errstate(under="ignore")
def phi(z):
    """The standard normal density."""
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _correction(d, w: float, s: float = 0.0):
    """P(code ≥ 0) of Q^vc's second branch with variance w ≤ 1/4, from the mean d."""
    below = np.floor(d)
    f = d - below
    half = np.maximum(w - f * (1 - f), 0) / 2
    return np.select(
        [below >= 1, below == 0, below == -1, below == -2],
        [1.0, 1 - (1 - f) * half, f * (1 - half) + (1 - f) * half, f * half],
        0.0,
    )


def _smeared_correction(d, w: float, s: float):
    """E `_correction`(d + sξ): what is a polynomial between corners is a sum of ramps that begin at them."""
    total = np.zeros_like(d)
    for corner, jumps in _corners(w):
        for jump, ramp in zip(jumps, _ramps(d - corner, s, 3), strict=True):
            total += jump * ramp
    return total


@cache
def _corners(w: float) -> list[tuple[float, list[float]]]:
    """Where the polynomials of `_correction` meet, and by how much its 0th to 3rd derivative jump there."""
    f = Polynomial([0, 1])
    edge = (1 - math.sqrt(1 - 4 * w)) / 2  # f(1 - f) = w
    corners, before = [], Polynomial([0])
    for cell in (-2, -1, 0):
        for start, half in ((0.0, (w - f * (1 - f)) / 2), (edge, Polynomial([0])), (1 - edge, (w - f * (1 - f)) / 2)):
            here = (f * half, f * (1 - half) + (1 - f) * half, 1 - (1 - f) * half)[cell + 2]
            corners.append((cell + start, _jumps(here - before, start)))
            before = here
        before = here(f + 1)  # the same polynomial, counted from the next cell
    return [*corners, (1.0, _jumps(1 - before, 0.0))]


def _jumps(difference: Polynomial, at: float) -> list[float]:
    return [float(difference.deriv(k)(at)) for k in range(4)]


@np.errstate(under="ignore")
def rounding_variance(std: float, position=0.0):
    """E f(1 - f), f the place in its cell of position + std·ξ: what stochastic rounding adds to a step (array).

    Its Fourier series is 1/6 - Σ cos(2πk·position) e^(-2(πk·std)²)/(πk)². From a grid point, small steps have
    √(2/π)·std, large ones 1/6.
    """
    f = position - np.floor(position)
    if std < 0.1:  # the series converges slowly, and no step leaves the neighbouring cells (10 standard deviations)
        corners = truncated_power(1, -f, std) + truncated_power(1, f - 1, std)
        return f * (1 - f) - std**2 + 2 * corners
    k = np.pi * np.arange(1, 20)
    return 1 / 6 - (np.cos(2 * k * np.expand_dims(f, -1)) * np.exp(-2 * (k * std) ** 2) / k**2).sum(axis=-1)


def step_variance(accumulator: str, position, variance: float):
    """The variance of a "naive" or "vc" step whose mean has this position in its cell, and that should have v (array).

    v + `rounding_variance`; and for "vc" v itself, but f(1 - f) where that is more and v ≤ 1/4.
    """
    if accumulator == "vc":
        return np.maximum(variance, (variance <= 0.25) * position * (1 - position))
    return variance + rounding_variance(math.sqrt(variance), position)
