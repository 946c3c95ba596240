"""Variance-corrected rounding, Q^vc: the rounding that samples.

Q^vc(μ, v, Δ) draws a grid point with mean μ *and* variance v (Zhang, Wilson and De Sa 2022, Algorithm 1), so that a
Langevin step may end on an 8-bit number without adding noise of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpsgld import kernels
from lpsgld.formats import AnyFormat, Format, FormatError, Grid, parse
from lpsgld.kernels import eager_on_cpu
from lpsgld.rounding import (
    less,
    normal_like,
    on_grid,
    require_floating,
    round_stochastic,
    stream_key,
    uniform_like,
    working,
)

_REACH = 6.0  # standard deviations of head-room for block and float exponents: exceeded once in 5·10^8 draws


@torch.no_grad()
def vc_quantize(
    mu: Tensor, variance: float | Tensor, fmt: AnyFormat, generator: torch.Generator | None = None
) -> Tensor:
    """A random point on the grid of `fmt` with mean μ and variance v, elementwise; μ's shape, dtype and layout.

    In units of the gap Δ, with t = μ/Δ, f = t - floor(t), w = v/Δ², ξ standard normal, u1 and u2 uniform:

        w > 1/4:  floor(t) + floor(f + √(w - 1/4) ξ + u1 + u2 - 1/2)
        w ≤ 1/4:  floor(t) + [u1 < f] ± 1 with probability h = (w - f(1-f))/2 each, where that is positive

    The first line is Algorithm 1's first branch: rounding x + Δ(u1 + u2 - 1) to nearest spreads x over three grid
    points with the quadratic B-spline's weights, which are those of its categorical draw. The variance is exactly v,
    except where v < f(1-f)Δ²: there it is f(1-f)Δ², below which no unbiased rounding can go. At the ends of the
    range the draw is clipped.

    Block and float formats take their exponents from μ and v alone, with head-room for the noise (`formats.grid`), so
    that it can neither clip nor move the grid. (The released code takes them from the noised value: `vc_released`.)

    variance: v ≥ 0 in μ's unit squared, a number or a tensor that broadcasts to μ's shape. fmt: as for `quantize`; None
    returns μ + √v ξ. Raises FormatError for a format with fewer than 3 bits and for nvfp4, whose grid moves with its
    largest element; TypeError for what is no tensor of real floating-point numbers; ValueError for a variance that is
    negative, infinite, NaN, or of another shape. (Where looking at a tensor would wait for an accelerator, the result
    is NaN instead.)
    """
    fmt = parse(fmt)
    variance, std = _checked("vc_quantize", mu, variance, fmt)
    if not isinstance(variance, Tensor) and kernels.fuses(mu):
        if fmt is None:
            return kernels.noised(mu, std, kernels.key(generator))
        if fmt.arithmetic is not None:
            return kernels.rounded(mu, way(mu, variance, fmt, generator))
    shared = () if fmt is None else fmt.shared(mu)
    if mu.is_meta:
        return torch.empty_like(mu)
    work = working(mu)
    if fmt is None:
        return (work + std * normal_like(work, generator)).to(mu.dtype)
    g, w = _local(fmt, work, shared, variance, std)
    return on_grid(_codes(work / g.gap, w, generator), g).to(mu.dtype)


def way(mu: Tensor, variance: float, fmt: Format, generator: torch.Generator | None) -> kernels.Way:
    """What loops are told of how `vc_quantize` rounds μ."""
    p, blocks = fmt.arithmetic, fmt.blocks(mu)
    w = math.nan if blocks or p.own else variance / p.gap / p.gap
    noise = variance, _REACH * variance**0.5, w, max(w - 0.25, 0.0) ** 0.5
    return kernels.Way(p, blocks, "corrected", kernels.key(generator), noise)


@torch.no_grad()
def vc_released(
    mu: Tensor, variance: float | Tensor, fmt: AnyFormat, generator: torch.Generator | None = None
) -> Tensor:
    """What the paper's released code draws in block formats in place of Q^vc: where v < v0, its noise is lost.

    With Δ the gap of μ's block, v0 = Δ²/4, and x = μ + √max(v - v0, 0) ξ, on the grid of x:

        v > v0:  the three grid points around x, weighted by the quadratic spline, as in the first line of `vc_quantize`
        v ≤ v0:  Q^s(μ)

    That code adds √(v - v0) ξ everywhere. Where v < v0 this is NaN, which it then passes over: there it is plain
    stochastic rounding, of variance f(1-f)Δ² whatever v is, a step of SGD. And as its grid is that of the noised value,
    noise can move the grid. Here so that its results can be had again, and its loss be shown; described from how it
    behaves. Without a loop of its own on the CPU.

    Arguments and errors as of `vc_quantize`; FormatError also for a format without blocks of one gap, where the
    released code does what the paper says.
    """
    fmt = parse(fmt)
    require_released(fmt)
    variance, _ = _checked("vc_released", mu, variance, fmt)
    if fmt is None:
        return vc_quantize(mu, variance, None, generator)
    shared = fmt.shared(mu)
    if mu.is_meta:
        return torch.empty_like(mu)
    work, key = working(mu), stream_key(mu, generator)
    gap = fmt.grid(work, *map(working, shared)).gap
    more = torch.as_tensor(variance, dtype=gap.dtype, device=gap.device) / gap / gap - 0.25
    x = work + gap * _root(more.clamp(min=0)) * normal_like(work, generator, key)
    g = fmt.grid(x, *fmt.shared(x))
    t, u1, u2 = x / g.gap, uniform_like(work, generator, key), uniform_like(work, generator, key, 1)
    below = t.floor()
    spline = below + (t - below + u1 + u2 - 0.5).floor()
    return on_grid(torch.where(more > 0, spline, round_stochastic(t, u1)), g).to(mu.dtype)


def require_released(fmt: Format | None) -> None:
    """Raises FormatError for a format in which there is no `vc_released`."""
    if fmt is not None and not fmt.one_gap_a_block:
        raise FormatError(
            f'in {fmt.name} the released code does what the paper says: use the accumulator "vc" '
            '("vc-released" is for block(W,DIM))'
        )


class Branches(NamedTuple):
    """Which way each element goes in `vc_quantize`, and the variance that it gets.

    branch: int8, 0 "spline" (v > v0: noise, then the quadratic spline), 1 "correction" (rounding, then a jump to make
    up what v is more than its variance), 2 "floor" (rounding alone, whose variance f(1-f)Δ² exceeds v). ratio: v/v0,
    v0 = Δ²/4. variance: what the step has, v or f(1-f)Δ².
    """

    branch: Tensor
    ratio: Tensor
    variance: Tensor


BRANCHES = ("spline", "correction", "floor")


@torch.no_grad()
def branches(mu: Tensor, variance: float | Tensor, fmt: AnyFormat) -> Branches:
    """The branch of `vc_quantize(mu, variance, fmt)` that each element takes; all of μ's shape.

    On the border of two branches, where they are the same law, the first counts. Raises what `vc_quantize` raises, and
    FormatError for full precision, which has no branches.
    """
    fmt = parse(fmt)
    if fmt is None:
        raise FormatError("full precision has no branches: noise of any variance is added as it is")
    variance, std = _checked("branches", mu, variance, fmt)
    work = working(mu)
    g, w = _local(fmt, work, fmt.shared(mu), variance, std)
    w = torch.as_tensor(w, dtype=work.dtype, device=work.device).expand_as(work)
    t = work / g.gap
    f = t - t.floor()
    unavoidable = f * (1 - f)
    wide = w > 0.25
    branch = torch.where(wide, 0, torch.where(unavoidable <= w, 1, 2)).to(torch.int8)
    reached = torch.where(wide, w, torch.maximum(w, unavoidable))
    return Branches(branch, 4 * w, reached * g.gap * g.gap)


def _checked(function: str, mu: Any, variance: float | Tensor, fmt: Format | None) -> tuple[float | Tensor, ...]:
    """The variance v and √v, if the arguments make sense. Where v differs between elements, both are tensors of μ's
    shape, and what is given for √v is the largest of an element's block: head-room must do for all of it."""
    require_floating(function, mu)
    if fmt is not None:
        fmt.require_head_room()
    if not isinstance(variance, Tensor):
        if not 0 <= variance < math.inf:
            raise ValueError(f"the variance is {variance}, but must be a finite number ≥ 0")
        return variance, variance**0.5
    if variance.is_complex() or variance.dtype == torch.bool:
        raise TypeError(f"{function} needs a variance of real numbers, but was given {variance.dtype}")
    v = variance.to(mu.device, torch.promote_types(mu.dtype, torch.float32))
    if v.dim():
        try:
            v = v.expand_as(mu)
        except RuntimeError:
            given = tuple(variance.shape)
            raise ValueError(f"the variance has shape {given}, which does not broadcast to {tuple(mu.shape)}") from None
    allowed = (v >= 0) & (v < math.inf)
    if not eager_on_cpu(v):
        v = v.where(allowed, math.nan)
    elif not bool(allowed.all()):
        raise ValueError(f"the variance is {v[~allowed][0].item()}, but must be a finite number ≥ 0")
    elif v.dim() == 0:
        return v.item(), v.item() ** 0.5
    if v.dim() and fmt is not None and (of_blocks := fmt.shared(v**0.5)):
        return v, *of_blocks
    return v, v**0.5


