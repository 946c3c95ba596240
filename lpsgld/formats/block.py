"""Block floating point: the numbers along an axis share one exponent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from qtorch import BlockFloatingPoint
from torch import Tensor

from lpsgld.formats import base
from lpsgld.formats.base import Format, FormatError, Grid, Scales
from lpsgld.formats.fixed import MANTISSA_BITS
from lpsgld.kernels import TIES, Arithmetic, Blocks


@dataclass(frozen=True)
class Block(Format):
    """block(W,k): W bits, Δ = 2^(e-(W-2)) with e = floor(log2 max|block|), codes ±(2^(W-1) - 1).

    dim: k, one block for each index of this axis; -1: one for the whole tensor. A 1-D tensor (bias, BatchNorm) has one
    block an element with k = 0.
    """

    wl: int
    dim: int = -1

    forms = ("block(W,DIM)",)

    def __post_init__(self) -> None:
        base.require(self.name, "word length W", self.wl, 2, MANTISSA_BITS)
        base.require(self.name, "block axis DIM", self.dim, -1, 63)

    @classmethod
    def read(cls, word: str, fields: list[str]) -> Block | None:
        return cls(*base.integers(fields)) if word == "block" and len(fields) == 2 else None

    @classmethod
    def translate(cls, descriptor: Any) -> Block | None:
        return cls(descriptor.wl, descriptor.dim) if isinstance(descriptor, BlockFloatingPoint) else None

    @property
    def name(self) -> str:
        return f"block({self.wl},{self.dim})"

    @property
    def bits(self) -> int:
        return self.wl

    @property
    def significant_bits(self) -> int:
        return self.wl - 1

    @property
    def cut_axis(self) -> int | None:
        return self.dim

    def _require_axis(self, x: Tensor) -> None:
        if self.dim >= x.dim() and self.dim > 0:
            raise FormatError(
                f"block axis {self.dim} of the format block(wl,{self.dim}), but the tensor has shape "
                f"{tuple(x.shape)}: choose an axis from 0 to {x.dim() - 1}, or -1 for one block in all"
            )

    def shared(self, x: Tensor) -> Scales:
        """The largest |x| of each block."""
        self._require_axis(x)
        if x.numel() == 0:
            return (x.new_ones([1] * x.dim()),)
        axes = [axis for axis in range(x.dim()) if axis != self.dim]
        if not axes:
            return (x.abs(),)
        return (torch.maximum(x.amax(axes, keepdim=True), -x.amin(axes, keepdim=True)),)  # abs() would fill a tensor

    def grid(self, x: Tensor, largest: Tensor, reach: float | Tensor | None = None) -> Grid:
        high = 2.0 ** (self.wl - 1) - 1
        if reach is None:
            e = base.exponent(largest)
        else:
            self.require_head_room()
            e = base.exponent_above((largest + reach) / (high - 2)) + self.wl - 2
        e = e.masked_fill(largest.isinf(), base.MAX_EXPONENT) - (self.wl - 2)
        gap = torch.ldexp(torch.ones_like(largest), e.clamp(base.MIN_EXPONENT, base.MAX_EXPONENT - (self.wl - 2)))
        return Grid(gap.masked_fill(largest.isnan(), torch.nan), -high, high)

    @property
    def one_gap_a_block(self) -> bool:
        return True

    def require_head_room(self) -> None:
        base.require_codes(self.name, 2.0 ** (self.wl - 1) - 3)

    def nearest(self, x: Tensor, g: Grid) -> Tensor:
        # qtorch adds 6·2^e, which drops the bits below 2^(e-21), before it rounds ties up
        shift = 6 * 2.0 ** (self.wl - 2) * g.gap
        shift = shift.masked_fill(shift.isinf(), 0.0)
        return (((x + shift) - shift) / g.gap + 0.5).floor()

    @cached_property
    def arithmetic(self) -> Arithmetic:
        high, top = 2.0 ** (self.wl - 1) - 1, base.MAX_EXPONENT - (self.wl - 2)
        return Arithmetic(
            low=-high,
            high=high,
            ties=TIES.index("up"),
            drop=self.wl - 2,
            room=high - 2,
            when_infinite=top,
            when_zero=-1 - (self.wl - 2),
            lowest=base.MIN_EXPONENT,
            highest=top,
            shift=6 * 2.0 ** (self.wl - 2),
        )

    def blocks(self, x: Tensor) -> Blocks:
        self._require_axis(x)
        return Blocks(self.dim if 0 <= self.dim < x.dim() else None)

    def codes(self, x: Tensor, units: Tensor, *shared: Tensor) -> Tensor:
        return units.to(base.integer_type(self.wl))

    def scales(self, x: Tensor, *shared: Tensor) -> Scales:
        """log2 Δ of each block."""
        e = base.exponent(self.grid(x, *shared).gap).flatten()
        return (e.to(torch.int8 if e.numel() == 0 or int(e.min()) >= -128 else torch.int16),)

    def decode(self, codes: Tensor, scales: Scales = ()) -> Tensor:
        shape = [1] * codes.dim()
        if self.dim >= 0 and codes.dim():
            shape[self.dim] = scales[0].numel()
        # float64: 2^-149 times a code is exact there whatever the device does with float32 subnormals
        return torch.ldexp(base.signed(codes, self.wl).double(), scales[0].int().reshape(shape)).float()

    def values(self, largest: float = 1.0) -> Tensor:
        gap, low, high = self.grid(None, base.one(largest))
        return base.whole_numbers(low, high) * gap

    def row_exponents(self, codes: Tensor, scales: Scales) -> Tensor:
        if self.wl > 8 or self.dim > 0:
            return super().row_exponents(codes, scales)
        return scales[0].int().expand(len(codes))

    def scale_bytes(self, shape: Sequence[int]) -> int:
        return shape[self.dim] if self.dim >= 0 and len(shape) else 1
