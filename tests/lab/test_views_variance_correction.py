"""The views of notebook 05: all corners of their controls, and their closed forms against the library's laws."""

import numpy as np
import pytest
import torch

from lpsgld import formats, vc_quantize
from lpsgld.lab.views import variance_correction as views
from lpsgld.toy.exact import transition
from lpsgld.toy.targets import Gaussian
from tests.checks import assert_law
from tests.lab.checking import check_view


@pytest.mark.parametrize("view", [views.law, views.step], ids=lambda view: view.name)
def test_all_corners(view):
    report = check_view(view)
    assert report.median < 2.0, "a slider lags: 0.1 s is the goal, 2 s leaves room for a busy machine"


@pytest.mark.parametrize("ratio", [0.05, 0.7, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("position", [0.0, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_one_step_keeps_the_mean_and_has_the_variance_that_is_drawn(accumulator, position, ratio):
    codes = np.arange(-12, 14)
    law = {"naive": views.naive_step, "vc": views.vc_step}[accumulator](position, ratio, codes)
    assert law.min() > -1e-12 and law.sum() == pytest.approx(1)
    assert law @ codes == pytest.approx(position, abs=1e-12)
    variance = float(views.step_variance(np.array([position]), ratio, accumulator)[0])
    assert law @ (codes - position) ** 2 == pytest.approx(variance * ratio / 4, rel=1e-4)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_one_corrected_step_is_what_vc_quantize_draws(ratio):
    codes = np.arange(-8, 10)
    drawn = vc_quantize(
        torch.full((500_000,), 0.25 / 8), ratio / 256, formats.parse("fixed(8,3)"), torch.Generator().manual_seed(0)
    )
    counts = np.bincount((drawn * 8).int().numpy() + 8, minlength=len(codes))
    assert_law(counts, views.vc_step(0.25, ratio, codes))


def test_one_naive_step_is_a_row_of_the_transition_matrix():
    """From θ = 1, alpha = 0.01: the mean 0.99 lies at position 0.92 of the cell below."""
    points, matrix = transition(Gaussian(), 0.01, formats.parse("fixed(8,3)"), "naive")
    row = int(np.flatnonzero(points == 1.0)[0])
    law = views.naive_step(0.92, 2 * 0.01 * 64 * 4, np.arange(-30, 31))
    assert np.allclose(matrix[row, row - 1 - 30 : row - 1 + 31], law, atol=1e-12)


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
