"""Variance-corrected rounding, Q^vc: the rounding that samples.

Q^vc(μ, v, Δ) draws a grid point with mean μ *and* variance v (Zhang, Wilson and De Sa 2022, Algorithm 1), so that a
Langevin step may end on an 8-bit number without adding noise of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lpsgld.formats import Format, grid
from lpsgld.rounding import on_grid, round_stochastic, uniform_like

_REACH = 6.0  # standard deviations of head-room for block and float exponents: exceeded once in 5·10^8 draws


def vc_quantize(
    mu: Tensor, variance: float | Tensor, fmt: Format, generator: torch.Generator | None = None
) -> Tensor:
    """A random point on the grid of `fmt` with mean μ and variance v, elementwise; μ's shape, dtype and layout.

    In units of the gap Δ, with t = μ/Δ, f = t - floor(t), w = v/Δ², ξ standard normal, u1 and u2 uniform:

        w > 1/4:  floor(t) + floor(f + √(w - 1/4) ξ + u1 + u2 - 1/2)
        w ≤ 1/4:  floor(t) + [u1 < f] ± 1 with probability (w - f(1-f))/2 each, where that is positive

    The first line is Algorithm 1's first branch: rounding x + Δ(u1 + u2 - 1) to nearest spreads x over three grid
    points with the quadratic B-spline's weights, which are those of its categorical draw. The variance is exactly v,
    except where v < f(1-f)Δ²: there it is f(1-f)Δ², below which no unbiased rounding can go. At the ends of the
    range the draw is clipped.

    Block and float formats take their exponents from μ and v alone, with head-room for the noise (`formats.grid`), so
    that it can neither clip nor move the grid.

    variance: v ≥ 0 in μ's unit squared, a number or a 0-d tensor. `None` for fmt returns μ + √v ξ. Raises FormatError
    for a format with fewer than 3 bits, ValueError for a negative variance given as a number.
    """
    if not isinstance(variance, Tensor) and not variance >= 0:
        raise ValueError(f"the variance is {variance}, but must be a number ≥ 0")
    work = mu if mu.dtype in (torch.float32, torch.float64) else mu.float()
    if fmt is None:
        return (work + variance**0.5 * _normal_like(work, generator)).to(mu.dtype)
    g = grid(fmt, work, reach=_REACH * variance**0.5)
    t, w = work / g.gap, variance / g.gap / g.gap
    u1, u2 = uniform_like(work, generator), uniform_like(work, generator)
    if isinstance(w, Tensor):
        xi = _normal_like(work, generator)
        codes = torch.where(w > 0.25, _spline_branch(t, w, u1, u2, xi), _correction_branch(t, w, u1, u2))
    elif w > 0.25:
        codes = _spline_branch(t, w, u1, u2, _normal_like(work, generator))
    else:
        codes = _correction_branch(t, w, u1, u2)
    return on_grid(codes, g).to(mu.dtype)


def _spline_branch(t: Tensor, w: float | Tensor, u1: Tensor, u2: Tensor, xi: Tensor) -> Tensor:
    spread = (w - 0.25).clamp(min=0).sqrt() if isinstance(w, Tensor) else (w - 0.25) ** 0.5
    below = t.floor()  # set aside: next to a large t the sum would lose the low bits of the noise, and its mean
    return below + ((t - below) + spread * xi + (u1 + u2 - 0.5)).floor()


def _correction_branch(t: Tensor, w: float | Tensor, u1: Tensor, u2: Tensor) -> Tensor:
    f = t - t.floor()
    half = (w - f * (1 - f)) / 2  # the probability of one more gap up, and of one down
    return round_stochastic(t, u1) + (u2 < half).to(t.dtype) - (1 - u2 <= half).to(t.dtype)


def _normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.empty_like(x).normal_(generator=generator)
