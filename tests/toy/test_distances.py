"""Distances against closed forms, scipy, and a transport problem solved by brute force."""

import math

import numpy as np
import pytest
from qtorch import FixedPoint
from scipy.optimize import linear_sum_assignment

from lpsgld.toy.distances import (
    best_step,
    full_floor,
    of_sampler,
    on_grid_floor,
    wasserstein2,
    wasserstein2_smooth,
)
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


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_the_small_step_limit_of_the_full_precision_accumulator(bits):
    """As α → 0 its law becomes `SeenThrough`; at α = 1e-4 discretisation has added about 1e-4."""
    fmt, target = FixedPoint(bits + 4, bits), LogOdds()
    law = stationary(target, 1e-4, fmt, "full")
    assert wasserstein2_smooth(law, target) == pytest.approx(full_floor(target, fmt), abs=2e-4)
    assert wasserstein2_smooth(law, SeenThrough(target, fmt)) < 2e-4
    assert full_floor(target, fmt) / full_floor(target, FixedPoint(bits + 5, bits + 1)) == pytest.approx(4, rel=0.02)


def test_the_best_step_by_a_sweep():
    def distance(alpha):
        return of_sampler(Gaussian(), alpha, "fixed(6,2)", "naive")

    step, smallest = best_step(distance)
    assert on_grid_floor(Gaussian(), "fixed(6,2)") < smallest == distance(step)
    assert smallest < min(distance(factor * step) for factor in (0.7, 0.9, 1.1, 1.4))


def test_on_grid_floor_is_the_best_of_all_laws():
    target, points = LogOdds(), np.arange(-32, 32) / 4
    floor = on_grid_floor(target, "fixed(6,2)")
    assert floor == pytest.approx(0.25 / math.sqrt(12), rel=1e-3)
    rng = np.random.default_rng(1)
    edges = np.concatenate([[0.0], target.cdf((points[1:] + points[:-1]) / 2), [1.0]])
    for _ in range(20):
        other = np.maximum(np.diff(edges) * rng.uniform(0.9, 1.1, len(points)), 0)
        assert wasserstein2(Law(points, other / other.sum()), target) > floor
