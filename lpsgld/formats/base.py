"""What every number format can tell: its grid, its codes, its bits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from lpsgld.kernels import Arithmetic, Blocks
from lpsgld.text import Mistake

LARGEST = torch.finfo(torch.float32).max
MAX_EXPONENT = 127  # the largest exponent of a finite float32
MIN_EXPONENT = -149  # of the smallest float32

Scales = tuple[Tensor, ...]


class FormatError(Mistake, ValueError):
    """A number format that makes no sense, or one that does not fit what it is used for."""


class Grid(NamedTuple):
    """The multiples `low * gap, ..., high * gap` onto which a tensor is rounded.

    gap: the quantization gap Δ; a tensor (that broadcasts against the rounded one) where blocks or elements differ.
    low, high: the smallest and the largest code, in units of the gap; those of an unclamped format are float32's.
    """

    gap: float | Tensor
    low: float | Tensor
    high: float | Tensor


@dataclass(frozen=True)
class Format(ABC):
    """A number format. A family of them is a subclass in a module of its own, found by `names.parse`.

    forms: how its names are written, for the error that lists them.
    """

    forms: ClassVar[tuple[str, ...]] = ()
    families: ClassVar[list[type[Format]]] = []

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.forms:
            cls.families.append(cls)

    @classmethod
    @abstractmethod
    def read(cls, word: str, fields: list[str]) -> Self | None:
        """The format whose name is word(field,...), None if the word is no name of this family's."""

    @classmethod
    def translate(cls, descriptor: Any) -> Self | None:
        """The format that a descriptor of another library (`qtorch`) means, None if it means none of this family."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that `parse` reads back."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of one code, shared scales aside."""

    @property
    @abstractmethod
    def significant_bits(self) -> int:
        """The bits that hold every code, its sign and its power of two aside."""

    @property
    def uniform(self) -> Grid | None:
        """The one grid that does not depend on the numbers, if there is one whose points can be counted."""
        return None

    @property
    def cut_axis(self) -> int | None:
        """The axis between whose indices a tensor may be cut without cutting a block. None: anywhere; -1: nowhere."""
        return None

    def shared(self, x: Tensor) -> Scales:
        """What the elements of a block share, beside their own value: tensors that broadcast against x.

        Raises FormatError if x lacks the block axis.
        """
        return ()

    @abstractmethod
    def grid(self, x: Tensor, *shared: Tensor, reach: float | Tensor | None = None) -> Grid:
        """The grid of x, or of a part of a tensor; see `formats.grid`."""

    def nearest(self, x: Tensor, g: Grid) -> Tensor:
        """The codes closest to x, before they are clipped; ties go to even codes, as hardware rounds."""
        return (x / g.gap).round()

    @cached_property
    def arithmetic(self) -> Arithmetic | None:
        """What `grid` and `nearest` compute, as numbers for fused loops; None if these cannot."""
        return None

    def blocks(self, x: Tensor) -> Blocks | None:
        """Which numbers of x share a scale, for fused loops. Raises FormatError if x lacks the block axis."""
        return None

    def require_head_room(self) -> None:  # noqa: B027 (most formats have it)
        """Raises FormatError, which says why, if no grid around a number is uniform and wide enough for Q^vc."""

    @property
    def correctable(self) -> bool:
        """Whether Q^vc can use the format."""
        try:
            self.require_head_room()
        except FormatError:
            return False
        return True

    @property
    def one_gap_a_block(self) -> bool:
        """Whether all numbers of a block have one gap, that of its largest."""
        return False

    # ---- codes -------------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> tuple[Tensor, Scales]:
        """The codes of a float32 tensor on the format's grid, integers of its shape, and the scales that are shared.

        Raises FormatError that names the first value off the grid or out of range.
        """
        shared = self.holding(x)
        g = self.grid(x, *shared)
        units = x / g.gap
        bad = ~((units == units.round()) & (units >= g.low) & (units <= g.high))
        if bool(bad.any()):
            index = tuple(bad.nonzero()[0].tolist())
            raise FormatError(
                f"{x[index].item()!r} at index {index} is not a number of the format {self.name}: "
                "round the tensor with lpsgld.quantize first"
            )
        return self.codes(x, units, *shared), self.scales(x, *shared)

    def holding(self, x: Tensor) -> Scales:
        """`shared` for a tensor that is on the grid already, however it got there."""
        return self.shared(x)

    @abstractmethod
    def codes(self, x: Tensor, units: Tensor, *shared: Tensor) -> Tensor:
        """The codes of x, which is `units` gaps; of the smallest type that holds them."""

    def scales(self, x: Tensor, *shared: Tensor) -> Scales:
        """What is stored beside the codes, once a block."""
        return ()

    @abstractmethod
    def decode(self, codes: Tensor, scales: Scales = ()) -> Tensor:
        """The float32 numbers of codes and scales of `encode`. Of the codes, only the lowest `bits` bits count."""

    @abstractmethod
    def values(self, largest: float = 1.0) -> Tensor:
        """All finite numbers of the format, sorted; with shared scales, in a block whose largest |x| is `largest`."""

    def row_exponents(self, codes: Tensor, scales: Scales) -> Tensor:
        """log2 of the gap of each row of a matrix of codes, int32 [rows]. Raises FormatError where rows have none."""
        raise FormatError(
            f"{self.name} has no 8-bit codes with one gap a row: use fixed(W,F), block(W,0) or block(W,-1) with W ≤ 8"
        )

    def scale_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of the scales of a tensor of that shape."""
        return 0

    def nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of a tensor of that shape: its codes one after the other, and its scales."""
        return math.ceil(math.prod(shape) * self.bits / 8) + self.scale_bytes(shape)


