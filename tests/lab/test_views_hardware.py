"""The views of notebook 11: all corners of their controls, and what they draw against the library and closed forms."""

import numpy as np
import pytest
import torch

from lpsgld import quantize
from lpsgld.bnn.studies import gradients
from lpsgld.lab.views import hardware as views
from lpsgld.toy.theory import saturated_share
from tests.lab.checking import check_view


@pytest.fixture(scope="module")
def collected():
    return gradients.collect((16,), 16, seed=0, steps=20, hidden=10)


@pytest.mark.parametrize("view", [views.ruler, views.scale], ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


@pytest.mark.slow
@pytest.mark.parametrize("view", [views.outlier, views.chain], ids=lambda view: view.name)
def test_all_corners_of_many_settings(view):
    check_view(view)


def test_all_corners_of_the_gradients(collected):
    check_view(views.averaging(collected, gradients.averages(collected, views.GRADIENT_FORMATS, seed=0)))


@pytest.mark.slow
def test_all_corners_of_the_branches(collected):
    check_view(views.where(collected, seed=0))


@pytest.mark.parametrize("fmt", ["fixed(8,4)", "mxint8", "e4m3", "e2m1", "bfloat16"])
def test_numbers_are_counted_octave_by_octave(fmt):
    held = views.positive(fmt)
    wanted = [np.count_nonzero((held >= 2.0**k) & (held < 2.0 ** (k + 1))) for k in views.OCTAVES]
    assert views.per_octave(fmt).tolist() == wanted


def test_a_block_is_as_long_as_its_name_says():
    assert views.sized("mxfp8(e4m3)", 64) == "mxfp8(e4m3,block=64)"
    before, after, wrong = views.rounded_others("mxfp4", 128, 128, seed=0)
    assert before.shape == after.shape == (256, 127)
    assert (after == 0).all(), "the smallest number of the block is 16, and no ordinary one is above 8"
    assert wrong == pytest.approx(before.square().mean().sqrt())


def test_the_strokes_are_the_numbers_of_the_block():
    _, artists = views.scale.build(largest=4.0)
    readout = views.scale.update(artists, largest=7.0)
    assert np.allclose(7 * artists["mxfp4"].get_xdata(), [0, 0.5, 1, 1.5, 2, 3, 4, 6])
    assert np.allclose(6 * artists["nvfp4"].get_xdata(), [0, 0.5, 1, 1.5, 2, 3, 4, 6])
    assert readout["largest number of mxfp4"] == pytest.approx(6.0)
    assert views.scaled_error("mxfp4", 8.0) == pytest.approx(views.scaled_error("mxfp4", 4.0))


def test_the_curves_of_saturation_are_the_closed_form():
    figure = views.saturation({("mxfp4", 32): 0.02})
    exact, dots = figure.axes[0].lines[:2]
    assert exact.get_ydata()[4] == saturated_share(1.5, 32)
    assert dots.get_xdata().tolist() == [32] and dots.get_ydata().tolist() == [0.02]


def test_the_means_drawn_are_the_averages(collected):
    averages = gradients.averages(collected, ("mxfp4", "nvfp4"), seed=0)
    view, (size, whole) = views.averaging(collected, averages), collected.gradients
    _, artists = view.build(fmt="nvfp4", batch=size)
    view.update(artists, fmt="mxfp4", batch=whole)
    assert list(artists["stochastic"].get_ydata()) == averages["mxfp4", whole, "stochastic"].error
    x, y = (np.unique(v) for v in artists["nearest dots"].get_data())
    assert set(np.abs(y)) <= {0, 0.5, 1, 1.5, 2, 3, 4, 6}, "one gradient, rounded to nearest, is a number of FP4"
    assert 4 <= np.abs(x).max() < 8


@pytest.mark.parametrize("alpha", [1e-4, 1e-6])
def test_the_histograms_hold_the_whole_law(alpha):
    _, artists = views.chain.build(alpha=1e-5)
    views.chain.update(artists, alpha=alpha)
    for name in ("naive", "nearest", "vc"):
        heights, edges, _ = artists[name].get_data()
        assert (heights * np.diff(edges)).sum() == pytest.approx(1, abs=1e-3)


def test_samples_to_nearest_are_numbers_of_bfloat16():
    states = views.sample(1e-3, "nearest", chains=100, seed=0)
    assert quantize(states, "bfloat16", "nearest").equal(states) and torch.unique(states).numel() > 20


def test_the_bars_are_the_shares_of_the_branches(collected):
    view = views.where(collected, seed=0)
    _, artists = view.build(rate=0.1, temperature=1.0)
    view.update(artists, rate=1e-3, temperature=1e-3)
    for row, fmt in enumerate(views.WEIGHT_FORMATS):
        shares, median = gradients.branch_shares(collected, fmt, 1e-3, 1e-3, seed=0)
        assert [artists[name][row].get_width() for name in shares] == pytest.approx(list(shares.values()))
        drawn = artists["map"].get_array()[row, views.RATES.index(1e-3)]
        assert drawn == pytest.approx(np.clip(np.log10(median), -4, 2))
