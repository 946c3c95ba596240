"""The fastest of several rounds, and the table that it ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lpsgld.bnn.costs.timing import rounds
from lpsgld.text import markdown


def interleaved(cases: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """The shortest time of each case in seconds, over rounds that run every case once, after one to warm up."""
    return {name: min(seconds) for name, seconds in rounds(cases, repetitions).items()}


@dataclass(frozen=True)
class Row:
    """One comparison. Times in seconds, None where there is none; goal: what `ratio` should be, as text.

    floor: what drawing the random numbers alone takes. bytes: what moving the bytes alone takes.
    """

    what: str
    threads: int
    ours: float
    other: float | None
    versus: str
    goal: str = ""
    floor: float | None = None
    bytes: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as long the other takes."""
        return None if self.other is None else self.other / self.ours


def table(rows: list[Row]) -> str:
    """A Markdown table: milliseconds, the ratio other/ours (how far ahead), its goal, and how far off the floors."""
    header = ["what", "threads", "ours, ms", "other, ms", "other", "other/ours", "goal"]
    header += ["floor, ms", "ours/floor", "bytes, ms", "ours/bytes"]
    lines = []
    for r in rows:
        cells = [r.what, str(r.threads), _ms(r.ours), _ms(r.other), r.versus, _number(r.ratio, 2), r.goal]
        for floor in (r.floor, r.bytes):
            cells += [_ms(floor), _number(None if floor is None else r.ours / floor)]
        lines.append(cells)
    return markdown(lines, header, right_from=1)


def _ms(seconds: float | None) -> str:
    return _number(None if seconds is None else 1e3 * seconds)


def _number(value: float | None, digits: int = 1) -> str:
    if value is None:
        return ""
    return f"{value:.{digits if abs(value) >= 1 else digits + 1}f}"
