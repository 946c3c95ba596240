"""The views of notebook 06: all corners of their controls, and what they draw against chains and brute force."""

import math

import numpy as np
import pytest
import torch

from lpsgld.lab.views import theory as views
from lpsgld.toy import chains, theory
from tests.lab.checking import check_view


@pytest.mark.parametrize("view", [views.bounds, views.sgd], ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
@pytest.mark.parametrize("target", ["Gaussian", "coin"])
def test_every_bound_is_above_what_is_drawn_beside_it(accumulator, target):
    for alpha in views.ALPHAS:
        exact = views.exact_distance(target, alpha, 2, accumulator)
        assert 0 < exact < views.bound(target, alpha, 2, accumulator).total


def test_the_distance_of_sgd_to_the_minimum():
    generator = torch.Generator().manual_seed(0)
    last = chains.run(
        torch.full((2000,), 1.5), 300, views.COIN, 1e-2, views.fmt(2, 4), "naive",
        keep_every=300, gradient_noise=1.0, temperature=0.0, generator=generator,
    )[0]  # fmt: skip
    square = (last.double() - views.COIN.mode) ** 2
    error = 5 * square.std().item() / math.sqrt(2000)
    assert square.mean().item() == pytest.approx(views.sgd_distances(1e-2, 1.0)[1] ** 2, abs=error)


def test_the_terms_of_the_bars_add_up():
    _, artists = views.bounds.build(**views.bounds.parameters(accumulator="vc", target="coin"))
    *terms, whole, _ = artists["bars"]
    ends = [bar.get_x() + bar.get_width() for bar in terms]
    assert [bar.get_x() for bar in terms] == pytest.approx([0.0, *ends[:-1]]) and whole.get_width() == 1
    assert ends[-1] == pytest.approx(1)


def test_distances_fall_with_every_bit():
    for accumulator in ("naive", "vc"):
        assert (np.diff(views.sampler_distances(1e-3, 0.3, accumulator)) < 0).all()
    assert (np.diff(views.sgd_distances(1e-3, 0.3)) < 0).all()


def test_the_best_step_of_the_bound_by_a_sweep():
    step, smallest = views.best_step_of_bound(2)
    gaussian = views.TARGETS["Gaussian"].curvature
    assert smallest < min(theory.bound("naive", gaussian, factor * step, 0.25).total for factor in (0.9, 1.1))
    assert step == pytest.approx(0.25 / 3.3, rel=1e-2)
