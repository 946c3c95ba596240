"""The discretisation of the paper on momentum (arXiv 2310.16320), and what its released code makes of it.

It keeps the velocity v instead of the last displacement, and solves the linear part of the equation exactly; position
and velocity are each rounded. With friction γ, inverse mass u, step η, e = exp(-γη) and the slope g of the energy:

    v' = e·v - u(1 - e)/γ·g + ξv                      var ξv = u(1 - e²)
    x' = x + (1 - e)/γ·v - u(γη + e - 1)/γ²·g + ξx    var ξx = u/γ²·(2γη + 4e - e² - 3),  cov(ξx, ξv) = u/γ·(1 - e)²

(Cheng, Chatterji, Bartlett and Jordan 2018.) The released code has + before the gradient term of x', sign = 1 here, and
drops the covariance where it corrects the variance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor

from lpsgld.formats import AnyFormat
from lpsgld.samplers.accumulators import Accumulator, accumulate


class Ball(NamedTuple):
    """Position and velocity, tensors of one shape."""

    position: Tensor
    velocity: Tensor


def step(
    ball: Ball,
    slope: Tensor,
    size: float,
    fmt: AnyFormat,
    accumulator: Accumulator,
    friction: float = 2.0,
    inverse_mass: float = 1.0,
    *,
    correlated: bool = True,
    sign: int = -1,
    generator: torch.Generator | None = None,
) -> Ball:
    """One step of this size η. "full" keeps x' and v', "naive" rounds both, "vc" draws both with Q^vc, in one format.

    v' is drawn around what x' has become, which keeps their covariance also on a grid; not correlated: the released
    code's way.
    """
    turn, noise, push = _coefficients(size, friction, inverse_mass, correlated, sign)
    mean = [turn[i, 0] * ball.position + turn[i, 1] * ball.velocity + push[i] * slope for i in (0, 1)]
    x = accumulate(mean[0], noise[0, 0], fmt, accumulator, generator)
    share = noise[0, 1] / noise[0, 0]
    v = accumulate(mean[1] + share * (x - mean[0]), noise[1, 1] - share * noise[0, 1], fmt, accumulator, generator)
    return Ball(x, v)


def covariance(
    size: float, friction: float = 2.0, inverse_mass: float = 1.0, *, correlated: bool = True, sign: int = -1
) -> np.ndarray:
    """That of (x, v) [2, 2] in the long run on N(0, 1), in full precision: the slope is x."""
    turn, noise, push = _coefficients(size, friction, inverse_mass, correlated, sign)
    turn[:, 0] += push
    return solve_discrete_lyapunov(turn, noise)


def _coefficients(size: float, friction: float, u: float, correlated: bool, sign: int):
    """What takes (x, v) to the next mean [2, 2], the covariance of the noise [2, 2], and what a slope adds [2]."""
    g, e = friction, math.exp(-friction * size)
    both = u / g * (1 - e) ** 2 if correlated else 0.0
    turn = np.array([[1, (1 - e) / g], [0, e]])
    noise = np.array([[u / g**2 * (2 * g * size + 4 * e - e * e - 3), both], [both, u * (1 - e * e)]])
    return turn, noise, np.array([sign * u * (g * size + e - 1) / g**2, -u * (1 - e) / g])
