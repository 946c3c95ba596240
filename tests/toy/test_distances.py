"""Distances against closed forms, scipy, and a transport problem solved by brute force."""

import math

import numpy as np
import pytest
from qtorch import FixedPoint
from scipy import stats
from scipy.optimize import linear_sum_assignment

from lpsgld.toy.distances import kl_divergence, on_grid_floor, total_variation, wasserstein2, wasserstein2_smooth
from lpsgld.toy.exact import Law, stationary
from lpsgld.toy.targets import Gaussian, LogOdds, Mixture, SeenThrough


def sampled(target, points):
    return Law(points, target.density(points) * (points[1] - points[0]))


@pytest.mark.parametrize("target", [Gaussian(), Mixture(), LogOdds()], ids=["gaussian", "mixture", "coin"])
def test_wasserstein_by_assignment(target):
    """n equal atoms against n equal slices of the target, as points: W2 differs by the slices' own spread at most."""
    n = 800
    rng = np.random.default_rng(0)
    atoms = np.sort(rng.normal(0.5, 1.5, n))
    slices = target.quantile((np.arange(n) + 0.5) / n)
    cost = (atoms[:, None] - rng.permutation(slices)) ** 2
    rows, columns = linear_sum_assignment(cost)
    brute = math.sqrt(cost[rows, columns].mean())
    assert wasserstein2(Law(atoms, np.full(n, 1 / n)), target) == pytest.approx(brute, abs=0.01)


@pytest.mark.parametrize("distance", [1e-3, 0.3])
def test_smooth_wasserstein_of_two_gaussians(distance):
    """W2(N(m, s²), N(0, 1))² = m² + (s - 1)², however coarse the points are that resolve the density."""
    points = np.arange(-40, 41) / 3
    law = sampled(Gaussian(0.6 * distance, 1 + 0.8 * distance), points)
    assert wasserstein2_smooth(law, Gaussian()) == pytest.approx(distance, rel=1e-2 if distance > 0.1 else 0.1)
    fine = sampled(Gaussian(0.6 * distance, 1 + 0.8 * distance), np.linspace(-12, 12, 2001))
    assert wasserstein2_smooth(fine, Gaussian()) == pytest.approx(distance, rel=1e-6)
    assert wasserstein2_smooth(sampled(Gaussian(), np.linspace(-12, 12, 2001)), Gaussian()) < 1e-6


def test_smooth_wasserstein_against_atoms():
    points = np.linspace(-8, 8, 16_001)
    law, target = sampled(Mixture(), points), Gaussian()
    assert wasserstein2_smooth(law, target) == pytest.approx(wasserstein2(law, target), abs=1e-6)


def test_kl_of_two_gaussians():
    """KL(N(m, s²) || N(0, 1)) = (s² + m² - 1)/2 - log s; the cells cost the order of their width squared."""
    points = np.linspace(-14, 14, 5601)
    m, s = 0.4, 1.3
    expected = (s * s + m * m - 1) / 2 - math.log(s)
    assert kl_divergence(sampled(Gaussian(m, s), points), Gaussian()) == pytest.approx(expected, abs=1e-5)


def test_total_variation_of_two_gaussians():
    """TV(N(-a, 1), N(a, 1)) = 2Φ(a) - 1."""
    law = sampled(Gaussian(-0.5), np.linspace(-10, 10, 8001))
    assert total_variation(law, Gaussian(0.5)) == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=1e-6)


@pytest.mark.parametrize("target", [Gaussian(), Mixture(), LogOdds(2, 1)], ids=["gaussian", "mixture", "coin"])
def test_divergences_on_the_grid_against_scipy(target):
    law = stationary(target, 5e-3, FixedPoint(6, 3), "naive")
    q = np.diff(np.concatenate([[0.0], target.cdf((law.points[1:] + law.points[:-1]) / 2), [1.0]]))
    assert total_variation(law, target) == pytest.approx(np.abs(law.probabilities - q).sum() / 2, abs=1e-10)
    assert kl_divergence(law, target) == pytest.approx(stats.entropy(law.probabilities, q), abs=1e-6)


def test_divergences_of_the_rounded_target_itself_vanish():
    points = np.arange(-64, 64) / 8
    q = np.diff(np.concatenate([[0.0], stats.norm.cdf((points[1:] + points[:-1]) / 2), [1.0]]))
    assert abs(kl_divergence(Law(points, q), Gaussian())) < 1e-9
    assert total_variation(Law(points, q), Gaussian()) < 1e-12


def test_a_law_far_out_has_a_finite_divergence():
    far = Law(np.array([49.75, 50.0, 50.25]), np.array([0.0, 1.0, 0.0]))
    mills = 49.875**2 / 2 + math.log(49.875 * math.sqrt(2 * math.pi))  # -log P(X > 49.875), to 1/49.875²
    assert kl_divergence(far, Gaussian()) == pytest.approx(mills, abs=2e-3)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_the_small_step_limit_of_the_full_precision_accumulator(bits):
    """As α → 0 its law becomes `SeenThrough`; at α = 1e-4 discretisation has added about 1e-4."""
    fmt, target = FixedPoint(bits + 4, bits), LogOdds()
    points = np.linspace(-6, 9, 30_001)
    limit = wasserstein2_smooth(sampled(SeenThrough(target, fmt), points), target)
    law = stationary(target, 1e-4, fmt, "full")
    assert wasserstein2_smooth(law, target) == pytest.approx(limit, abs=2e-4)
    assert wasserstein2_smooth(law, SeenThrough(target, fmt)) < 2e-4


def test_on_grid_floor_is_the_best_of_all_laws():
    target, points = LogOdds(), np.arange(-16, 32) / 4
    floor = on_grid_floor(points, target)
    assert floor == pytest.approx(0.25 / math.sqrt(12), rel=1e-3)
    rng = np.random.default_rng(1)
    edges = np.concatenate([[0.0], target.cdf((points[1:] + points[:-1]) / 2), [1.0]])
    for _ in range(20):
        other = np.maximum(np.diff(edges) * rng.uniform(0.9, 1.1, len(points)), 0)
        assert wasserstein2(Law(points, other / other.sum()), target) > floor
