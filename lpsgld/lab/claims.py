"""Claims: every sentence of a notebook that numbers can check is checked, and a false one stops the notebook."""

from __future__ import annotations

import html
from typing import Any

from lpsgld.lab import output, session

ERRORS = 5  # standard errors that a measured number may be off: a normal one is beyond with probability 6e-7


class ClaimFailed(AssertionError):
    """A claim does not hold; the message has the numbers."""


def claim(
    text: str,
    measured: Any = None,
    *,
    expected: float | None = None,
    tolerance: float | None = None,
    error: float | None = None,
    between: tuple[float, float] | None = None,
    holds: Any = None,
) -> None:
    """Check a sentence with numbers, print one line, and remember it for `summary`.

    One of four forms: |measured - expected| <= tolerance; the same with five times `error`, the standard error of what
    was drawn at random, so that a true claim fails for one seed in two million; low <= measured <= high, for
    between=(low, high); or holds, something true or false (with `measured` only to show). NaN never holds.

    Raises ClaimFailed with the numbers, TypeError if the form is none of these.
    """
    forms = [expected is not None, between is not None, holds is not None]
    widths = (tolerance is not None) + (error is not None)
    if sum(forms) != 1 or widths != (expected is not None) or (holds is None and measured is None):
        raise TypeError(
            "claim(text, measured, ...) needs expected= with tolerance= or error=, or between=(low, high); "
            "claim(text, ...) without a number needs holds="
        )
    number = None if measured is None else float(measured)
    if expected is not None:
        tolerance = ERRORS * float(error) if tolerance is None else tolerance
        condition = f"expected {expected:.6g} ± {tolerance:.2g}{', five standard errors' if error is not None else ''}"
        true = abs(number - expected) <= tolerance
    elif between is not None:
        low, high = between
        condition = f"expected from {low:.6g} to {high:.6g}"
        true = low <= number <= high
    else:
        condition = ""
        true = bool(holds) and bool(holds == holds) and number == number  # for Python, NaN is true
    line = _line(text, number, condition)
    if not true:
        raise ClaimFailed(f"✗ {line}")
    session.current().claims[text] = number, condition
    print(f"✓ {line}")


def summary() -> None:
    """Display how many claims of this notebook have held, and, folded, a table of the numbers that they have measured.

    Raises RuntimeError before start.
    """
    claims = session.required("summary").claims
    rows = [(text, "✓" if number is None else f"{number:.6g}", held) for text, (number, held) in claims.items()]
    plain = "\n".join(f"✓ {_line(text, *held)}" for text, held in claims.items())
    if not rows:
        output.show({"text/plain": "No claim has been checked yet."})
        return
    said = "The one claim so far has held" if len(rows) == 1 else f"All {len(rows)} claims so far have held"
    sides = ("left", "right", "left")  # a notebook would have all of them on the right
    cells = [
        [f'<td style="text-align: {side}">{html.escape(cell)}</td>' for side, cell in zip(sides, row, strict=True)]
        for row in (("claim", "measured", ""), *rows)
    ]
    table = "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    folded = f"<details><summary>{said}; what was measured</summary>\n<table>\n{table}\n</table></details>"
    output.show({"text/html": folded, "text/plain": plain})


def _line(text: str, number: float | None, condition: str) -> str:
    parts = ([] if number is None else [f"measured {number:.6g}"]) + ([condition] if condition else [])
    return f"{text}: {', '.join(parts)}" if parts else text
