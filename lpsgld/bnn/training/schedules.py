"""Step-size schedules: what the base step size is multiplied by as training goes on.

A schedule is a function of progress, the share of all steps done so far, from 0 to 1 (1 excluded).
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """1 throughout: the step size of the theory."""
    return lambda progress: 1.0


def decay(start: float = 0.5, end: float = 0.9, final: float = 0.01) -> Schedule:
    """1 until `start`, then linear down to `final` at `end`, then flat: the schedule of the paper's CIFAR runs.

    Raises ValueError unless 0 ≤ start < end ≤ 1 and 0 < final ≤ 1.
    """
    if not (0 <= start < end <= 1 and 0 < final <= 1):
        raise ValueError(f"decay({start}, {end}, {final}): need 0 <= start < end <= 1 and 0 < final <= 1")

    def multiplier(progress: float) -> float:
        fallen = min(max((progress - start) / (end - start), 0.0), 1.0)
        return 1.0 - (1.0 - final) * fallen

    return multiplier


def cyclical(cycles: int) -> Schedule:
    """(cos(π s) + 1)/2, where s runs from 0 to 1 in each of the cycles: large steps explore, small ones sample.

    Zhang et al., "Cyclical stochastic gradient MCMC", ICLR 2020, equation 1. Raises ValueError unless cycles ≥ 1.
    """
    if not (isinstance(cycles, int) and cycles >= 1):
        raise ValueError(f"cyclical({cycles!r}): the number of cycles must be a whole number from 1 up")
    return lambda progress: (math.cos(math.pi * (progress * cycles % 1.0)) + 1.0) / 2.0
