"""Floating point: every number has its own exponent. `float(E,M)` as qtorch has it, and the formats of hardware."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from qtorch import FloatingPoint
from torch import Tensor

from lpsgld.formats import base
from lpsgld.formats.base import Format, Grid, Scales
from lpsgld.kernels import TIES, Arithmetic


@dataclass(frozen=True)
class Floating(Format):
    """A sign, E exponent bits and M mantissa bits: Δ = 2^(e-M), e = floor(log2|x|) at least Emin = 2 - 2^(E-1).

    Below 2^Emin the grid stays uniform (subnormal numbers). The code is the word of hardware: sign, exponent, mantissa.
    A subclass says what its `largest` number is.
    """

    exp: int
    man: int

    @property
    def lowest(self) -> int:
        """Emin, the exponent of the smallest normal number."""
        return 2 - 2 ** (self.exp - 1)

    @property
    def top(self) -> int:
        """Emax, the exponent of the largest number."""
        return math.frexp(self.largest)[1] - 1

    @property
    def coarsest(self) -> float:
        """The gap at the largest number."""
        return 2.0 ** (self.top - self.man)

    @property
    def bits(self) -> int:
        return 1 + self.exp + self.man

    @property
    def significant_bits(self) -> int:
        return self.man + 1

    def grid(self, x: Tensor, *shared: Tensor, reach: float | Tensor | None = None) -> Grid:
        codes = 2.0 ** (self.man + 1)  # whole numbers up to here are numbers of the format, times any of its powers
        if reach is None:
            power = base.power_of_two_below(x)
        else:
            self.require_head_room()
            # the power of two *above* is the one below after a factor next to 2
            above = base.power_of_two_below((x.abs() + reach) / (codes - 2) * (2 - torch.finfo(x.dtype).eps))
            power = above * 2.0**self.man
        gap = power.clamp(2.0**self.lowest, 2.0**self.top) * 2.0**-self.man
        high = self.largest / gap
        high = high if reach is None else high.clamp(max=codes)
        return Grid(gap, -high, high)

    @cached_property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic(
            own=1.0,
            smallest=2.0**self.lowest,
            top=2.0**self.top,
            fraction=2.0**-self.man,
            largest=self.largest,
            codes=2.0 ** (self.man + 1),
            ties=TIES.index("even"),
        )

    def require_head_room(self) -> None:
        base.require_codes(self.name, 2.0 ** (self.man + 1) - 2)

    def codes(self, x: Tensor, units: Tensor, *shared: Tensor) -> Tensor:
        e = base.exponent(x).masked_fill(x == 0, self.lowest).clamp(min=self.lowest)
        # |units| of a normal number holds the hidden bit, which carries into the exponent field: 0 stays for subnormals
        word = ((e.long() - self.lowest) << self.man) + units.abs().long()
        return (word + (torch.signbit(x).long() << (self.bits - 1))).to(base.integer_type(self.bits))

    def decode(self, codes: Tensor, scales: Scales = ()) -> Tensor:
        word = codes.long() & (2 ** (self.bits - 1) - 1)
        field, mantissa = word >> self.man, word & (2**self.man - 1)
        units = mantissa + (field > 0) * 2**self.man
        size = torch.ldexp(units.double(), (field - 1).clamp(min=0) + self.lowest - self.man)
        size = self._special(size, mantissa).float()
        return torch.where((codes.long() >> (self.bits - 1)) & 1 == 1, -size, size)

    def _special(self, size: Tensor, mantissa: Tensor) -> Tensor:
        return size

    def values(self, largest: float = 1.0) -> Tensor:
        every = self.decode(torch.arange(2**self.bits, device="cpu"))
        return every[every.isfinite()].unique()


@dataclass(frozen=True)
class Float(Floating):
    """float(E,M): Emax = 2^(E-1), no code is kept for infinity or NaN; ties go away from zero, as in `qtorch`."""

    forms = ("float(E,M)",)

    def __post_init__(self) -> None:
        base.require(self.name, "number of exponent bits E", self.exp, 1, 8)
        base.require(self.name, "number of mantissa bits M", self.man, 1, 23)

    @classmethod
    def read(cls, word: str, fields: list[str]) -> Float | None:
        return cls(*base.integers(fields)) if word == "float" and len(fields) == 2 else None

    @classmethod
    def translate(cls, descriptor: Any) -> Float | None:
        return cls(descriptor.exp, descriptor.man) if isinstance(descriptor, FloatingPoint) else None

    @property
    def name(self) -> str:
        return f"float({self.exp},{self.man})"

    @property
    def largest(self) -> float:
        return (2 - 2.0**-self.man) * 2.0 ** min(2 ** (self.exp - 1), base.MAX_EXPONENT)

    @cached_property
    def arithmetic(self) -> Arithmetic:
        return super().arithmetic._replace(ties=TIES.index("away"))

    def nearest(self, x: Tensor, g: Grid) -> Tensor:
        smallest = 2.0**self.lowest  # of the normal numbers; to those below, qtorch adds it in float32
        size = x.abs()
        size = torch.where(size < smallest, (size + smallest) - smallest, size)
        t = size / g.gap
        below = t.floor()
        codes = torch.copysign(below + (t - below >= 0.5), x)
        return torch.where(codes == 0, 0.0, codes)  # a zero without a sign


@dataclass(frozen=True)
class Hardware(Floating):
    """A format that chips compute with, by its name; ties go to even, and what is too large saturates.

    largest: the largest number (OCP 8-bit Floating Point and OCP Microscaling Formats, version 1.0; IEEE 754).
    infinity: whether the codes above it are infinities and NaN, as in IEEE 754; e4m3 has NaN only, the rest neither.
    """

    label: str
    largest: float
    infinity: bool = False

    forms = ("e4m3", "e5m2", "e2m3", "e3m2", "e2m1", "bfloat16", "float16")

    @classmethod
    def read(cls, word: str, fields: list[str]) -> Hardware | None:
        return HARDWARE.get(word) if not fields else None

    @property
    def name(self) -> str:
        return self.label

    def _special(self, size: Tensor, mantissa: Tensor) -> Tensor:
        beyond = torch.where(mantissa == 0, torch.inf, torch.nan) if self.infinity else torch.nan
        return torch.where(size > self.largest, beyond, size)


HARDWARE = {
    fmt.label: fmt
    for fmt in (
        Hardware(4, 3, "e4m3", 448.0),
        Hardware(5, 2, "e5m2", 57344.0, infinity=True),
        Hardware(2, 3, "e2m3", 7.5),
        Hardware(3, 2, "e3m2", 28.0),
        Hardware(2, 1, "e2m1", 6.0),
        Hardware(8, 7, "bfloat16", (2 - 2.0**-7) * 2.0**127, infinity=True),
        Hardware(5, 10, "float16", 65504.0, infinity=True),
    )
}
