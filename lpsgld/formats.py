"""Number formats: which numbers can W bits hold?

A format is one of `qtorch`'s descriptors, `FixedPoint`, `BlockFloatingPoint` or `FloatingPoint`, or `None`
for full precision. Here live their grids (gap and range) and their names ("fixed(8,3)"); how a number moves
onto a grid is told in `rounding.py` and `variance.py`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint
from torch import Tensor

Format = FixedPoint | BlockFloatingPoint | FloatingPoint | None

_MANTISSA_BITS = 24  # float32 holds integers up to 2^24, so codes of more bits could not be simulated exactly
_MIN_GAP_EXPONENT = -149  # the smallest float32
_MAX_EXPONENT = 127  # the largest exponent of a finite float32
_LARGEST = torch.finfo(torch.float32).max


class FormatError(ValueError):
    """A number format that makes no sense, or one that does not fit the tensor it is applied to."""


class Grid(NamedTuple):
    """The multiples `low * gap, ..., high * gap` onto which a tensor is rounded.

    gap: the quantization gap Δ, a power of two; a tensor (that broadcasts against the rounded one) where
    blocks or elements differ. low, high: the smallest and the largest code, in units of the gap; those of an
    unclamped format are float32's.
    """

    gap: float | Tensor
    low: float | Tensor
    high: float | Tensor


def grid(fmt: Format, x: Tensor, reach: float | Tensor | None = None) -> Grid:
    """The grid of `fmt` for the values of `x`.

    fixed(W,F): Δ = 2^-F, codes -2^(W-1) .. 2^(W-1) - 1, whatever x is.
    block(W,k): Δ = 2^(e-(W-2)) with e = floor(log2 max|block|), codes ±(2^(W-1) - 1); one block for each index
    of axis k, one for the whole tensor if k = -1. A NaN makes its whole block NaN.
    float(E,M): Δ = 2^(e-M) with e = floor(log2|x|) of each element, between 2 - 2^(E-1) and 2^(E-1).

    reach: how far beyond |x| a value may still be moved before it is rounded (x's own unit). The exponents are
    then chosen so that all of [-(|x| + reach + 2Δ), |x| + reach + 2Δ] lies on this one uniform grid, which
    costs at most one bit when reach is small. `None` leaves no head-room: the format as defined.

    Raises FormatError if x lacks the block axis, or if the format is too small for any head-room.
    """
    return grid_of_scale(fmt, scale(fmt, x), reach)


def scale(fmt: Format, x: Tensor) -> Tensor:
    """What the exponents of `fmt` are taken from: the largest |x| of each block (broadcasts against x), else x itself.

    Raises FormatError if x lacks the block axis.
    """
    return _block_maximum(x, fmt.dim) if isinstance(fmt, BlockFloatingPoint) else x


def whole_blocks_axis(*fmts: Format) -> int | None:
    """The axis along which a tensor may be cut without cutting a block of any of the formats. None: any; -1: none."""
    axes = {fmt.dim for fmt in fmts if isinstance(fmt, BlockFloatingPoint)}
    if not axes:
        return None
    return axes.pop() if len(axes) == 1 else -1


def grid_of_scale(fmt: Format, scale: Tensor, reach: float | Tensor | None = None) -> Grid:
    """`grid` for a tensor, or a part of one, of which `scale` is known. Each element of it has its own grid."""
    if isinstance(fmt, FixedPoint):
        return _fixed_grid(fmt)
    if isinstance(fmt, BlockFloatingPoint):
        return _block_grid(fmt, scale, reach)
    if isinstance(fmt, FloatingPoint):
        return _float_grid(fmt, scale, reach)
    raise FormatError(
        f"{fmt!r} is not a number format: use qtorch.FixedPoint, qtorch.BlockFloatingPoint, qtorch.FloatingPoint, "
        'None for full precision, or lpsgld.formats.parse("fixed(8,3)")'
    )


def exponent(x: Tensor) -> Tensor:
    """floor(log2|x|) as int32, exact for every finite x, subnormals included (-1 for x = 0)."""
    return torch.frexp(x).exponent - 1


def _fixed_grid(fmt: FixedPoint) -> Grid:
    high = 2.0 ** (fmt.wl - 1) - 1
    low = -high if fmt.symmetric else -high - 1
    return Grid(2.0**-fmt.fl, low, high) if fmt.clamp else Grid(2.0**-fmt.fl, -_LARGEST, _LARGEST)


def _block_maximum(x: Tensor, dim: int) -> Tensor:
    if dim >= x.dim() and dim > 0:
        raise FormatError(
            f"block axis {dim} of the format block(wl,{dim}), but the tensor has shape {tuple(x.shape)}: "
            f"choose an axis from 0 to {x.dim() - 1}, or -1 for one block in all"
        )
    if x.numel() == 0:
        return x.new_ones([1] * x.dim())
    axes = [axis for axis in range(x.dim()) if axis != dim]
    if not axes:  # a 1-D tensor with dim = 0 (bias, BatchNorm) has one block per element
        return x.abs()
    return torch.maximum(x.amax(axes, keepdim=True), -x.amin(axes, keepdim=True))  # abs() would fill a whole tensor


def _block_grid(fmt: BlockFloatingPoint, largest: Tensor, reach: float | Tensor | None) -> Grid:
    high = 2.0 ** (fmt.wl - 1) - 1
    if reach is None:
        e = exponent(largest)
    else:
        _require_head_room(fmt, high - 2)
        mantissa, e = torch.frexp((largest + reach) / (high - 2))
        e = e - (mantissa == 0.5).to(e.dtype) + fmt.wl - 2  # ceil(log2) = the exponent of frexp, unless 2^k
    e = e.masked_fill(largest.isinf(), _MAX_EXPONENT) - (fmt.wl - 2)
    gap = torch.ldexp(torch.ones_like(largest), e.clamp(_MIN_GAP_EXPONENT, _MAX_EXPONENT - (fmt.wl - 2)))
    return Grid(gap.masked_fill(largest.isnan(), torch.nan), -high, high)


def _float_grid(fmt: FloatingPoint, x: Tensor, reach: float | Tensor | None) -> Grid:
    codes, bias = 2.0 ** (fmt.man + 1), 2 ** (fmt.exp - 1)
    bottom, top = 2.0 ** (2 - bias), 2.0 ** min(bias, _MAX_EXPONENT)
    if reach is None:
        power = _power_of_two_below(x)
    else:
        _require_head_room(fmt, codes - 2)
        # the power of two *above* is the one below after a factor next to 2
        above = _power_of_two_below((x.abs() + reach) / (codes - 2) * (2 - torch.finfo(x.dtype).eps))
        power = above * 2.0**fmt.man
    gap = power.clamp(bottom, top) * 2.0**-fmt.man
    high = (2 - 2.0**-fmt.man) * top / gap
    return Grid(gap, -high, high)


def _power_of_two_below(x: Tensor) -> Tensor:
    """2^floor(log2|x|): the bits of the exponent alone, faster than frexp. 0 for subnormals, inf for inf and NaN."""
    if x.dtype == torch.float64:
        return (x.view(torch.int64) & 0x7FF0000000000000).view(torch.float64)
    return (x.view(torch.int32) & 0x7F800000).view(torch.float32)


def _require_head_room(fmt: Format, codes: float) -> None:
    if codes < 1:
        raise FormatError(
            f"{name(fmt)} has too few codes for variance-corrected rounding, which needs two gaps of head-room: "
            "use a word length of at least 3"
        )


# ---- names -----------------------------------------------------------------------------------------------------

_FORMS = 'use "fixed(W,F)", "fixed(W,F,symmetric)", "block(W,DIM)", "float(E,M)" or "full", for example "fixed(8,3)"'


@cache
def parse(text: str) -> Format:
    """The format with that name: "fixed(8,3)", "fixed(8,3,symmetric)", "block(8,0)", "float(4,3)", "full" (None).

    Raises FormatError with what was given and what is allowed.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", text) if isinstance(text, str) else None
    kind = match[1] if match else None
    fields = [field.strip() for field in match[2].split(",")] if match and match[2] is not None else []
    if kind == "full" and not fields:
        return None
    flags = [field for field in fields[2:] if field in ("symmetric", "unclamped")]
    if kind not in ("fixed", "block", "float") or len(fields) < 2 or len(fields) != 2 + len(set(flags)):
        raise FormatError(f"{text!r} is not a number format: {_FORMS}")
    if flags and kind != "fixed":
        raise FormatError(f"{text!r}: only fixed formats can be {' or '.join(flags)}")
    first, second = (_integer(field, text) for field in fields[:2])
    if kind == "fixed":
        _require(text, "word length W", first, 1, _MANTISSA_BITS)
        _require(text, "number of fractional bits F", second, 1, 126)
        return FixedPoint(first, second, clamp="unclamped" not in flags, symmetric="symmetric" in flags)
    if kind == "block":
        _require(text, "word length W", first, 2, _MANTISSA_BITS)
        _require(text, "block axis DIM", second, -1, 63)
        return BlockFloatingPoint(first, second)
    _require(text, "number of exponent bits E", first, 1, 8)
    _require(text, "number of mantissa bits M", second, 1, 23)
    return FloatingPoint(first, second)


def name(fmt: Format) -> str:
    """The name that `parse` reads back: "fixed(8,3)", ..., "full" for None. Raises FormatError for anything else."""
    if fmt is None:
        return "full"
    if isinstance(fmt, FixedPoint):
        flags = ",symmetric" * fmt.symmetric + ",unclamped" * (not fmt.clamp)
        return f"fixed({fmt.wl},{fmt.fl}{flags})"
    if isinstance(fmt, BlockFloatingPoint):
        return f"block({fmt.wl},{fmt.dim})"
    if isinstance(fmt, FloatingPoint):
        return f"float({fmt.exp},{fmt.man})"
    raise FormatError(f"{fmt!r} is not a number format: {_FORMS}")


def _integer(field: str, text: str) -> int:
    try:
        return int(field)
    except ValueError:
        raise FormatError(f"{text!r}: {field!r} is not a whole number; {_FORMS}") from None


def _require(text: str, what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FormatError(f"{text!r}: the {what} is {value}, but must be from {low} to {high}")
