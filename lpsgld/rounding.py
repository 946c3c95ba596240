"""Rounding: how a number moves onto the grid of its format.

`quantize` is Q^d (nearest) and Q^s (stochastic) of Zhang, Wilson and De Sa (2022), section 2.1; `Quantizer` places
it between the layers of a network. Rounding that also sets the variance, Q^vc, lives in `variance.py`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lpsgld.formats import AnyFormat, Format, Grid, name, parse
from lpsgld.pieces import eager_on_cpu, elementwise

Rounding = Literal["stochastic", "nearest"]

_MANY = 10_000  # random numbers, from which on seven quick operations take less time than one slow one


@torch.no_grad()
def quantize(
    x: Tensor, fmt: AnyFormat, rounding: Rounding = "stochastic", generator: torch.Generator | None = None
) -> Tensor:
    """x rounded onto the grid of `fmt`, elementwise: a new tensor of x's shape, dtype and memory layout.

    With t = x/Δ, "stochastic" is Q^s(x) = (floor(t) + [u < t - floor(t)])·Δ, u uniform on [0, 1), clipped to the
    range: mean x, variance f(1 - f)Δ² with f = t - floor(t), and a value on the grid never moves. "nearest" is Q^d(x).
    Ties go to even for fixed point and in the formats of hardware, up for block(W,k) and away from 0 for float(E,M), as
    `qtorch` has them on the CPU, bit for bit.

    x: any shape; computed in float32, or in float64 if x is. bfloat16 and float16 hold the result exactly only
    for codes of at most 8 and 11 bits. fmt: a format, its name or a `qtorch` descriptor (`formats.parse`); None returns
    x itself. The result carries no gradient: `Quantizer` does.
    NaN stays NaN (its whole block, in a block format) and infinities saturate, where `qtorch` makes NaN finite.
    generator: of x's device; the same seed gives the same bits. Raises FormatError (see `formats.grid`).
    """
    fmt = parse(fmt)
    if fmt is None:
        return x
    if not x.is_floating_point():
        raise TypeError(f"quantize needs a floating-point tensor, but was given {x.dtype}: convert it with x.float()")
    if rounding not in get_args(Rounding):
        raise ValueError(f'rounding is {rounding!r}, but must be "stochastic" or "nearest"')

    def rounded(x: Tensor, *shared: Tensor) -> Tensor:
        values = working(x)
        g = fmt.grid(values, *map(working, shared))
        if rounding == "nearest":
            return on_grid(fmt.nearest(values, g), g).to(x.dtype)
        inside = _clip(values / g.gap, g)
        return (round_stochastic(inside, uniform_like(values, generator)) * g.gap).to(x.dtype)

    return elementwise(rounded, x, *fmt.shared(x))


def round_stochastic(t: Tensor, u: Tensor) -> Tensor:
    """floor(t) + [u < t - floor(t)]: the integers around t, with mean t. Not floor(t + u), whose float32 sum rounds."""
    below = t.floor()
    return below + less(u, t - below)


def less(u: Tensor, p: Tensor) -> Tensor:
    """[u < p] as 0.0 or 1.0, for u in [0, 1) and p in [0, 1]: of two floats, p - u has the exact sign.

    Arithmetic: comparing, and adding what comes out, takes ten times as long on a CPU.
    """
    return (p - u).ceil()


def on_grid(codes: Tensor, g: Grid) -> Tensor:
    """The values of integer codes, clipped to the range of the format."""
    return _clip(codes, g) * g.gap


def uniform_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Independent uniform numbers on [0, 1), of 24 bits at least, of x's shape, dtype, device and layout."""
    n, out = x.numel(), torch.empty_like(x)
    if n < _MANY or not eager_on_cpu(x):
        return out.uniform_(generator=generator)
    # three bytes each instead of four or eight: torch's generator is serial on the CPU, and all else waits for it
    words = torch.empty((3 * n + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    high, low = words.view(torch.uint16)[:n], words.view(torch.uint8)[2 * n : 3 * n]
    torch.add(high.to(x.dtype), low.to(x.dtype), alpha=2.0**-8, out=_flat(out)).mul_(2.0**-16)
    return out


def normal_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Independent standard normal numbers of x's shape, dtype, device and layout."""
    out = torch.empty_like(x)
    if not eager_on_cpu(x):
        return out.normal_(generator=generator)
    _flat(out).normal_(generator=generator)  # in another layout it takes a slow path
    return out


def working(x: Tensor) -> Tensor:
    """x in the precision of the computation: float32, or float64 if x is."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _flat(new: Tensor) -> Tensor:
    """A tensor that empty_like has just made, hence without gaps or overlaps, in its order in memory."""
    return new.as_strided((new.numel(),), (1,))


def _clip(codes: Tensor, g: Grid) -> Tensor:
    if isinstance(g.high, Tensor):  # clamp is slow with bounds that are tensors
        return codes.minimum(g.high).maximum(g.low)
    return codes.clamp(g.low, g.high)


class Quantizer(nn.Module):
    """Rounds activations in the forward pass and errors (gradients of activations) in the backward pass.

    The gradient passes straight through the forward rounding: with y = Q_activation(x) the backward pass returns
    Q_error(dL/dy). Each format is one, its name or a `qtorch` descriptor; None is full precision. Random numbers come
    from torch's default generator. Raises FormatError for what is no format.
    """

    def __init__(self, activation: AnyFormat = None, error: AnyFormat = None, rounding: Rounding = "stochastic"):
        super().__init__()
        self.activation, self.error, self.rounding = parse(activation), parse(error), rounding

    def forward(self, x: Tensor) -> Tensor:
        if self.activation is None and self.error is None:
            return x
        return _QuantizeBothWays.apply(x, self.activation, self.error, self.rounding)

    def extra_repr(self) -> str:
        return f"activation={name(self.activation)}, error={name(self.error)}, rounding={self.rounding}"


class _QuantizeBothWays(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, activation: Format | None, error: Format | None, rounding: Rounding) -> Tensor:
        ctx.error, ctx.rounding = error, rounding
        return x.view_as(x) if activation is None else quantize(x, activation, rounding)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return quantize(grad, ctx.error, ctx.rounding), None, None, None
