"""The fastest of several rounds, and the table that it ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lpsgld.timing import rounds


def interleaved(cases: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """The shortest time of each case in seconds, over rounds that run every case once, after one to warm up."""
    return {name: min(seconds) for name, seconds in rounds(cases, repetitions).items()}


@dataclass(frozen=True)
class Row:
    """One comparison. Times in seconds; goal: what `ratio` should be, as text."""

    what: str
    threads: int
    ours: float
    other: float
    versus: str
    goal: str = ""
    floor: float | None = None


def table(rows: list[Row]) -> str:
    """A Markdown table: milliseconds, the ratio other/ours (how far ahead), its goal, and ours/floor."""
    lines = [
        "| what | threads | ours, ms | other, ms | other | other/ours | goal | floor, ms | ours/floor |",
        "|---|--:|--:|--:|---|--:|---|--:|--:|",
    ]
    for r in rows:
        floor, distance = ("", "") if r.floor is None else (f"{1e3 * r.floor:.1f}", f"{r.ours / r.floor:.1f}")
        lines.append(
            f"| {r.what} | {r.threads} | {1e3 * r.ours:.1f} | {1e3 * r.other:.1f} | {r.versus} "
            f"| {r.other / r.ours:.2f} | {r.goal} | {floor} | {distance} |"
        )
    return "\n".join(lines)
