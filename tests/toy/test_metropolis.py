"""Metropolis' correction on a grid, against detailed balance, a chain of two points, and draws."""

import math

import numpy as np
import pytest
from scipy import stats

from lpsgld.toy import metropolis
from lpsgld.toy.exact import Law, stationary, transition
from lpsgld.toy.mixing import correlation_time
from lpsgld.toy.targets import Gaussian, Mixture


@pytest.mark.parametrize("target", [Gaussian(), Mixture()], ids=["one mode", "two modes"])
@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize("alpha", [0.1, 1e-3])
def test_whatever_is_proposed_the_law_is_the_target_on_the_grid(target, accumulator, alpha):
    """Step by step: as often from x to y as back; and no better way to accept keeps that (Peskun: off the diagonal
    one of both directions is accepted whole)."""
    points, proposals = transition(target, alpha, "fixed(8,3)", accumulator)
    made = metropolis.corrected(points, proposals, target)
    law = made.law.probabilities
    assert law == pytest.approx(target.density(made.law.points) / target.density(made.law.points).sum())
    flow = law[:, None] * made.matrix
    assert np.abs(flow - flow.T).max() < 1e-15 and np.abs(made.matrix.sum(axis=1) - 1).max() < 1e-12
    first = np.searchsorted(points, made.law.points[0])
    p = proposals[first : first + len(law), first : first + len(law)]
    seen = (p > 1e-12) & (p.T > 1e-12) & ~np.eye(len(law), dtype=bool)
    whole = np.isclose(made.matrix, p, rtol=1e-9)
    assert (whole | whole.T)[seen].all() and not whole[seen].all()
    assert 0.8 < made.acceptance < 1


def test_two_points_by_hand():
    """Density e^-1/2 at 1 over that at 0, each proposes the other with probability 0.4 and 0.1."""
    points, proposals = np.array([0.0, 1.0]), np.array([[0.6, 0.4], [0.1, 0.9]])
    made = metropolis.corrected(points, proposals, Gaussian())
    r = math.exp(-0.5)
    assert made.matrix[0, 1] == pytest.approx(0.1 * r) and made.matrix[1, 0] == pytest.approx(0.1)
    assert made.acceptance == pytest.approx((0.6 + 0.1 * r + r) / (1 + r))
    assert correlation_time(made.law, made.matrix) == pytest.approx(2 / (0.1 * r + 0.1) - 1)


@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_a_noisy_ratio_is_accepted_as_often_as_drawn(noise):
    """The mean of min(1, e^(ratio + noise·ξ)) by quadrature; and with a penalty of noise²/2, balance comes back."""
    ratio = np.linspace(-3, 3, 7)
    z = np.linspace(-12, 12, 200_001)
    drawn = [(np.minimum(1, np.exp(r + noise * z)) * stats.norm.pdf(z)).sum() * (z[1] - z[0]) for r in ratio]
    assert metropolis._accepts(ratio, noise) == pytest.approx(drawn, rel=1e-6)
    penalised = metropolis._accepts(ratio - noise**2 / 2, noise)
    assert penalised / penalised[::-1] == pytest.approx(np.exp(ratio))
    assert penalised[3] == pytest.approx(2 * stats.norm.cdf(-noise / 2))


def test_a_noisy_ratio_widens_the_law():
    points, proposals = transition(Gaussian(), 1e-3, "fixed(8,3)", "naive")
    exact, noisy = (metropolis.corrected(points, proposals, Gaussian(), noise) for noise in (0.0, 1.0))
    assert exact.law.std == pytest.approx(1, abs=1e-9)
    assert np.abs(noisy.law.probabilities @ noisy.matrix - noisy.law.probabilities).max() < 1e-12
    assert 1.05 < noisy.law.std < stationary(Gaussian(), 1e-3, "fixed(8,3)", "naive").std
    with pytest.raises(ValueError, match="noise is -1.0"):
        metropolis.corrected(points, proposals, Gaussian(), -1.0)


def test_the_correlation_time_of_a_linear_recursion():
    """SGLD on N(0, 1): (2 - α)/α."""
    points, matrix = transition(Gaussian(), 0.1, "fixed(8,3)", "vc")
    law = stationary(Gaussian(), 0.1, "fixed(8,3)", "vc")
    assert correlation_time(Law(points, law.probabilities), matrix) == pytest.approx(19, rel=1e-4)
