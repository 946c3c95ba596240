"""Fixed point: one grid for all numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from qtorch import FixedPoint
from torch import Tensor

from lpsgld.formats import base
from lpsgld.formats.base import Format, FormatError, Grid, Scales
from lpsgld.kernels import TIES, Arithmetic

MANTISSA_BITS = 24  # float32 holds integers up to 2^24, so codes of more bits could not be simulated exactly
_FLAGS = ("symmetric", "unclamped")


@dataclass(frozen=True)
class Fixed(Format):
    """fixed(W,F): W bits, F of them after the point; Δ = 2^-F, codes -2^(W-1) .. 2^(W-1) - 1.

    symmetric: without the lowest code. clamp: whether values beyond the range are clipped ("unclamped": they are not).
    """

    wl: int
    fl: int
    symmetric: bool = False
    clamp: bool = True

    forms = ("fixed(W,F)", "fixed(W,F,symmetric)")

    def __post_init__(self) -> None:
        base.require(self.name, "word length W", self.wl, 1, MANTISSA_BITS)
        base.require(self.name, "number of fractional bits F", self.fl, 1, 126)

    @classmethod
    def read(cls, word: str, fields: list[str]) -> Fixed | None:
        flags = [field for field in fields[2:] if field in _FLAGS]
        if word != "fixed" or len(fields) < 2 or len(fields) != 2 + len(set(flags)):
            return None
        return cls(*base.integers(fields[:2]), symmetric="symmetric" in flags, clamp="unclamped" not in flags)

    @classmethod
    def translate(cls, descriptor: Any) -> Fixed | None:
        if isinstance(descriptor, FixedPoint):
            return cls(descriptor.wl, descriptor.fl, descriptor.symmetric, descriptor.clamp)
        return None

    @property
    def name(self) -> str:
        flags = ",symmetric" * self.symmetric + ",unclamped" * (not self.clamp)
        return f"fixed({self.wl},{self.fl}{flags})"

    @property
    def bits(self) -> int:
        return self.wl

    @property
    def significant_bits(self) -> int:
        return self.wl - 1 if self.clamp else MANTISSA_BITS

    @property
    def largest(self) -> float:
        """The largest number."""
        return (2.0 ** (self.wl - 1) - 1) * 2.0**-self.fl

    @property
    def coarsest(self) -> float:
        """The gap at the largest number, here that everywhere."""
        return 2.0**-self.fl

    @property
    def uniform(self) -> Grid | None:
        return self.grid() if self.clamp else None

    def grid(self, x: Tensor | None = None, *shared: Tensor, reach: float | Tensor | None = None) -> Grid:
        high = 2.0 ** (self.wl - 1) - 1
        low = -high if self.symmetric else -high - 1
        return Grid(2.0**-self.fl, low, high) if self.clamp else Grid(2.0**-self.fl, -base.LARGEST, base.LARGEST)

    def nearest(self, x: Tensor, g: Grid) -> Tensor:
        return ((x / g.gap + 0.5) - 0.5).round()  # qtorch's own order: it moves a few neighbours of ties

    @cached_property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic(*self.grid(), ties=TIES.index("even after a sum"))

    def codes(self, x: Tensor, units: Tensor, *shared: Tensor) -> Tensor:
        if not bool((units.abs() <= 2.0 ** (self.wl - 1)).all()):  # only an unclamped format gets here
            raise FormatError(f"the tensor holds a value beyond the {self.wl} bits of {self.name}")
        return units.to(base.integer_type(self.wl))

    def decode(self, codes: Tensor, scales: Scales = ()) -> Tensor:
        return base.signed(codes, self.wl).float() * 2.0**-self.fl

    def values(self, largest: float = 1.0) -> Tensor:
        gap, low, high = Fixed(self.wl, self.fl, self.symmetric).grid()
        return base.whole_numbers(low, high) * gap

    def row_exponents(self, codes: Tensor, scales: Scales) -> Tensor:
        if self.wl > 8:
            return super().row_exponents(codes, scales)
        return torch.full((len(codes),), -self.fl, dtype=torch.int32, device=codes.device)
