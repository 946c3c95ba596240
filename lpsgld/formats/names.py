"""Formats by name: the one door through which every format comes, whatever it is given as."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NoReturn

from torch import Tensor

from lpsgld import text
from lpsgld.formats.base import Format, FormatError, Grid

AnyFormat = Format | str | Any | None  # a format, its name, a descriptor of qtorch; None is full precision


def parse(given: AnyFormat) -> Format | None:
    """The format that is meant: by a name such as "fixed(8,3)" or "mxfp4", a `qtorch` descriptor, or the object itself.

    "full" and None are full precision, None. Raises FormatError with what was given, what is allowed and, for a name
    that is nearly one, the nearest.
    """
    if given is None or isinstance(given, Format):
        return given
    if isinstance(given, str):
        return _read(given)
    for family in Format.families:
        if (fmt := family.translate(given)) is not None:
            return fmt
    _unknown(given)


def name(fmt: AnyFormat) -> str:
    """The name that `parse` reads back: "fixed(8,3)", ..., "full" for None. Raises what `parse` raises."""
    fmt = parse(fmt)
    return "full" if fmt is None else fmt.name


def of_each(given: AnyFormat | Mapping[str, AnyFormat], names: Iterable[str]) -> dict[str, Format | None]:
    """The format of each of these names, of parameters or the like.

    given: one format for all, or formats by patterns of names, as of files: `{"*norm*": None, "*": "block(8,0)"}`.
    The first pattern that a name matches counts; what matches none is in full precision. Raises FormatError for a
    pattern that matches no name, and what `parse` raises.
    """
    names = list(names)
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, parse(given))
    parsed = {pattern: parse(fmt) for pattern, fmt in given.items()}
    if parsed.keys() <= set(names):  # as `SGLD.weights` has it: nothing to look for
        return {each: parsed.get(each) for each in names}
    for pattern in parsed:
        if not any(fnmatchcase(each, pattern) for each in names):
            text.one_of("parameter", pattern, names, FormatError)
    first = (next((pattern for pattern in parsed if fnmatchcase(each, pattern)), None) for each in names)
    return {each: parsed.get(pattern) for each, pattern in zip(names, first, strict=True)}


def grid(fmt: AnyFormat, x: Tensor, reach: float | Tensor | None = None) -> Grid:
    """The grid of `fmt` for the values of `x`.

    fixed(W,F): Δ = 2^-F, codes -2^(W-1) .. 2^(W-1) - 1, whatever x is.
    block(W,k): Δ = 2^(e-(W-2)) with e = floor(log2 max|block|), codes ±(2^(W-1) - 1); one block for each index
    of axis k, one for the whole tensor if k = -1. A NaN makes its whole block NaN.
    float(E,M), e4m3, ...: Δ = 2^(e-M) with e = floor(log2|x|) of each element, as far as the exponents reach.
    mxfp4, nvfp4, ...: the grid of the elements' format times the scale of the block.

    reach: how far beyond |x| a value may still be moved before it is rounded (x's own unit). The exponents are
    then chosen so that all of [-(|x| + reach + 2Δ), |x| + reach + 2Δ] lies on this one uniform grid, which
    costs at most one bit when reach is small. `None` leaves no head-room: the format as defined.

    Raises FormatError if x lacks the block axis, or if the format has no room for any head-room.
    """
    fmt = parse(fmt)
    return fmt.grid(x, *fmt.shared(x), reach=reach)


def whole_blocks_axis(*fmts: AnyFormat) -> int | None:
    """The axis along which a tensor may be cut without cutting a block of any of the formats. None: any; -1: none."""
    axes = {fmt.cut_axis for fmt in map(parse, fmts) if fmt is not None and fmt.cut_axis is not None}
    if not axes:
        return None
    return axes.pop() if len(axes) == 1 else -1


@cache
def _read(given: str) -> Format | None:
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", given)
    word = match[1] if match else ""
    fields = [field.strip() for field in match[2].split(",")] if match and match[2] is not None else []
    if word == "full" and not fields:
        return None
    for family in Format.families:
        try:
            if (fmt := family.read(word, fields)) is not None:
                return fmt
        except FormatError as error:
            raise FormatError(str(error) if repr(given) in str(error) else f"{given!r}: {error}") from None
    _unknown(given)


def _unknown(given: Any) -> NoReturn:
    known = [name for family in Format.families for name in family.forms]
    text.one_of("number format", given, [*known, "full"], FormatError, ', for example "fixed(8,3)" or "mxfp4"')
