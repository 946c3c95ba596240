"""Spectral gaps against chains whose eigenvalues are known."""

import numpy as np
import pytest
from qtorch import FixedPoint
from scipy import sparse

from lpsgld.toy.exact import stationary, transition
from lpsgld.toy.mixing import relaxation_time, spectral_gap
from lpsgld.toy.targets import Gaussian, LogOdds, Mixture

EIGHT = FixedPoint(8, 3)


def test_two_states():
    """Leaving with probabilities a and b: the second eigenvalue is 1 - a - b."""
    matrix = np.array([[0.9, 0.1], [0.02, 0.98]])
    assert spectral_gap(matrix) == pytest.approx(0.12)
    assert relaxation_time(matrix) == pytest.approx(1 / 0.12)


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize("alpha", [0.1, 1e-2, 1e-3])
def test_on_a_gaussian_every_accumulator_has_the_gap_alpha(accumulator, alpha):
    """All roundings are unbiased, E θ' = (1 - α)θ: θ itself is an eigenfunction, and the slowest one."""
    _, matrix = transition(Gaussian(), alpha, EIGHT, accumulator)
    assert spectral_gap(matrix) == pytest.approx(alpha, rel=1e-6)
    _, matrix = transition(Gaussian(), alpha, EIGHT, "full")
    assert spectral_gap(matrix) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize("target", [Mixture(), LogOdds()], ids=["mixture", "coin"])
def test_near_one_and_everywhere_agree(target):
    _, matrix = transition(target, 0.05, FixedPoint(6, 2), "full")
    assert np.allclose(np.asarray(matrix.sum(axis=1)), 1)
    assert spectral_gap(matrix) == pytest.approx(spectral_gap(matrix.toarray()), rel=1e-8)
    _, small = transition(target, 0.01, FixedPoint(6, 3), "vc")
    assert spectral_gap(sparse.csr_array(small)) == pytest.approx(spectral_gap(small), rel=1e-8)


def test_the_rows_of_the_refined_chain_lead_to_its_law():
    law = stationary(LogOdds(), 0.05, FixedPoint(6, 2), "full", 0.1)
    points, matrix = transition(LogOdds(), 0.05, FixedPoint(6, 2), "full", 0.1)
    assert np.array_equal(points, law.points)
    assert np.abs(law.probabilities @ matrix - law.probabilities).max() < 1e-14
    mean, inside = points - 0.05 * seen_gradient(points), (points > 0) & (points < 5)
    assert np.allclose((matrix @ points)[inside], mean[inside], atol=1e-9)


def seen_gradient(points):
    grid = np.arange(-32, 32) / 4
    return np.interp(points, grid, LogOdds().gradient(grid))
