"""Rounding: how a number moves onto the grid of its format.

`quantize` is Q^d (nearest) and Q^s (stochastic) of Zhang, Wilson and De Sa (2022), section 2.1; `Quantizer` places
it between the layers of a network. Rounding that also sets the variance, Q^vc, lives in `variance.py`.
"""

from __future__ import annotations

import weakref
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lpsgld import kernels
from lpsgld.formats import AnyFormat, Format, Grid, name, parse

Rounding = Literal["stochastic", "nearest"]
Law = Literal["uniform", "normal"]


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
    generator: of x's device; the same seed gives the same bits. Raises FormatError (see `formats.grid`), TypeError for
    what is no tensor of real floating-point numbers.
    """
    fmt = parse(fmt)
    if fmt is None:
        return x
    require_floating("quantize", x)
    require_rounding(rounding)

    if kernels.fuses(x) and fmt.arithmetic is not None:
        return kernels.rounded(x, way(x, fmt, rounding, generator))
    shared = fmt.shared(x)
    if x.is_meta:
        return torch.empty_like(x)
    values = working(x)
    g = fmt.grid(values, *map(working, shared))
    if rounding == "nearest":
        return on_grid(fmt.nearest(values, g), g).to(x.dtype)
    inside = _clip(values / g.gap, g)
    return (round_stochastic(inside, uniform_like(values, generator)) * g.gap).to(x.dtype)


def way(x: Tensor, fmt: Format, rounding: Rounding, generator: torch.Generator | None) -> kernels.Way:
    """What loops are told of how `quantize` rounds x."""
    key = kernels.key(generator) if rounding == "stochastic" else 0
    return kernels.Way(fmt.arithmetic, fmt.blocks(x), rounding, key)


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


def stream_key(x: Tensor, generator: torch.Generator | None) -> int | None:
    """The key of the random numbers that a function draws for x; None where they are torch's own (`kernels.counts`)."""
    return kernels.key(generator) if kernels.counts(x) else None


def uniform_like(
    x: Tensor, generator: torch.Generator | None = None, key: int | None = None, stream: int = 0
) -> Tensor:
    """Independent uniform numbers on [0, 1), of 24 bits at least, of x's shape, dtype, device and layout.

    key: of `stream_key`, with a stream for each set of numbers that are drawn for one x.
    """
    return _like("uniform", x, generator, key, stream)


def normal_like(x: Tensor, generator: torch.Generator | None = None, key: int | None = None, stream: int = 2) -> Tensor:
    """Independent standard normal numbers, as `uniform_like` has it."""
    return _like("normal", x, generator, key, stream)


def _like(law: Law, x: Tensor, generator: torch.Generator | None, key: int | None, stream: int) -> Tensor:
    if key is None:
        key = stream_key(x, generator)
    if key is not None:
        return kernels.drawn(x, law, key, stream)
    if generator is not None and torch.compiler.is_compiling():
        return _drawn(x, law, id(generator))
    out = torch.empty_like(x)
    return out.uniform_(generator=generator) if law == "uniform" else out.normal_(generator=generator)


class Draws:
    """Something that draws random numbers, compiled or not. generator: of the device; None is torch's default one."""

    @property
    def generator(self) -> torch.Generator | None:
        return self._generator

    @generator.setter
    def generator(self, generator: torch.Generator | None) -> None:
        self._generator = generator
        if generator is not None:
            _generators[id(generator)] = generator

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.generator = self._generator  # a copy has one of its own


# A compiled program cannot hold a generator: it holds the number by which an operation of ours finds it.
_generators: weakref.WeakValueDictionary[int, torch.Generator] = weakref.WeakValueDictionary()


