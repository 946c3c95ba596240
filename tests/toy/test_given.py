"""Targets from an energy alone: against targets whose answer is known, on the line and in space."""

import math

import numpy as np
import pytest
import torch

from lpsgld.toy import chains
from lpsgld.toy.distances import wasserstein2
from lpsgld.toy.exact import stationary
from lpsgld.toy.targets import Gaussian, LogOdds, Mixture, MultivariateGaussian, from_energy


def two_modes(x):
    return -torch.logaddexp(-((x - 1.5) ** 2) / 0.5, -((x + 1.5) ** 2) / 0.5)


def coin(x):
    return x * x / 2 + 8 * torch.nn.functional.softplus(-x) + 2 * torch.nn.functional.softplus(x)


def normal(mean, std):
    return lambda x: ((x - mean) / std) ** 2 / 2 + 7.0  # up to a constant


PAIRS = [
    (from_energy(two_modes), Mixture()),
    (from_energy(coin), LogOdds(8, 2)),
    (from_energy(coin, LogOdds(8, 2).gradient), LogOdds(8, 2)),
    (from_energy(normal(0.5, 0.7)), Gaussian(0.5, 0.7)),
    (from_energy(normal(1000.0, 0.01)), Gaussian(1000.0, 0.01)),
    (from_energy(normal(-3.0, 1e-3), around=-3.1), Gaussian(-3.0, 1e-3)),
]
NAMES = ["mixture", "coin", "its own gradient", "gaussian", "far and narrow", "narrow"]


@pytest.mark.parametrize(("found", "known"), PAIRS, ids=NAMES)
def test_on_the_line_all_is_known_that_is_asked_of_a_target(found, known):
    x = known.mean + known.std * np.linspace(-4, 4, 33)
    assert found.mean == pytest.approx(known.mean, abs=1e-9 * known.std + 1e-12 * abs(known.mean))
    lost = 1e-9 + 2e-15 * (known.mean / known.std) ** 2  # a variance is a difference of squares
    assert found.std == pytest.approx(known.std, rel=lost)
    assert np.allclose(found.density(x), known.density(x), rtol=1e-8)
    assert np.allclose(found.cdf(x), known.cdf(x), atol=1e-10)
    assert np.allclose(found.gradient(x), known.gradient(x), rtol=1e-9, atol=1e-9 / known.std)
    u = np.array([1e-6, 0.2, 0.5, 0.9])
    assert np.allclose(found.quantile(u), known.quantile(u), atol=1e-8 * known.std)


def test_numbers_arrays_and_tensors_have_slopes_of_their_own_kind():
    target = from_energy(coin)
    assert float(target.gradient(1.25)) == pytest.approx(float(LogOdds(8, 2).gradient(1.25)))
    single = target.gradient(torch.tensor([1.25]))
    assert single.dtype == torch.float32 and not single.requires_grad
    with torch.no_grad():
        assert torch.equal(target.gradient(torch.tensor([1.25])), single)


@pytest.mark.parametrize("accumulator", ["naive", "vc", "full"])
def test_exact_laws_and_distances_are_those_of_the_known_target(accumulator):
    laws = [stationary(t, 0.01, "fixed(8,3)", accumulator) for t in (from_energy(coin), LogOdds(8, 2))]
    assert laws[0].mean == pytest.approx(laws[1].mean, abs=1e-8) and laws[0].std == pytest.approx(laws[1].std, abs=1e-8)
    distances = [wasserstein2(laws[1], t) for t in (from_energy(coin), LogOdds(8, 2))]
    assert distances[0] == pytest.approx(distances[1], abs=1e-7)


@pytest.mark.parametrize("given", [False, True], ids=["by autograd", "given"])
def test_in_space_chains_take_the_same_steps_as_on_the_known_target(given):
    known = MultivariateGaussian([0.5, -1.0, 2.0], [[1.0, 0.3, 0.0], [0.3, 2.0, -0.4], [0.0, -0.4, 0.7]])
    precision, mean = torch.from_numpy(known.precision), torch.from_numpy(known.mean)

    def energy(x):
        centred = x - mean.to(x.dtype)
        return (centred @ precision.to(x.dtype) * centred).sum(-1) / 2

    target = from_energy(energy, known.gradient if given else None, dimension=3)
    start = torch.zeros(50, 3, dtype=torch.float64)
    states = [
        chains.run(start, 40, t, 0.1, "fixed(12,6)", "vc", generator=torch.Generator().manual_seed(0))
        for t in (target, known)
    ]
    assert torch.equal(*states) and states[0].shape == (40, 50, 3)
    points = np.random.default_rng(0).normal(size=(4, 3))
    assert np.allclose(target.gradient(points), known.gradient(points)) and target.energy(points).shape == (4,)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: from_energy(lambda x: x.square().sum(-1)), r"energy returns shape \(2,\) .* where \(2, 3\) is needed"),
        (lambda: from_energy(lambda x: x**2, dimension=4), r"energy returns shape \(2, 3, 4\) .* where \(2, 3\)"),
        (lambda: from_energy(torch.sum), r"energy returns shape \(\)"),
        (lambda: from_energy(lambda x: 1.0), "energy returns float, but must return a tensor"),
        (lambda: from_energy(lambda x: x.long()), "energy returns torch.int64"),
        (lambda: from_energy(coin, lambda x: x.sum(-1)), r"gradient returns shape \(2,\)"),
        (
            lambda: from_energy(lambda x: x.sum(-1), lambda x: x[..., :1], dimension=2),
            r"gradient returns shape \(2, 3, 1\)",
        ),
        (lambda: from_energy(lambda x: torch.ones(2, 3)), "torch cannot tell the gradient"),
        (lambda: from_energy(coin, dimension=0), "dimension is 0, but must be at least 1"),
        (lambda: from_energy(coin, dimension=1.5), "dimension is 1.5, but must be a whole number"),
        (lambda: from_energy(lambda x: x).mean, "does not rise by 40 from its lowest to -"),
        (lambda: from_energy(lambda x: 0 * x).std, "does not rise by 40"),
        (lambda: from_energy(lambda x: (x - math.pi).abs() * 1e300).mean, "too narrow"),
    ],
)
def test_energies_and_gradients_that_do_not_fit_are_told(make, says):
    with pytest.raises(ValueError, match=says):
        make()
