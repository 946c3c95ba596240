"""Discrete laws on the line, and the stationary law of a banded transition matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, solve_banded

_MOST_NUMBERS = 2**28


class Law(NamedTuple):
    """A discrete law: sorted points and their probabilities, float64 arrays of one length."""

    points: np.ndarray
    probabilities: np.ndarray

    @property
    @np.errstate(under="ignore")
    def mean(self) -> float:
        return float(self.points @ self.probabilities)

    @property
    @np.errstate(under="ignore")
    def std(self) -> float:
        return math.sqrt(float((self.points - self.mean) ** 2 @ self.probabilities))


def left_eigenvector(matrix: np.ndarray, likely: int) -> np.ndarray:
    """π with π P = π, by a banded solver: small steps reach few states. `likely`: a state that is not rare.

    Raises ValueError if there is more than one such π.
    """
    source, destination = np.nonzero(matrix)
    offset = destination - source
    band = int(np.abs(offset).max())
    balance = np.zeros((2 * band + 1, len(matrix)))
    balance[band + offset, source] = matrix[source, destination]
    return null_vector(balance, band, likely)


@np.errstate(under="ignore")
def null_vector(balance: np.ndarray, band: int, likely: int) -> np.ndarray:
    """π with (P^T - I) π = 0, where P[i, i + o] is balance[band + o, i]: LAPACK's storage of the banded P^T."""
    n = balance.shape[1]
    balance[band] -= 1.0
    for offset in range(-band, band + 1):  # one equation follows from the others: in its place, π[likely] = 1
        if 0 <= likely - offset < n:
            balance[band + offset, likely - offset] = float(offset == 0)
    rhs = np.zeros(n)
    rhs[likely] = 1.0
    try:
        solution = np.maximum(solve_banded((band, band), balance, rhs), 0.0)
    except LinAlgError:
        raise ValueError(
            "the chain has more than one stationary law: it never leaves some of its states. Give it noise, by a "
            "temperature or a gradient noise > 0"
        ) from None
    return solution / solution.sum()


def require_room(*shape: int) -> None:
    """Raises ValueError if arrays of this shape would not fit into a laptop's memory; asked before they are made."""
    if math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(
            f"this exact law needs arrays of {' x '.join(f'{n:,}' for n in shape)} numbers, but {_MOST_NUMBERS:,} "
            "(2 GB) is the limit: take fewer bits, a smaller step size, or less gradient noise"
        )


def nearest(points: np.ndarray, x: float) -> int:
    """The index of the point that is closest to x."""
    return int(np.abs(points - x).argmin())
