import ipywidgets as widgets
import pytest

from lpsgld import lab
from lpsgld.lab import style
from tests.lab import demo


def failing(artists, alpha, bits, corrected, seed):
    if bits == 4:
        raise ValueError("no law for <4> bits")
    return demo.update(artists, alpha, bits, corrected, seed)


def test_the_first_picture_is_that_of_the_view():
    view = demo.view()
    panel = lab.Panel(view, alpha=1e-2, seed=3)
    assert bytes(panel.image.value) == style.png(view.build(**view.parameters(alpha=1e-2, seed=3))[0])
    assert panel.parameters == {"alpha": 1e-2, "bits": 3, "corrected": True, "seed": 3}


def test_moving_a_control_there_and_back_restores_the_pixels():
    panel = lab.Panel(demo.view())
    first = bytes(panel.image.value)
    for name, value in {"alpha": 1e-4, "bits": 1, "corrected": False}.items():
        start = panel.controls[name].value
        panel.controls[name].value = value
        assert bytes(panel.image.value) != first
        panel.controls[name].value = start
        assert bytes(panel.image.value) == first


def test_the_kinds_of_widgets_and_their_labels():
    panel = lab.Panel(demo.view(continuous=False))
    assert isinstance(panel.controls["alpha"], widgets.SelectionSlider)
    assert isinstance(panel.controls["corrected"], widgets.ToggleButtons)
    assert panel.controls["alpha"].description == "step size α"
    assert [text for text, _ in panel.controls["alpha"].options] == ["0.0001", "0.001", "0.01"]
    assert not panel.controls["alpha"].continuous_update
    assert lab.Panel(demo.view()).controls["alpha"].continuous_update


def test_pin_keeps_a_ghost_and_the_numeric_difference():
    panel = lab.Panel(demo.view())
    first = bytes(panel.image.value)
    panel.pin_button.click()
    assert panel.pin_button.description == "Unpin"
    panel.controls["alpha"].value = 1e-4
    assert "std = 2.838 (pinned 1.797, difference +1.04)" in panel.readout.value
    assert "pinned at step size α = 0.001, fractional bits F = 3" in panel.readout.value
    panel.pin_button.click()
    assert panel.pin_button.description == "Pin"
    assert "pinned" not in panel.readout.value
    panel.controls["alpha"].value = 1e-3
    assert bytes(panel.image.value) == first


def test_new_seed_is_the_next_one():
    panel = lab.Panel(demo.view(), seed=5)
    first = bytes(panel.image.value)
    assert "seed 5" in panel.readout.value
    panel.seed_button.click()
    assert "seed 6" in panel.readout.value
    assert panel.parameters["seed"] == 6
    assert bytes(panel.image.value) != first


def test_reset_restores_values_seed_and_ghosts_with_one_draw():
    draws = []

    def counted(artists, **parameters):
        draws.append(parameters)
        return demo.update(artists, **parameters)

    panel = lab.Panel(demo.view(update=counted), alpha=1e-2)
    first = bytes(panel.image.value)
    panel.controls["bits"].value = 1
    panel.controls["alpha"].value = 1e-4
    panel.pin_button.click()
    panel.seed_button.click()
    draws.clear()
    panel.reset_button.click()
    assert len(draws) == 1
    assert bytes(panel.image.value) == first
    assert panel.parameters["alpha"] == 1e-2
    assert panel.pin_button.description == "Pin"


def test_an_error_is_shown_and_raised_and_the_next_good_draw_clears_it():
    panel = lab.Panel(demo.view(update=failing))
    first = bytes(panel.image.value)
    with pytest.raises(ValueError, match="no law"):
        panel.controls["bits"].value = 4
    assert 'role="alert"' in panel.error.value
    assert "No picture for step size α = 0.001, fractional bits F = 4" in panel.error.value
    assert "ValueError: no law for &lt;4&gt; bits" in panel.error.value
    assert bytes(panel.image.value) == first
    panel.controls["bits"].value = 3
    assert panel.error.value == ""
    assert bytes(panel.image.value) == first


@pytest.mark.parametrize("part", ["build", "update"])
def test_an_error_in_the_first_draw_raises(part):
    def broken(*args, alpha, bits, corrected, seed):
        raise RuntimeError("a mistake in the view")

    with pytest.raises(RuntimeError, match="a mistake in the view"):
        lab.Panel(demo.view(**{part: broken}))


def test_only_the_buttons_that_do_something():
    def build(bits):
        return demo.build(1e-3, bits, True, 0)

    def update(artists, bits):
        demo.update(artists, 1e-3, bits, True, 0)

    view = demo.view(build=build, update=update, controls=demo.view().controls[1:2], static=(), ghosts=())
    panel = lab.Panel(view)
    (row,) = (child for child in panel.widget.children if isinstance(child, widgets.HBox))
    assert [button.description for button in row.children] == ["Reset"]
    assert panel.parameters == {"bits": 3}


def test_fixed_parameters_reach_every_draw():
    seen = []

    def build(bits, dataset):
        return demo.build(1e-3, bits, True, 0)

    def update(artists, bits, dataset):
        seen.append(dataset)
        demo.update(artists, 1e-3, bits, True, 0)

    view = demo.view(build=build, update=update, controls=demo.view().controls[1:2], static=())
    lab.Panel(view, dataset="digits").controls["bits"].value = 4
    assert seen == ["digits", "digits"]


def test_texts_are_escaped():
    view = demo.view(update=lambda artists, alpha, bits, corrected, seed: {"<b>": 1.0})
    assert "&lt;b&gt; = 1" in lab.Panel(view).readout.value


def test_who_hears_the_panel_hears_the_values_with_the_numbers():
    """A selection slider tells screen readers the place of its value: 1, and not 0.001."""
    panel = lab.Panel(demo.view())
    panel.controls["alpha"].value = 1e-4
    status = panel.readout.value
    assert 'aria-live="polite"' in status and "step size α = 0.0001, fractional bits F = 3" in status
    assert status.index("clip-path") < status.index("step size α")
