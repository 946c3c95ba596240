"""The views of notebook 10: all corners of their controls, and that they draw what the library counts."""

import numpy as np
import pytest

from lpsgld.bnn.costs import footprint
from lpsgld.bnn.costs.roofline import Machine
from lpsgld.lab.style import png
from lpsgld.lab.views.networks import cost as views
from tests.lab.checking import check_view

LAPTOP = Machine("made up", bandwidth=1e10, float32=5e10, int8=2e11)
NO_INT8 = Machine("made up", bandwidth=1e10, float32=5e10)


@pytest.mark.parametrize("view", [views.memory, views.roofline_of(LAPTOP)], ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


def test_bars_are_as_long_as_the_memory_of_each_part():
    figure, artists = views.memory.build(**views.memory.parameters(width=16, batch=32, samples=5))
    for row, (recipe, simulated) in enumerate(views.CASES.values()):
        recipe = recipe.override(width=16, batch_size=32, samples=5)
        counted = footprint.memory(recipe, simulated=simulated)
        end = 0.0
        for part in ("weights", "copy", "gradients", "activations", "samples"):
            bar = artists[part][row]
            assert bar.get_x() == pytest.approx(end)
            assert bar.get_width() == pytest.approx(getattr(counted, part) / 1e6)
            end += bar.get_width()
        assert artists["totals"][row].get_text() == f"{counted.total / 1e6:.3g} MB"


def test_a_copy_makes_8_bit_weights_larger_than_32_bit_weights():
    wide, simulated, copied, corrected = views.cases(width=64, batch=128).values()
    assert wide.weights < copied.weights + copied.copy < 1.26 * wide.weights
    assert corrected.copy == simulated.copy == 0 and corrected.weights == copied.weights < simulated.weights


def test_products_lie_under_their_roof():
    view = views.roofline_of(LAPTOP)
    _, artists = view.build(**view.parameters(width=8, batch=1))
    for bits in (8, 32):
        intensity, reached = artists[f"products {bits}"].get_data()
        roof = np.minimum(LAPTOP.rate(bits), intensity * LAPTOP.bandwidth) / 1e9
        assert len(reached) == 20 + 1 + 20 + 2, "20 convolutions, each with one backward; a linear layer with two"
        assert np.allclose(reached, roof)


def test_a_machine_without_int8_products_is_said_to_have_none():
    view = views.roofline_of(NO_INT8)
    figure, artists = view.build(**view.parameters())
    assert [label.get_text() for label in artists["bars"].get_xticklabels()][1] == "8 bits (no int8 product)"
    assert np.array_equal(artists["roof 8"].get_ydata(), artists["roof 32"].get_ydata())


def test_pictures_of_measurements_show_what_was_measured():
    counted = views.cases(16, 32)["8 bits, simulated here"]
    found = {"weights": 3e6, "copy": 1e6, "activations": 5e7, "gradients": 4e6}
    figure = views.measured_memory(counted, found, "made up")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[4:] == [3, 1, 50, 4] and heights[2] == pytest.approx(counted.activations / 1e6)
    seconds = {"a": {"pass": [0.1, 0.2, 0.9], "update": [0.01, 0.02, 0.03]}, "b": {"pass": [1.0], "update": [0.5]}}
    figure = views.step_times({"a": seconds["a"]}, "made up")
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([200, 20])
    assert len(png(views.step_times({"b": seconds["b"]}, "made up"))) > 10_000
