"""The views of notebook 06: all corners of their controls, and what they draw against chains and brute force."""

import math

import numpy as np
import pytest
import torch

from lpsgld import quantize
from lpsgld.lab.views import theory as views
from lpsgld.toy import chains, theory
from tests.lab.checking import check_view


@pytest.mark.parametrize("view", [views.bounds, views.sgd], ids=lambda view: view.name)
def test_all_corners(view):
    report = check_view(view)
    assert report.median < 2.0, "a slider lags: 0.1 s is the goal, 2 s leaves room for a busy machine"


@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
@pytest.mark.parametrize("target", ["Gaussian", "coin"])
def test_every_bound_is_above_what_is_drawn_beside_it(accumulator, target):
    for alpha in views.ALPHAS:
        exact = views.exact_distance(target, alpha, 2, accumulator)
        assert 0 < exact < views.bound(target, alpha, 2, accumulator).total


def test_mean_gradient_by_brute_force():
    """E|Q_G(∇U + noise)| with the library's rounding, on a million draws: five standard errors."""
    law = views.exact_law("coin", 1e-2, 2, "vc")
    rng = np.random.default_rng(0)
    theta = torch.from_numpy(rng.choice(law.points, 1_000_000, p=law.probabilities))
    slopes = views.TARGETS["coin"].gradient(theta) + views.GRADIENT_NOISE * torch.from_numpy(rng.normal(size=10**6))
    rounded = quantize(slopes, views.fmt(2), generator=torch.Generator().manual_seed(0)).abs()
    error = rounded.std().item() / 1000
    # Gauss-Hermite nodes meet the corner of |x|: one part in a thousand
    assert rounded.mean().item() == pytest.approx(views.mean_abs_gradient("coin", 1e-2, 2), abs=5 * error + 1e-3)


def test_minimum_and_the_distance_of_sgd_to_it():
    assert views.COIN.gradient(views.minimum()) == pytest.approx(0, abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    last = chains.run(
        torch.full((2000,), 1.5), 300, views.COIN, 1e-2, views.fmt(2, 4), "naive",
        keep_every=300, gradient_noise=1.0, temperature=0.0, generator=generator,
    )[0]  # fmt: skip
    square = (last.double() - views.minimum()) ** 2
    error = 5 * square.std().item() / math.sqrt(2000)
    assert square.mean().item() == pytest.approx(views.sgd_distances(1e-2, 1.0)[1] ** 2, abs=error)


def test_distances_fall_with_every_bit():
    for accumulator in ("naive", "vc"):
        assert (np.diff(views.sampler_distances(1e-3, 0.3, accumulator)) < 0).all()
    assert (np.diff(views.sgd_distances(1e-3, 0.3)) < 0).all()
    assert views.full_floor(2) / views.full_floor(3) == pytest.approx(4, rel=0.01)


def test_best_steps_by_a_sweep():
    step, distance = views.best_step(2)
    sweep = [views.naive_distance(factor * step, 2) for factor in (0.7, 0.9, 1.1, 1.4)]
    assert views.best_on_grid(2) < distance < min(sweep)
    step, smallest = views.best_step_of_bound(2)
    gaussian = views.TARGETS["Gaussian"].curvature
    assert smallest < min(theory.bound_naive(gaussian, factor * step, 0.25).total for factor in (0.9, 1.1))
    assert step == pytest.approx(0.25 / 3.3, rel=1e-2)
