"""The views of notebook 10: all corners of their controls, and that they draw what the library counts."""

import numpy as np
import pytest

from lpsgld.bnn.costs import footprint, roofline
from lpsgld.bnn.costs.roofline import Machine
from lpsgld.bnn.studies.sweep import Point, Settings
from lpsgld.lab.style import png
from lpsgld.lab.views.networks import cost as views
from tests.lab.checking import check_view
from tests.lab.made_up_sweep import made_up
from tests.lab.made_up_sweep import nll as nll_of

LAPTOP = Machine("made up", bandwidth=1e10, rates={"float32": 5e10, "int8": 2e11})
NO_INT8 = Machine("made up", bandwidth=1e10, rates={"float32": 5e10})


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


def test_ticks_tell_where_the_products_are_and_bars_how_long_they_take():
    view = views.roofline_of(LAPTOP)
    _, artists = view.build(**view.parameters(width=8, batch=1))
    work = roofline.step("resnet18", 8, 1)
    assert len(work.flops[work.products]) == 20 + 1 + 20 + 2, "20 convolutions, each with one backward; a linear layer"
    for bar, kind in enumerate(("float32", "int8")):
        assert artists[f"products {kind}"].get_xdata() == pytest.approx(work.intensity(kind)[work.products])
        top = max(artists[bound][bar].get_y() + artists[bound][bar].get_height() for bound in views._BOUNDS)
        assert top == pytest.approx(1e3 * work.seconds(LAPTOP, kind).sum())
    assert [artists[f"roof {kind}"].get_visible() for kind in roofline.BYTES] == [True, False, False, True]


def test_an_h100_is_compared_with_what_people_train_with():
    assert views.trained_in(roofline.H100) == ("TF32", "bfloat16", "int8")
    view = views.roofline_of(LAPTOP)
    _, artists = view.build(**view.parameters(machine="H100, data sheet"))
    assert [label.get_text() for label in artists["bars"].get_xticklabels()] == ["TF32", "bfloat16", "int8"]
    assert [text.get_text() for text in artists["axes"].get_legend().get_texts()] == ["TF32", "bfloat16", "int8"]
    told = view.update(artists, "H100, data sheet", 64, 128)
    assert told["usual over int8"] == pytest.approx(4.0, rel=1e-3)


def test_a_machine_without_int8_products_is_said_to_have_none():
    view = views.roofline_of(NO_INT8)
    figure, artists = view.build(**view.parameters())
    assert [label.get_text() for label in artists["bars"].get_xticklabels()][1] == "int8 (no such\nproduct)"
    assert np.array_equal(artists["roof int8"].get_ydata(), artists["roof float32"].get_ydata())


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


def test_what_is_stored_has_the_bytes_of_its_format_and_the_nll_of_the_sweep():
    """650 numbers of logistic regression on digits, 7,510 of the MLP: in 8 bits a byte each, in 32 four."""
    for sweep, numbers in (
        (made_up(Settings(model="logistic", networks=4, seeds=3)), 650),
        (made_up(Settings(model="mlp", networks=4, seeds=3)), 7510),
    ):
        for sampler, accumulator, bits, one in (("sgld", "vc", 5, numbers), ("sgld", "full", None, 4 * numbers)):
            size, nll = views.stored(sweep, sampler, accumulator, bits)
            assert size.tolist() == [one * count for count in sweep.settings.counts]
            assert nll[-1] == pytest.approx([nll_of(Point(sampler, accumulator, bits), seed, 4) for seed in range(3)])
        size, nll = views.stored(sweep, "sgd", "naive", 5)
        assert size.tolist() == [numbers] and nll.shape == (1, sweep.settings.seeds)
        figure = views.nll_of_bytes({"made up": sweep})
        assert len(figure.axes[0].containers) == 5 and len(png(figure)) > 10_000
