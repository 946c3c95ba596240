"""The bounds by hand, above the exact distances; closed forms against the exact laws."""

import math

import numpy as np
import pytest
import torch
from qtorch import FixedPoint

from lpsgld import quantize
from lpsgld.toy import theory
from lpsgld.toy.distances import wasserstein2, wasserstein2_smooth
from lpsgld.toy.exact import stationary
from lpsgld.toy.targets import Curvature, Gaussian, LogOdds, Mixture

CURVATURE = Curvature(m=0.5, M=2.0, psi=0.3)


def test_theorem_1_by_hand():
    bound = theory.bound("full", CURVATURE, 0.01, 0.25, 0.5, 2.0, dimension=3, steps=100, start=7.0)
    assert bound.start == pytest.approx(7 * 0.995**100)
    assert bound.discretisation == pytest.approx(1.65 * 4 * math.sqrt(0.03))
    assert bound.gradient_bias == pytest.approx(min(0.3 * 0.0625 * 3 / 2, 2 * 0.25 * math.sqrt(3)))
    assert bound.noise == pytest.approx(math.sqrt(((0.25 + 4 * 0.0625) * 0.03 + 4 * 0.01 * 4) / 2))
    assert bound.on_grid == 0
    assert bound.total == pytest.approx(sum(bound))


def test_theorem_2_by_hand():
    bound = theory.bound("naive", CURVATURE, 0.01, 0.25, 0.5, 2.0, dimension=3, steps=100, start=7.0)
    assert bound.noise == pytest.approx(math.sqrt(((0.01 * 0.25 + 6.25) * 3 + 0.16) / 2))
    assert bound.on_grid == pytest.approx((0.995**100 + 1) * 0.25 * math.sqrt(3) / 2)
    assert bound[:3] == theory.bound("full", CURVATURE, 0.01, 0.25, 0.5, 2.0, dimension=3, steps=100, start=7.0)[:3]


@pytest.mark.parametrize(
    ("alpha", "slope", "area"),
    [(0.01, 9.0, 5 / 64 * 3), (1e-4, 9.0, 4 * 1e-4 * 3), (1e-4, 90.0, 2 * 0.25 * 1e-4 * 90)],
    ids=["2α > v0", "4αd", "2ΔαG"],
)
def test_theorem_3_by_hand(alpha, slope, area):
    """v0 = 1/64."""
    bound = theory.bound("vc", CURVATURE, alpha, 0.25, 0.5, 2.0, mean_abs_gradient=slope, dimension=3)
    assert bound.start == 0
    assert bound.gradient_bias == pytest.approx(min(0.6 * area, 4 * math.sqrt(area)))
    noise = (alpha * 0.25 * 3 + 4 * alpha * 4) / 2 + area / (alpha * 0.5)
    assert bound.noise == pytest.approx(math.sqrt(noise))
    assert bound.on_grid == pytest.approx(math.sqrt(area))


@pytest.mark.parametrize("target", [Gaussian(), Gaussian(0.3, 0.7), LogOdds(8, 0)], ids=["normal", "narrow", "coin"])
@pytest.mark.parametrize("bits", [1, 3, 4])
@pytest.mark.parametrize("alpha", [0.1, 1e-2, 1e-3])
def test_the_exact_distance_is_below_the_bound(target, bits, alpha):
    fmt, gap, noise = FixedPoint(bits + 5, bits), 2.0**-bits, 0.1
    given = (target.curvature, alpha, gap, gap, noise)
    full = stationary(target, alpha, fmt, "full", noise, fmt)
    assert wasserstein2_smooth(full, target) < theory.bound("full", *given).total
    naive = stationary(target, alpha, fmt, "naive", noise, fmt)
    assert wasserstein2(naive, target) < theory.bound("naive", *given).total
    vc = stationary(target, alpha, fmt, "vc", noise, fmt)
    reach = float(np.abs(target.gradient(vc.points)).max()) + 1
    assert wasserstein2(vc, target) < theory.bound("vc", *given, mean_abs_gradient=reach).total


@pytest.mark.parametrize("alpha", [1e-2, 0.5, 1.9])
def test_sgld_in_full_precision_on_a_gaussian(alpha):
    assert stationary(Gaussian(), alpha, None, "full").std == pytest.approx(theory.sgld_std(alpha), rel=1e-9)


