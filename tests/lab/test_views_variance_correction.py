"""The views of notebook 05: all corners of their controls, and what they draw against the library's laws."""

import numpy as np
import pytest
import torch

from lpsgld.lab.views import variance_correction as views
from lpsgld.toy.exact import stationary
from lpsgld.toy.one_step import landing, step_variance
from tests.lab.checking import check_view


@pytest.mark.parametrize("view", [views.law, views.step, views.noisy], ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


def test_the_bars_and_the_curves_are_those_of_one_step():
    _, artists = views.step.build(**views.step.parameters(position=0.25, ratio=2.0))
    for accumulator in ("naive", "vc"):
        heights = [bar.get_height() for bar in artists[accumulator]]
        assert heights == pytest.approx(landing(accumulator, 0.5).probabilities(0.25, np.arange(-3, 5)))
        position, ratios = artists[f"{accumulator} variance"].get_data()
        assert ratios == pytest.approx(step_variance(accumulator, position, 0.5) / 0.5)


def test_the_curves_over_the_noise_are_those_of_the_exact_law():
    _, artists = views.noisy.build(**views.noisy.parameters(noise=50.0))
    noises, stds = artists["vc std"].get_data()
    assert dict(zip(noises, stds, strict=True))[50.0] == pytest.approx(1.6193, abs=1e-4)
    full = stationary(views.TARGET, 1e-4, "fixed(8,3)", "full", 50.0).std
    assert dict(zip(*artists["full std"].get_data(), strict=True))[50.0] == pytest.approx(full, rel=1e-4)


def test_samples_start_anew_from_the_seed():
    first, again, other = (views.sample(0.1, "vc", 16, 1.0, seed, rows=5) for seed in (0, 0, 1))
    assert first.shape == (5, 16) and torch.equal(first, again) and not torch.equal(first, other)


def test_the_branch_map_is_exact_above_the_bound_and_bright_below():
    figure = views.branch_map()
    excess = figure.axes[0].collections[0].get_array()
    assert excess.min() == pytest.approx(1.0) and excess.max() == pytest.approx(100, rel=0.01)


def test_two_modes_keep_their_distance_to_the_floor():
    ratio = views.exact_distance(1e-3, 8, 3, "vc", "two modes") / views.distance_floor(8, 3, "two modes")
    assert 1 <= ratio < 1.01
