"""Targets against scipy's quadrature, closed forms and automatic differentiation."""

import math

import numpy as np
import pytest
import torch
from qtorch import FixedPoint
from scipy import integrate, optimize, stats

from lpsgld.rounding import quantize
from lpsgld.toy.targets import Gaussian, LogOdds, Mixture, SeenThrough

UNEQUAL = Mixture((-2.0, 0.5, 3.0), (0.4, 1.0, 0.2), (1.0, 2.0, 0.5))
COIN = LogOdds(8, 2)
ROUNDED = SeenThrough(COIN, FixedPoint(6, 1))
TARGETS = [Gaussian(0.5, 0.7), Mixture(), UNEQUAL, COIN, LogOdds(0, 0), ROUNDED]
NAMES = ["gaussian", "mixture", "unequal", "coin", "prior", "rounded"]
line = pytest.mark.parametrize("target", TARGETS, ids=NAMES)


@line
def test_density_moments_and_quantiles_belong_together(target):
    x = np.linspace(target.mean - 12 * target.std, target.mean + 12 * target.std, 200_001)
    density = target.density(x)
    assert integrate.simpson(density, x=x) == pytest.approx(1, abs=1e-9)
    assert integrate.simpson(density * x, x=x) == pytest.approx(target.mean, abs=1e-9)
    assert integrate.simpson(density * (x - target.mean) ** 2, x=x) == pytest.approx(target.std**2, abs=1e-8)
    u = np.array([1e-9, 0.01, 0.3, 0.5, 0.77, 0.999])
    assert np.allclose(target.cdf(target.quantile(u)), u, atol=1e-12)
    first, second = target.quantile_moments(np.array([0.0, 1.0]))
    assert np.diff(first)[0] == pytest.approx(target.mean, abs=1e-10)
    assert np.diff(second)[0] == pytest.approx(target.mean**2 + target.std**2, abs=1e-10)


@line
def test_gradient_is_that_of_the_density(target):
    x = np.linspace(-4, 4, 41) + 0.013
    h = 1e-5
    slope = -(target.log_density(x + h) - target.log_density(x - h)) / (2 * h)
    assert np.allclose(target.gradient(x), slope, atol=1e-7 * (1 + np.abs(slope).max()))


@pytest.mark.parametrize("target", TARGETS[:5], ids=NAMES[:5])
def test_gradient_of_tensors_and_numbers(target):
    x = torch.linspace(-30, 30, 61, dtype=torch.float64)
    assert np.allclose(target.gradient(x).numpy(), target.gradient(x.numpy()), rtol=1e-12)
    assert float(target.gradient(1.25)) == pytest.approx(target.gradient(np.array(1.25)))


def test_mixture_by_closed_forms():
    parts = list(zip(UNEQUAL.means, UNEQUAL.stds, np.array(UNEQUAL.weights) / 3.5, strict=True))
    x = np.linspace(-4, 4, 33)
    assert np.allclose(UNEQUAL.cdf(x), sum(w * stats.norm.cdf(x, m, s) for m, s, w in parts), atol=1e-12)
    assert np.allclose(UNEQUAL.density(x), sum(w * stats.norm.pdf(x, m, s) for m, s, w in parts), atol=1e-12)
    mean = sum(w * m for m, s, w in parts)
    assert UNEQUAL.mean == pytest.approx(mean, abs=1e-12)
    assert UNEQUAL.std**2 == pytest.approx(sum(w * (s * s + m * m) for m, s, w in parts) - mean**2, abs=1e-11)
    u = 0.3
    x_u = optimize.brentq(lambda t: sum(w * stats.norm.cdf(t, m, s) for m, s, w in parts) - u, -5, 5, xtol=1e-14)
    assert UNEQUAL.quantile(u) == pytest.approx(x_u, abs=1e-11)
    first = sum(w * (m * stats.norm.cdf(x_u, m, s) - s * s * stats.norm.pdf(x_u, m, s)) for m, s, w in parts)
    assert UNEQUAL.quantile_moments(np.array(u))[0] == pytest.approx(first, abs=1e-11)


def test_log_odds_by_quadrature():
    def weight(x, power=0):
        return x**power * math.exp(-float(COIN.energy(x)))

    mass, mean = (integrate.quad(weight, -12, 12, args=(p,), epsabs=1e-13, limit=200)[0] for p in (0, 1))
    assert COIN.mean == pytest.approx(mean / mass, abs=1e-11)
    assert COIN.density(0.3) == pytest.approx(weight(0.3) / mass, abs=1e-11)
    assert COIN.cdf(0.7) == pytest.approx(integrate.quad(weight, -12, 0.7, epsabs=1e-13)[0] / mass, abs=1e-11)
    assert LogOdds(0, 0).std == pytest.approx(1, abs=1e-11)
    assert COIN.gradient(COIN.mode) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("target", [Gaussian(0.5, 0.7), COIN, LogOdds(8, 0)], ids=["gaussian", "coin", "heads"])
def test_curvature_constants_are_the_best_possible(target):
    """m is reached far out only; M and Ψ inside."""
    x = np.linspace(-25, 25, 500_001)
    second = np.gradient(target.gradient(x), x)
    third = np.gradient(second, x)[2:-2]
    m, M, psi = target.curvature
    assert second.min() == pytest.approx(m, rel=1e-6) and second.max() == pytest.approx(M, rel=1e-6)
    assert np.abs(third).max() == pytest.approx(psi, rel=1e-4, abs=1e-6)


def test_seen_through_has_the_mean_gradient_of_rounded_weights():
    theta = torch.tensor([-3.3, 0.2, 0.75, 1.9, 40.0], dtype=torch.float64)
    drawn = quantize(theta.repeat(400_000, 1), ROUNDED.fmt, generator=torch.Generator().manual_seed(0))
    slopes = COIN.gradient(drawn)
    error = slopes.std(dim=0) / math.sqrt(400_000)
    assert np.all(np.abs(ROUNDED.gradient(theta.numpy()) - slopes.mean(dim=0).numpy()) <= 5.3 * error.numpy() + 1e-12)


def test_seen_through_loses_nothing_of_a_gaussian_and_little_of_a_fine_grid():
    x = np.linspace(-4, 4, 81)
    assert np.allclose(SeenThrough(Gaussian(), FixedPoint(6, 1)).density(x), Gaussian().density(x), atol=1e-12)
    assert np.allclose(SeenThrough(COIN, FixedPoint(14, 10)).density(x), COIN.density(x), atol=1e-5)
    with pytest.raises(ValueError, match=r"fixed\(4,4\)"):
        SeenThrough(Gaussian(3.0), FixedPoint(4, 4)).density(0.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Mixture((0.0,), (1.0, 2.0), (1.0,)), "one weight > 0"),
        (lambda: Mixture((0.0,), (0.0,), (1.0,)), r"stds=\(0.0,\)"),
        (lambda: LogOdds(-1), "heads=-1"),
        (lambda: LogOdds(1, math.inf), "finite"),
    ],
)
def test_bad_targets(make, says):
    with pytest.raises(ValueError, match=says):
        make()