def _local(
    fmt: Format, mu: Tensor, shared: Sequence[Tensor], variance: float | Tensor, std: float | Tensor
) -> tuple[Grid, float | Tensor]:
    """The uniform grid around μ, wide enough for the noise, and w = v/Δ²."""
    g = fmt.grid(mu, *map(working, shared), reach=_REACH * std)
    if isinstance(g.gap, Tensor):  # number / tensor would multiply by 1/Δ, which overflows for the smallest gaps
        variance = torch.as_tensor(variance, dtype=g.gap.dtype, device=g.gap.device)
    return g, variance / g.gap / g.gap


def _codes(t: Tensor, w: float | Tensor, generator: torch.Generator | None) -> Tensor:
    key = stream_key(t, generator)
    u = uniform_like(t, generator, key)
    some, every = _some_and_every(w > 0.25)
    if not some:
        return _correction_branch(t, w, u)
    if every:
        return _spline_branch(t, w, u, generator, key)
    return torch.where(w > 0.25, _spline_branch(t, w, u, generator, key), _correction_branch(t, w, u))


def _some_and_every(wide: bool | Tensor) -> tuple[bool, bool]:
    """any(wide) and all(wide), where they are known at once; elsewhere (True, False), which means both branches."""
    if not isinstance(wide, Tensor):
        return bool(wide), bool(wide)
    return (bool(wide.any()), bool(wide.all())) if eager_on_cpu(wide) else (True, False)


def _spline_branch(
    t: Tensor, w: float | Tensor, u1: Tensor, generator: torch.Generator | None, key: int | None
) -> Tensor:
    u2, xi = uniform_like(t, generator, key, 1), normal_like(t, generator, key, 2)
    spread = _root((w - 0.25).clamp(min=0)) if isinstance(w, Tensor) else (w - 0.25) ** 0.5
    below = t.floor()  # set aside: next to a large t the sum would lose the low bits of the noise, and its mean
    return below + ((t - below) + spread * xi + (u1 + u2 - 0.5)).floor()


def _correction_branch(t: Tensor, w: float | Tensor, u: Tensor) -> Tensor:
    below = t.floor()
    f = t - below
    h = ((w - f * (1 - f)) / 2).clamp(min=0)  # the probability of one more gap up, and of one down
    upper = less(u, 1 - (1 - f) * h) + less(u, f + h * (1 - 2 * f)) + less(u, f * h)
    return below - 1 + upper


def _root(x: Tensor) -> Tensor:
    """√x; on the CPU as the processor rounds it: torch's own is off by a last bit there, once in five."""
    return x.double().sqrt().to(x.dtype) if x.device.type == "cpu" else x.sqrt()
