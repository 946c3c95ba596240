"""How fast a chain forgets its start: spectral gap, relaxation time and mixing time of a transition matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigs


def spectral_gap(matrix: np.ndarray | sparse.sparray) -> float:
    """1 - |λ₂|, where λ₂ is the second largest eigenvalue in absolute value of a transition matrix [n, n].

    What a chain remembers of its start fades like (1 - gap)^k after k steps. A sparse matrix (that of an accumulator in
    full precision) is searched near 1 only: there the answer is the distance to 1 of the closest other eigenvalue, the
    same unless steps are so large that the chain swings from side to side (for a Gaussian, α/std² > 1).
    """
    if sparse.issparse(matrix):
        start = np.random.default_rng(0).random(matrix.shape[0])  # ARPACK's own would differ from call to call
        near = eigs(matrix.tocsc(), k=3, sigma=1 + 1e-8, v0=start, return_eigenvectors=False)
        return float(np.sort(np.abs(1 - near))[1])
    return float(1 - np.sort(np.abs(np.linalg.eigvals(matrix)))[-2])


def relaxation_time(matrix: np.ndarray | sparse.sparray) -> float:
    """1 / spectral gap: the number of steps after which 1/e of the slowest memory is left."""
    return 1 / spectral_gap(matrix)


def mixing_time(matrix: np.ndarray, law: np.ndarray, distance: float = 0.25, most: int = 2**40) -> int:
    """The smallest number of steps after which, from every state, total variation to the stationary law ≤ distance.

    matrix: [n, n]; law: its stationary probabilities [n].
    By squaring: P, P², P⁴, ... until they are close enough, then back down to the exact number. The time is that of
    the *worst* start, often the far end of the format's range.
    Raises ValueError unless 0 < distance < 1, and if `most` steps are not enough.
    """
    if not 0 < distance < 1:
        raise ValueError(f"mixing_time(distance={distance}): must be between 0 and 1")

    def far(power: np.ndarray) -> bool:
        return np.abs(power - law).sum(axis=1).max() / 2 > distance

    powers = [matrix]
    while far(powers[-1]):
        if 2 ** len(powers) > most:
            raise ValueError(f"after {most} steps the chain is still farther than {distance} from its law")
        powers.append(powers[-1] @ powers[-1])
    steps, reached = 0, np.eye(len(law))  # not close enough yet
    for exponent in range(len(powers) - 2, -1, -1):
        further = reached @ powers[exponent]
        if far(further):
            steps, reached = steps + 2**exponent, further
    return steps + 1
