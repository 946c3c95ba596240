"""Fair timing on a busy machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def rounds(cases: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each case in every round; a round runs each case once, and one round more warms up first.

    Whatever else the machine does slows all cases of a round alike; the minimum shows the machine at rest.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for repetition in range(repetitions + 1):
        for name, case in cases.items():
            _wait()
            started = time.perf_counter()
            case()
            _wait()
            if repetition > 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median over rounds of each case."""
    return {name: statistics.median(times) for name, times in seconds.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
