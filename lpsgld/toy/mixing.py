"""How fast a chain forgets its start: spectral gap, relaxation and correlation time of a transition matrix."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigs

from lpsgld.toy.exact import Law


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


def correlation_time(law: Law, matrix: np.ndarray) -> float:
    """How many steps of a chain in its long run are worth one independent draw, for the mean of x: 1 + 2 Σ ρ_k.

    law: its points and its stationary law. matrix: [n, n], its transition matrix.
    """
    centred = law.points - law.mean
    passed = np.linalg.solve(np.eye(len(matrix)) - matrix + law.probabilities, centred)  # Σ P^k x
    return float(2 * (law.probabilities * centred) @ passed / law.std**2 - 1)
