"""How fast a chain forgets its start: spectral gap and relaxation time of a transition matrix."""

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