@pytest.mark.parametrize(("target", "accuracy"), [(Gaussian(), 1e-3), (Mixture(), 2e-2), (LogOdds(), 2e-2)])
def test_the_naive_sampler_is_hot(target, accuracy):
    """At small steps its law is the density exp(-U/T), and T is about Δ/√(πα)."""
    alpha, fmt = 2e-6, FixedPoint(11, 4)
    assert theory.naive_temperature(alpha, 2.0**-4) == pytest.approx(theory.naive_std(alpha, 2.0**-4) ** 2)
    law = stationary(target, alpha, fmt, "naive")
    hot = np.exp(target.log_density(law.points) / theory.naive_temperature(alpha, 2.0**-4))
    hot /= hot.sum()
    assert np.abs(law.probabilities - hot).sum() / 2 < accuracy


@pytest.mark.parametrize("alpha", [1e-4, 2e-3, 1e-2, 0.1])
def test_the_naive_variance_at_all_step_sizes(alpha):
    """N(0, 1) at the effective temperature, with the discretisation's 1/(1 - α/2)."""
    law = stationary(Gaussian(), alpha, FixedPoint(9, 3), "naive")
    assert law.std == pytest.approx(theory.naive_std_at_any_step(alpha, 2.0**-3), rel=0.01)


def test_mean_gradient_by_brute_force():
    """E|Q_G(∇U + noise)| with the library's rounding, on a million draws: five standard errors."""
    coin, fmt = LogOdds(8, 0), FixedPoint(7, 2)
    law = stationary(coin, 1e-2, fmt, "vc", 0.1, fmt)
    rng = np.random.default_rng(0)
    theta = torch.from_numpy(rng.choice(law.points, 1_000_000, p=law.probabilities))
    slopes = coin.gradient(theta) + 0.1 * torch.from_numpy(rng.normal(size=10**6))
    rounded = quantize(slopes, fmt, generator=torch.Generator().manual_seed(0)).abs()
    error = rounded.std().item() / 1000
    # Gauss-Hermite nodes meet the corner of |x|: one part in a thousand
    assert rounded.mean().item() == pytest.approx(theory.mean_abs_gradient(law, coin, 0.1), abs=5 * error + 1e-3)


@pytest.mark.parametrize("alpha", [1e-3, 0.03, 0.08])
def test_the_full_precision_accumulator_on_a_gaussian(alpha):
    law = stationary(Gaussian(), alpha, FixedPoint(7, 2), "full")
    assert law.std == pytest.approx(theory.full_std(alpha, 0.25), rel=1e-5)


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_the_best_step_of_the_naive_sampler(bits):
    gap, fmt = 2.0**-bits, FixedPoint(bits + 4, bits)
    best = theory.naive_best_step(gap)
    there, less, more = (
        wasserstein2(stationary(Gaussian(), factor * best, fmt, "naive"), Gaussian()) for factor in (1, 0.8, 1.25)
    )
    assert there < min(less, more)
    assert there == pytest.approx(gap / math.sqrt(8), rel=0.01)


@pytest.mark.parametrize("alpha", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_sgd_stalls_at_its_floor(alpha, accumulator):
    law = stationary(Gaussian(), alpha, FixedPoint(10, 5), accumulator, 1.0, temperature=0.0)
    assert law.std == pytest.approx(theory.sgd_floor(2.0**-5, 1.0), rel=0.01)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: theory.bound("full", CURVATURE, 0.81, 0.1), r"2/\(m \+ M\) = 0.8"),
        (lambda: theory.bound("naive", CURVATURE, 0.0, 0.1), "alpha=0.0"),
        (lambda: theory.bound("vc", CURVATURE, 0.1, 0.1, mean_abs_gradient=1.0, steps=-1), "steps=-1"),
        (lambda: theory.bound("vc", CURVATURE, 0.1, 0.1), "needs mean_abs_gradient"),
        (lambda: theory.bound("low", CURVATURE, 0.1, 0.1), "'low'"),
        (lambda: theory.sgld_std(2.0), "alpha=2.0"),
        (lambda: theory.naive_temperature(0.1, 0.0), "gap=0.0"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(ValueError, match=says):
        call()
