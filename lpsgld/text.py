"""Text that people type and read: names and values as they are given, tables and JSON as they are shown.

What is given wrongly is told by the caller's own kind of error, passed as `error`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

SCALARS = {"int": int, "float": float, "bool": bool, "str": str}
_IN_WORDS = {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "text"}
_NUMBERS = {"int": numbers.Integral, "float": numbers.Real}
_WORDS = {"true": "True", "false": "False", "none": "None", "null": "None"}


class Mistake(Exception):
    """Something that whoever gave it can mend: the command line shows it as one line, without a traceback."""


# ---- names ---------------------------------------------------------------------------------------------------------


def one_of(what: str, given: Any, allowed: Iterable[str], error: type[Exception] = ValueError, more: str = "") -> Any:
    """`given`, if it is one of the names allowed. Raises `error` with all of them (and `more`), and the nearest."""
    allowed = list(allowed)
    if given in allowed:
        return given
    near = difflib.get_close_matches(str(given), allowed, n=1, cutoff=0.5)
    hint = f'. Did you mean "{near[0]}"?' if near else ""
    choice = f"choose from {', '.join(allowed)}{more}" if allowed else "there are none"
    raise error(f"there is no {what} {_shown(given)}: {choice}{hint}")


# ---- values: a type is written as in an annotation, such as "float", "list[int]", "str | None", "tuple[int, ...]" ---


def accepts(annotation: str, value: Any) -> bool:
    """Whether a value has that type. A bool is no number, a whole number is a float, a list may stand for a tuple;
    numpy's numbers are numbers."""
    if annotation.endswith(" | None"):
        return value is None or accepts(annotation.removesuffix(" | None"), value)
    if item := _item(annotation):
        return isinstance(value, list | tuple) and all(accepts(item, element) for element in value)
    allowed = _NUMBERS.get(annotation, SCALARS[annotation])
    return isinstance(value, allowed) and isinstance(value, bool) == (annotation == "bool")


def typed(name: str, annotation: str, value: Any, error: type[Exception] = ValueError, more: str = "") -> Any:
    """The value in Python's own type of that name. Raises `error`, ended by `more`, for another type."""
    if not accepts(annotation, value):
        hint = ""
        if isinstance(value, str) and accepts(annotation, meant := from_text(annotation, value)):
            hint = f" (this is text, for YAML too: write {meant!r})"
        raise error(f"{name} is {_shown(value)}, but must be {_in_words(annotation)}{hint}{more}")
    try:
        return _plain(annotation, value)
    except OverflowError:
        raise error(f"{name} is {_shown(value)}, but no float is as large{more}") from None


def from_text(annotation: str, text: str) -> Any:
    """What a text on a command line means where a value of that type is wanted; the text itself where it means none."""
    none = annotation.endswith(" | None") and text.lower() in ("none", "null")
    if annotation.startswith("str") and not none:
        return text
    try:
        return ast.literal_eval(_WORDS.get(text.lower(), text))
    except (ValueError, SyntaxError):
        return text


def number(what: str, value: Any, positive: bool = False) -> float:
    """The value as a finite number ≥ 0, or > 0 if positive. Raises ValueError for all else; a 0-d tensor may be one."""
    try:
        given = math.nan if isinstance(value, str) or getattr(value, "shape", ()) != () else float(value)
    except (TypeError, ValueError, RuntimeError):
        given = math.nan
    if not (0 < given if positive else 0 <= given) or given == math.inf:
        raise ValueError(f"{what} is {value!r}, but must be a finite number {'>' if positive else '≥'} 0")
    return given


def check_fields(record: Any, error: type[Exception]) -> None:
    """Put `typed` values into the fields of a dataclass, also a frozen one, as its annotations (strings) ask."""
    for field in dataclasses.fields(record):
        value = typed(field.name, field.type, getattr(record, field.name), error)
        object.__setattr__(record, field.name, value)


def _plain(annotation: str, value: Any) -> Any:
    if annotation.endswith(" | None"):
        return None if value is None else _plain(annotation.removesuffix(" | None"), value)
    if item := _item(annotation):
        made = [_plain(item, element) for element in value]
        return tuple(made) if annotation.startswith("tuple[") else made
    return SCALARS[annotation](value)


def _shown(value: Any) -> str:
    """A value as Python writes it, cut where it would fill the screen."""
    written = repr(value)
    return written if len(written) <= 200 else f"{written[:150]}... ({len(written)} characters)"


def _item(annotation: str) -> str:
    """The type of a list's elements; empty, if it is no list."""
    kind, _, inside = annotation.partition("[")
    return inside.removesuffix("]").removesuffix(", ...") if kind in ("list", "tuple") else ""


def _in_words(annotation: str) -> str:
    if annotation.endswith(" | None"):
        return f"{_in_words(annotation.removesuffix(' | None'))}, or None"
    item = _item(annotation)
    return f"a list, each element of it {_IN_WORDS[item]}" if item else _IN_WORDS[annotation]


# ---- tables and JSON -------------------------------------------------------------------------------------------------


def columns(rows: Iterable[Sequence[str]], header: Sequence[str] = (), right_from: int = 99) -> list[str]:
    """Rows as lines with aligned cells, under a header if there is one; columns from `right_from` on are numbers."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*filter(None, [header, *rows]), strict=True)]
    above = [header, ["-" * width for width in widths]] if header else []
    return [
        "  ".join(f"{cell:{'>' if i >= right_from else '<'}{widths[i]}}" for i, cell in enumerate(row)).rstrip()
        for row in [*above, *rows]
    ]


def markdown(rows: Iterable[Sequence[str]], header: Sequence[str], right_from: int = 99) -> str:
    """Rows as a Markdown table; columns from `right_from` on are numbers. A cell may hold a bar."""
    under = ["--:" if i >= right_from else "---" for i in range(len(header))]
    cells = [[cell.replace("|", "&#124;") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], f"|{'|'.join(under)}|", *lines[1:]])


def json_by_rows(value: Any, depth: int = 0) -> str:
    """JSON with a line for each field or row, so that two files can be compared by eye and by `diff`."""
    if not isinstance(value, dict | list) or not _nested(value):
        return json.dumps(value, ensure_ascii=False)
    pad = "\n" + " " * (depth + 1)
    if isinstance(value, dict):
        rows = [f"{json.dumps(name)}: {json_by_rows(part, depth + 1)}" for name, part in value.items()]
    else:
        rows = [json_by_rows(part, depth + 1) for part in value]
    ends = "{}" if isinstance(value, dict) else "[]"
    return ends[0] + pad + f",{pad}".join(rows) + "\n" + " " * depth + ends[1] + ("\n" if depth == 0 else "")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, in bytes of UTF-8, UTF-16 or UTF-32, marked or not.

    Raises ValueError for anything else: also for a name that an object has twice, where one of the values would be
    lost, and for endless nesting.
    """
    try:
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


def _nested(value: dict | list) -> bool:
    return any(isinstance(part, dict | list) for part in (value.values() if isinstance(value, dict) else value))
