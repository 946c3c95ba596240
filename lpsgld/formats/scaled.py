"""Scaled blocks: consecutive numbers share a scale, each is a number of a few bits times it (OCP MX, NVFP4)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lpsgld.formats import base
from lpsgld.formats.base import Format, FormatError, Grid, Scales
from lpsgld.formats.fixed import Fixed
from lpsgld.formats.floating import HARDWARE, Hardware
from lpsgld.kernels import TIES, Arithmetic, Blocks

Element = Hardware | Fixed

_BIAS = 127  # of E8M0, the eight bits of a power of two: 2^-127 .. 2^127
_ELEMENTS = {  # word, element's name as written (or None) -> format of the elements
    ("mxfp8", "e4m3"): HARDWARE["e4m3"],
    ("mxfp8", "e5m2"): HARDWARE["e5m2"],
    ("mxfp6", "e2m3"): HARDWARE["e2m3"],
    ("mxfp6", "e3m2"): HARDWARE["e3m2"],
    ("mxfp4", None): HARDWARE["e2m1"],
    ("mxint8", None): Fixed(8, 6, symmetric=True),
}
_E4M3, _E2M1 = HARDWARE["e4m3"], HARDWARE["e2m1"]


@dataclass(frozen=True)
class Scaled(Format):
    """Blocks of `block` consecutive elements along `axis` (the last block may be shorter) that share a scale.

    element: the format of a number divided by its scale. Ties go to even codes, and what is too large saturates.
    """

    block: int = 32
    axis: int = -1

    word = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.block, int) and 1 <= self.block <= 2**20 and self.block & (self.block - 1) == 0):
            raise FormatError(
                f"{self.name!r}: the block length is {self.block}, but must be a power of two, for example block=32"
            )

    @property
    @abstractmethod
    def element(self) -> Element:
        """The format of the elements."""

    @classmethod
    def options(cls, fields: list[str]) -> dict[str, int] | None:
        """block=N and axis=K as written behind a name; None where something else stands there."""
        pairs = [[part.strip() for part in field.split("=")] for field in fields]
        if any(len(pair) != 2 or pair[0] not in ("block", "axis") for pair in pairs):
            return None
        return dict(zip([key for key, _ in pairs], base.integers([value for _, value in pairs]), strict=True))

    def named(self, *fields: str) -> str:
        """The name with these fields, and with block and axis where they are not the usual ones."""
        usual = type(self).__dataclass_fields__
        options = [
            f"{key}={getattr(self, key)}" for key in ("block", "axis") if getattr(self, key) != usual[key].default
        ]
        inside = ",".join([*fields, *options])
        return self.word + (f"({inside})" if inside else "")

    @property
    def bits(self) -> int:
        return self.element.bits

    @property
    def significant_bits(self) -> int:
        return self.element.significant_bits

    @property
    def cut_axis(self) -> int | None:
        return -1

    @cached_property
    def arithmetic(self) -> Arithmetic:
        return self.element.arithmetic._replace(ties=TIES.index("even"))

    def blocks(self, x: Tensor) -> Blocks:
        return Blocks(None) if x.dim() == 0 else Blocks(self._axis_of(x), self.block)

    def codes(self, x: Tensor, units: Tensor, *shared: Tensor) -> Tensor:
        y = x / self.scale(*shared)
        return self.element.codes(y, y / self.element.grid(y).gap)

    def grid(self, x: Tensor, *shared: Tensor, reach: float | Tensor | None = None) -> Grid:
        scale = self.scale(*shared, reach=reach)
        g = self.element.grid(x / scale, reach=None if reach is None else reach / scale)
        return Grid(g.gap * scale, g.low, g.high)

    @abstractmethod
    def scale(self, *shared: Tensor, reach: float | Tensor | None = None) -> Tensor:
        """The scale of each element's block."""

    def shared(self, x: Tensor) -> Scales:
        """The largest |x| of each element's block."""
        return (self._spread(self._per_block(x), x),)

    def values(self, largest: float = 1.0) -> Tensor:
        return self.element.values() * self.scale(*self.shared(base.one(largest)[None]))

    # ---- blocks --------------------------------------------------------------------------------------------------

    def _per_block(self, x: Tensor) -> Tensor:
        """The largest |x| of each block, [..., blocks] with the blocks' axis last."""
        if x.dim() == 0 or x.numel() == 0:
            return x.abs()
        rows = x.abs().movedim(self._axis_of(x), -1)
        rows = F.pad(rows, (0, -rows.size(-1) % self.block))
        return rows.unflatten(-1, (-1, self.block)).amax(-1)

    def _spread(self, per_block: Tensor, x: Tensor) -> Tensor:
        """One number a block as one number an element of x."""
        if x.dim() == 0 or x.numel() == 0:
            return per_block.reshape(x.shape)
        axis = self._axis_of(x)
        # by index: torch 2.15 compiles repeat_interleave and what follows into reads beyond the last block
        return per_block[..., torch.arange(x.size(axis), device=x.device) // self.block].movedim(-1, axis)

    def _gathered(self, each: Tensor) -> Tensor:
        """One number an element as one number a block: the inverse of `_spread`."""
        return each.movedim(self._axis_of(each), -1)[..., :: self.block] if each.dim() else each

    def _axis_of(self, x: Tensor) -> int:
        if not -x.dim() <= self.axis < x.dim():
            raise FormatError(
                f"blocks of {self.name} run along axis {self.axis}, but the tensor has shape {tuple(x.shape)}: "
                f"choose an axis from {-x.dim()} to {x.dim() - 1}"
            )
        return self.axis % x.dim()

    def scale_bytes(self, shape: Sequence[int]) -> int:
        if not len(shape) or 0 in shape:
            return 1 if not len(shape) else 0
        length = shape[self.axis]
        return math.prod(shape) // length * math.ceil(length / self.block)


@dataclass(frozen=True)
class MX(Scaled):
    """An OCP Microscaling format (version 1.0): scales are 2^(floor(log2 max|block|) - Emax of the elements), in E8M0.

    A block's largest element may so exceed the largest number of the elements' format (6, below mxfp4's 8): it
    saturates.
    A NaN makes its whole block NaN.
    """

    kind: tuple[str, str | None] = ("mxfp4", None)

    forms = ("mxfp8(e4m3)", "mxfp8(e5m2)", "mxfp6(e2m3)", "mxfp6(e3m2)", "mxfp4", "mxint8")

    @classmethod
    def read(cls, word: str, fields: list[str]) -> Self | None:
        kind = (word, None) if (word, None) in _ELEMENTS else (word, fields[0] if fields else "")
        options = cls.options(fields if kind[1] is None else fields[1:])
        return None if kind not in _ELEMENTS or options is None else cls(**options, kind=kind)

    @property
    def word(self) -> str:
        return self.kind[0]

    @property
    def name(self) -> str:
        return self.named(*filter(None, self.kind[1:]))

    @property
    def element(self) -> Element:
        return _ELEMENTS[self.kind]

    def scale(self, largest: Tensor, reach: float | Tensor | None = None) -> Tensor:
        element = self.element
        top = math.frexp(element.largest)[1] - 1
        if reach is None:
            e = base.exponent(largest) - top
            e = e.masked_fill(largest == 0, -_BIAS)
        else:
            e = base.exponent_above((largest + reach) / (element.largest - 2 * element.coarsest))
        e = e.masked_fill(largest.isinf(), _BIAS - top).clamp(-_BIAS, _BIAS)
        return torch.ldexp(torch.ones_like(largest), e).masked_fill(largest.isnan(), torch.nan)

    @cached_property
    def arithmetic(self) -> Arithmetic:
        element = self.element
        top = math.frexp(element.largest)[1] - 1
        return super().arithmetic._replace(
            drop=top,
            room=element.largest - 2 * element.coarsest,
            when_infinite=_BIAS - top,
            when_zero=-_BIAS,
            lowest=-_BIAS,
            highest=_BIAS,
        )

    def require_head_room(self) -> None:
        self.element.require_head_room()

    def holding(self, x: Tensor) -> Scales:
        """Q^vc leaves numbers that need a scale of twice the usual size: 480, where e4m3 ends with 448."""
        (largest,) = self.shared(x)
        return (torch.where(largest > self.scale(largest) * self.element.largest, 2 * largest, largest),)

    def scales(self, x: Tensor, *shared: Tensor) -> Scales:
        """The codes of E8M0, one a block."""
        return ((base.exponent(self._gathered(self.scale(*shared))) + _BIAS).to(torch.uint8),)

    def decode(self, codes: Tensor, scales: Scales = ()) -> Tensor:
        one = torch.ones_like(scales[0], dtype=torch.float64)
        scale = self._spread(torch.ldexp(one, scales[0].int() - _BIAS), codes)
        return (self.element.decode(codes).double() * scale).float()


@dataclass(frozen=True)
class NVFP4(Scaled):
    """nvfp4: blocks of 16 E2M1 elements share an E4M3 scale, and the tensor a second one, in float32.

    The tensor's scale is max|x|/(6·448), with 18 significant bits, rounded down: all numbers of the format are then
    exact in float32, and the largest stays the largest. A block's scale is its max|x|/6 over that, rounded to E4M3.
    Scales follow from the numbers, so that a second stochastic rounding of what one has left may find another scale.
    """

    block: int = 16

    word = "nvfp4"
    forms = ("nvfp4",)

    @classmethod
    def read(cls, word: str, fields: list[str]) -> Self | None:
        options = cls.options(fields)
        return cls(**options) if word == cls.word and options is not None else None

    @property
    def name(self) -> str:
        return self.named()

    @property
    def element(self) -> Element:
        return _E2M1

    def shared(self, x: Tensor) -> Scales:
        """The largest |x| of each element's block, and of the tensor."""
        whole = x.abs().amax() if x.numel() else x.new_zeros(())
        return (*super().shared(x), whole.reshape([1] * x.dim()))

    def scale(self, largest: Tensor, whole: Tensor, reach: float | Tensor | None = None) -> Tensor:
        if reach is not None:
            self.require_head_room()
        tensor = self._tensor_scale(whole)
        ratio = largest / _E2M1.largest / tensor
        g = _E4M3.grid(ratio)
        return (_E4M3.nearest(ratio, g) * g.gap).clamp(2.0 ** (_E4M3.lowest - _E4M3.man), _E4M3.largest) * tensor

    def blocks(self, x: Tensor) -> Blocks:
        return super().blocks(x)._replace(scale=lambda largest: self.scale(largest, largest.amax()))

    def _tensor_scale(self, whole: Tensor) -> Tensor:
        ratio = (whole.float() / (_E2M1.largest * _E4M3.largest)).clamp(2.0**-100, 2.0**116)
        kept = (ratio.view(torch.int32) & ~0x3F).view(torch.float32)
        return torch.where(whole.isnan(), torch.nan, kept).to(whole.dtype)

    def require_head_room(self) -> None:
        raise FormatError(
            "nvfp4 has no variance-corrected rounding: the scale of a block is no power of two, so that its grid moves "
            "with its largest element and the noise has no grid of its own. Use mxfp4, or another accumulator"
        )

    def holding(self, x: Tensor) -> Scales:
        """Stochastic rounding may leave a block's largest element at 4 scales: the scale is looked for."""
        largest, whole = self.shared(x)
        tensor = self._tensor_scale(whole)
        found = largest
        for multiple in _E2M1.values()[_E2M1.values() > 0].tolist():  # the last one that fits, 6 first of all
            ratio = largest / multiple / tensor
            g = _E4M3.grid(ratio)
            scale = ratio * tensor
            units = x / (scale * _E2M1.grid(x / scale).gap)
            on_grid = (units == units.round()) & (ratio / g.gap == (ratio / g.gap).round()) & (ratio <= _E4M3.largest)
            whole_block = self._spread(self._per_block((~on_grid).float()), x) == 0
            found = torch.where(whole_block, scale * _E2M1.largest, found)
        return found, whole

    def scales(self, x: Tensor, *shared: Tensor) -> Scales:
        """The codes of E4M3, one a block, and the tensor's scale."""
        tensor = self._tensor_scale(shared[1])
        ratio = self._gathered(self.scale(*shared) / tensor)
        return _E4M3.encode(ratio.float())[0].view(torch.uint8), tensor.float().reshape(())

    def decode(self, codes: Tensor, scales: Scales = ()) -> Tensor:
        scale = self._spread(_E4M3.decode(scales[0]) * scales[1], codes)
        return _E2M1.decode(codes) * scale

    def scale_bytes(self, shape: Sequence[int]) -> int:
        return super().scale_bytes(shape) + 4
