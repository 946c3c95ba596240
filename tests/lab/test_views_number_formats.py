"""The views of notebook 01: all corners of their controls, and what they draw against `quantize`."""

import numpy as np
import pytest
import torch

from lpsgld import formats, quantize
from lpsgld.lab.views import number_formats as views
from tests.lab.checking import check_view

SIZES = 2.0 ** torch.linspace(-20, 18, 200_001)
SWEEP = torch.cat([-SIZES, torch.zeros(1), SIZES])


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    conv = 0.05 * torch.randn(8, 4, 3, 3, generator=generator)
    return {"conv.weight": conv, "bn.weight": 1 + 0.01 * torch.randn(8, generator=generator), "bn.bias": torch.zeros(8)}


def assert_all_corners(view):
    check_view(view)


@pytest.mark.parametrize("view", [views.fixed_line, views.float_line, views.block_line], ids=lambda view: view.name)
def test_all_corners_of_the_number_lines(view):
    assert_all_corners(view)


@pytest.mark.parametrize("family", ["fixed", "float"])
def test_all_corners_of_the_weights(weights, family):
    assert_all_corners(views.on_grid(weights, family))


def test_all_corners_of_the_blocks(weights):
    assert_all_corners(views.blocks(weights["conv.weight"]))


def test_the_line_shows_the_numbers_that_rounding_gives():
    _, artists = views.float_line.build(**views.float_line.parameters(exponent_bits=3, mantissa_bits=2))
    drawn = artists["numbers"].get_xdata()
    reached = quantize(SWEEP.double(), "float(3,2)", "nearest").unique().numpy()
    assert np.array_equal(drawn, reached[np.abs(reached) <= views.WINDOW])


@pytest.mark.parametrize("text", ["fixed(8,3)", "fixed(4,6)", "float(4,3)", "float(3,1)"])
def test_no_number_has_a_larger_error_than_the_curve_says_and_some_come_close(text):
    fmt = formats.parse(text)
    error = ((quantize(SIZES, fmt, "nearest") - SIZES) / SIZES).abs().numpy()
    bound = views.worst_error(fmt, SIZES.numpy())
    assert (error <= bound * (1 + 1e-6)).all()
    middle = (SIZES > 2.0**-3) & (SIZES < 2.0**-2) if text == "float(4,3)" else slice(None)
    assert (error[middle] / bound[middle]).max() > 0.99 - 0.06 * (text == "float(4,3)")


def test_the_fate_of_known_weights():
    """fixed(8,8): gap 1/256; 0.001 dies, 0.7 becomes 127/256, 0 was 0 before, 0.25 stays."""
    fate = views.fate({"a": torch.tensor([0.001, 0.7]), "b": torch.tensor([0.0, 0.25])}, formats.parse("fixed(8,8)"))
    assert fate.dead == 0.25 and fate.clipped == 0.25
    assert fate.rms == pytest.approx(np.sqrt((0.001**2 + (0.7 - 127 / 256) ** 2) / 4), rel=1e-6)


def test_the_shares_of_the_histogram_are_those_of_quantize(weights):
    view = views.on_grid(weights, "fixed")
    _, artists = view.build(**view.parameters())
    readout = view.update(artists, **view.parameters(word_length=8, fractional_bits=5))
    flat = torch.cat([w.flatten() for w in weights.values()])
    dead = quantize(flat, formats.parse("fixed(8,5)"), "nearest")[flat != 0] == 0
    assert readout["rounds to 0 (%)"] == pytest.approx(100 * dead.float().mean().item())
    assert readout["clipped (%)"] == 0
    top = {name: artists[name].get_data().values for name in ("dead", "clipped", "kept")}
    assert np.allclose(top["kept"].sum(), 1.0), "the bars of all fates are stacked up to all weights"


def test_blocks_count_their_bits(weights):
    view = views.blocks(weights["conv.weight"])
    _, artists = view.build(**view.parameters())
    readout = view.update(artists, **view.parameters(word_length=8, block_size=9))
    assert readout["bits per weight"] == pytest.approx(8 + 8 / 9)
    exponents = artists["image"].get_array()
    kernel = weights["conv.weight"][2, 1]
    assert (exponents[2, 9:18] == np.floor(np.log2(kernel.abs().max().item()))).all()


def test_the_pictures_without_sliders(weights):
    assert len(views.precision().axes[0].lines) == 4
    fates = {text: views.fate(weights, formats.parse(text)) for text in ("fixed(8,8)", "float(4,3)")}
    assert len(views.comparison(fates, 0.1).axes[0].patches) == 2
