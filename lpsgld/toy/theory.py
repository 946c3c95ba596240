"""Closed forms that theory gives for the toy worlds."""

from __future__ import annotations

import math


def naive_std(alpha: float, gap: float) -> float:
    """√(Δ/√(πα)): the stationary standard deviation of naive SGLDLP-L on N(0, 1) for √(2α) much smaller than Δ.

    From a grid point, a displacement δ ~ √(2α)|ξ| much smaller than Δ is rounded with variance |δ|(Δ - |δ|), on
    average about Δ√(2α)√(2/π) = 2Δ√(α/π). Held against the contraction (1 - α)² this gives Δ/√(πα): the smaller the
    step, the wider the law. Raises ValueError unless alpha and gap are positive.
    """
    if not (alpha > 0 and gap > 0):
        raise ValueError(f"naive_std(alpha={alpha}, gap={gap}): both must be positive")
    return math.sqrt(gap / math.sqrt(math.pi * alpha))