# ---- what families share -----------------------------------------------------------------------------------------


def require(name: str, what: str, value: int, low: int, high: int) -> None:
    """Raises FormatError unless low ≤ value ≤ high; `name` is the format's."""
    if not (isinstance(value, int) and low <= value <= high):
        raise FormatError(f"{name!r}: the {what} is {value}, but must be from {low} to {high}")


def require_codes(name: str, codes: float) -> None:
    """Raises FormatError if two gaps of head-room leave no code."""
    if codes < 1:
        raise FormatError(
            f"{name} has too few codes for variance-corrected rounding, which needs two gaps of head-room: "
            "use a word length of at least 3"
        )


def integers(fields: list[str]) -> list[int] | None:
    """The fields of a name as whole numbers. Raises FormatError for one that is none."""
    try:
        return [int(field) for field in fields]
    except ValueError as error:
        raise FormatError(f"{str(error).partition(': ')[2]} is not a whole number") from None


def one(number: float) -> Tensor:
    """The number as a 0-d tensor, whatever torch's default type and device are."""
    return torch.tensor(float(number), dtype=torch.float32, device="cpu")


def whole_numbers(low: float, high: float) -> Tensor:
    """low, low + 1, ..., high, as float32."""
    return torch.arange(low, high + 1, dtype=torch.float32, device="cpu")


def integer_type(bits: int) -> torch.dtype:
    """The smallest integers that hold codes of so many bits."""
    return torch.int8 if bits <= 8 else torch.int16 if bits <= 16 else torch.int32


def signed(codes: Tensor, bits: int) -> Tensor:
    """The whole numbers whose lowest bits, as two's complement, are these."""
    half = 1 << (bits - 1)
    return ((codes.long() + half) & (2 * half - 1)) - half


def exponent(x: Tensor) -> Tensor:
    """floor(log2|x|) as int32, exact for every finite x, subnormals included (-1 for x = 0)."""
    return torch.frexp(x).exponent - 1


def exponent_above(x: Tensor) -> Tensor:
    """ceil(log2 x) as int32, for finite x > 0."""
    mantissa, e = torch.frexp(x)
    return e - (mantissa == 0.5).to(e.dtype)


def power_of_two_below(x: Tensor) -> Tensor:
    """2^floor(log2|x|): the bits of the exponent alone, faster than frexp. 0 for subnormals, inf for inf and NaN."""
    if x.dtype == torch.float64:
        return (x.view(torch.int64) & 0x7FF0000000000000).view(torch.float64)
    return (x.view(torch.int32) & 0x7F800000).view(torch.float32)