@torch.library.custom_op("lpsgld::drawn", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _drawn(x: Tensor, law: str, generator: int) -> Tensor:
    return _like(law, x, _generators[generator], None, 0)


@_drawn.register_fake
def _(x: Tensor, law: str, generator: int) -> Tensor:
    return torch.empty_like(x)


def require_rounding(rounding: str) -> None:
    """Raises ValueError for anything but a `Rounding`."""
    if rounding not in get_args(Rounding):
        raise ValueError(f'rounding is {rounding!r}, but must be "stochastic" or "nearest"')


def require_floating(function: str, x: Any) -> None:
    """Raises TypeError, which names the function, for anything but a tensor of real floating-point numbers."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{function} needs a tensor, but was given {x!r}: convert it with torch.tensor")
    if not x.is_floating_point():
        raise TypeError(f"{function} needs a floating-point tensor, but was given {x.dtype}: convert it with x.float()")


def working(x: Tensor) -> Tensor:
    """x in the precision of the computation: float32, or float64 if x is."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _clip(codes: Tensor, g: Grid) -> Tensor:
    if isinstance(g.high, Tensor):  # clamp is slow with bounds that are tensors
        return codes.minimum(g.high).maximum(g.low)
    return codes.clamp(g.low, g.high)


class Quantizer(Draws, nn.Module):
    """Rounds activations in the forward pass and errors (gradients of activations) in the backward pass.

    The gradient passes straight through the forward rounding: with y = Q_activation(x) the backward pass returns
    Q_error(dL/dy). So it is, unless compiled, in derivatives of derivatives, forward mode and `torch.func`. (Under
    `vmap`, each example is a tensor of its own, and stochastic rounding wants `randomness="different"`.)

    Each format is one, its name or a `qtorch` descriptor; None is full precision. evaluation: how activations are
    rounded in `eval()` mode; None is as in training, so that predictions are random there too. generator: of the device
    of x, also in a compiled network; None is torch's default one. A deep copy has a generator of its own, in the same
    state. `torch.utils.checkpoint` repeats the draws of the default one only. Raises FormatError for what is no format,
    ValueError for another rounding.
    """

    def __init__(
        self,
        activation: AnyFormat = None,
        error: AnyFormat = None,
        rounding: Rounding = "stochastic",
        generator: torch.Generator | None = None,
        evaluation: Rounding | None = None,
    ):
        super().__init__()
        for way in (rounding,) if evaluation is None else (rounding, evaluation):
            require_rounding(way)
        self.activation, self.error = parse(activation), parse(error)
        self.rounding, self.evaluation, self.generator = rounding, evaluation, generator

    def forward(self, x: Tensor) -> Tensor:
        if self.activation is None and self.error is None:
            return x
        ways = _BothWays if torch.compiler.is_compiling() else _AnyWay
        rounding = self.rounding if self.training or self.evaluation is None else self.evaluation
        return ways.apply(x, self.activation, self.error, rounding, self.generator)

    def extra_repr(self) -> str:
        evaluation = "" if self.evaluation is None else f", evaluation={self.evaluation}"
        return f"activation={name(self.activation)}, error={name(self.error)}, rounding={self.rounding}{evaluation}"


class _BothWays(torch.autograd.Function):
    """What `torch.compile` can follow: once forward, once backward."""

    @staticmethod
    def forward(
        x: Tensor, there: Format | None, back: Format | None, rounding: Rounding, generator: torch.Generator | None
    ) -> Tensor:
        return x.view_as(x) if there is None else quantize(x, there, rounding, generator)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        _, _, ctx.back, ctx.rounding, ctx.generator = inputs

    @staticmethod
    def backward(ctx, grad: Tensor):
        return quantize(grad, ctx.back, ctx.rounding, ctx.generator), None, None, None, None


class _AnyWay(_BothWays):
    """Also derivatives of derivatives, forward mode, `vmap`."""

    generate_vmap_rule = True

    @staticmethod
    def backward(ctx, grad: Tensor):
        return _AnyWay.apply(grad, ctx.back, None, ctx.rounding, ctx.generator), None, None, None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *others: None) -> Tensor:
        return tangent.view_as(tangent)
