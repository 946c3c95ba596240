"""Rounding: how a number moves onto the grid of its format.

`quantize` is Q^d (nearest) and Q^s (stochastic) of Zhang, Wilson and De Sa (2022), section 2.1; `Quantizer` places
it between the layers of a network. Rounding that also sets the variance, Q^vc, lives in `variance.py`.
"""

from __future__ import annotations

from typing import Literal

import torch
from qtorch import BlockFloatingPoint, FixedPoint
from torch import Tensor, nn

from lpsgld.formats import Format, Grid, grid, name

Rounding = Literal["stochastic", "nearest"]


def quantize(
    x: Tensor, fmt: Format, rounding: Rounding = "stochastic", generator: torch.Generator | None = None
) -> Tensor:
    """x rounded onto the grid of `fmt`, elementwise: a new tensor of x's shape, dtype and memory layout.

    With t = x/Δ, "stochastic" is Q^s(x) = (floor(t) + [u < t - floor(t)])·Δ, u uniform on [0, 1), clipped to the
    range: mean x, variance f(1 - f)Δ² with f = t - floor(t), and a value on the grid never moves. "nearest" is
    Q^d(x), equal to `qtorch` on the CPU bit for bit: ties go to even (fixed), up (block), or away from 0 (float).

    x: any shape; computed in float32, or in float64 if x is. bfloat16 and float16 hold the result exactly only
    for codes of at most 8 and 11 bits. `None` for fmt returns x itself.
    NaN stays NaN (its whole block, in a block format) and infinities saturate, where `qtorch` makes NaN finite.
    generator: of x's device; the same seed gives the same bits. Raises FormatError (see `formats.grid`).
    """
    if fmt is None:
        return x
    values = _working(x)
    g = grid(fmt, values)
    if rounding == "stochastic":
        codes = round_stochastic(values / g.gap, uniform_like(values, generator))
    elif rounding == "nearest":
        codes = _nearest_codes(values, fmt, g)
    else:
        raise ValueError(f'rounding is {rounding!r}, but must be "stochastic" or "nearest"')
    return on_grid(codes, g).to(x.dtype)


def round_stochastic(t: Tensor, u: Tensor) -> Tensor:
    """floor(t) + [u < t - floor(t)]: the integers around t, with mean t. Not floor(t + u), whose float32 sum rounds."""
    below = t.floor()
    return below + (u < t - below)


def on_grid(codes: Tensor, g: Grid) -> Tensor:
    """The values of integer codes, clipped to the range of the format."""
    return codes.clamp(g.low, g.high) * g.gap


def uniform_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Independent uniform numbers on [0, 1), of x's shape, dtype, device and layout."""
    return torch.empty_like(x).uniform_(generator=generator)


def _working(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"quantize needs a floating-point tensor, but was given {x.dtype}: convert it with x.float()")
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _nearest_codes(x: Tensor, fmt: Format, g: Grid) -> Tensor:
    if isinstance(fmt, FixedPoint):
        return ((x / g.gap + 0.5) - 0.5).round()  # qtorch's own order: it moves a few neighbours of ties
    if isinstance(fmt, BlockFloatingPoint):
        # qtorch adds 6·2^e, which drops the bits below 2^(e-21), before it rounds ties up
        shift = 6 * 2.0 ** (fmt.wl - 2) * g.gap
        shift = shift.masked_fill(shift.isinf(), 0.0)
        return (((x + shift) - shift) / g.gap + 0.5).floor()
    smallest = 2.0 ** (2 - 2 ** (fmt.exp - 1))  # of the normal numbers; to those below, qtorch adds it in float32
    size = x.abs()
    size = torch.where(size < smallest, (size + smallest) - smallest, size)
    t = size / g.gap
    below = t.floor()
    codes = torch.copysign(below + (t - below >= 0.5), x)
    return torch.where(codes == 0, 0.0, codes)  # a zero without a sign


class Quantizer(nn.Module):
    """Rounds activations in the forward pass and errors (gradients of activations) in the backward pass.

    The gradient passes straight through the forward rounding: with y = Q_activation(x) the backward pass returns
    Q_error(dL/dy). Either format may be None, full precision. Random numbers come from torch's default generator.
    """

    def __init__(self, activation: Format = None, error: Format = None, rounding: Rounding = "stochastic"):
        super().__init__()
        self.activation, self.error, self.rounding = activation, error, rounding

    def forward(self, x: Tensor) -> Tensor:
        if self.activation is None and self.error is None:
            return x
        return _QuantizeBothWays.apply(x, self.activation, self.error, self.rounding)

    def extra_repr(self) -> str:
        return f"activation={name(self.activation)}, error={name(self.error)}, rounding={self.rounding}"


class _QuantizeBothWays(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, activation: Format, error: Format, rounding: Rounding) -> Tensor:
        ctx.error, ctx.rounding = error, rounding
        return x.view_as(x) if activation is None else quantize(x, activation, rounding)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return quantize(grad, ctx.error, ctx.rounding), None, None, None
