import math

import pytest

from lpsgld import lab
from tests.lab import demo


def test_control_texts():
    assert lab.Control("a", "a", (1e-4, 0.5), 0.5).text(1e-4) == "0.0001"
    assert lab.Control("a", "a", (True, False), True).text(False) == "no"
    assert lab.Control("a", "a", (1, 2), 1, format="{} bits".format).text(2) == "2 bits"


@pytest.mark.parametrize(
    ("values", "kind"),
    [((True, False), "buttons"), (("a", "b", "c"), "buttons"), (("a", "b", "c", "d"), "slider"), ((1, 2), "slider")],
)
def test_the_kind_of_a_control_follows_from_its_values(values, kind):
    assert lab.Control("a", "a", values, values[0]).kind == kind
    assert lab.Control("a", "a", values, values[0], kind="slider").kind == "slider"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": (1,)}, "two or more values that read differently"),
        ({"values": (1, 1, 2)}, "two or more values that read differently"),
        ({"values": (0.12345678, 0.12345679), "default": 0.12345678}, "two or more values that read differently"),
        ({"default": 4}, r"control 'bits' cannot be 4: it takes \(1, 2, 3\)"),
        ({"kind": "dial"}, r"no kind of control 'dial': choose from slider, buttons \(control 'bits'\)"),
    ],
)
def test_a_control_that_makes_no_sense(changes, message):
    fields = {"name": "bits", "label": "bits", "values": (1, 2, 3), "default": 1} | changes
    with pytest.raises(ValueError, match=message):
        lab.Control(**fields)


def test_parameters_are_the_defaults_changed_by_what_is_given():
    view = demo.view()
    assert view.parameters() == {"alpha": 1e-3, "bits": 3, "corrected": True, "seed": 0}
    assert view.parameters(bits=4, seed=7) == {"alpha": 1e-3, "bits": 4, "corrected": True, "seed": 7}
    assert view.describe(view.parameters(corrected=False)) == (
        "step size α = 0.001, fractional bits F = 3, show corrected = no, seed = 0"
    )


def test_unknown_parameters_and_values_say_what_is_known():
    with pytest.raises(TypeError, match="no parameter 'beta': it takes alpha, bits, corrected, seed"):
        demo.view().parameters(beta=1)
    with pytest.raises(ValueError, match=r"control 'bits' cannot be 9: it takes \(1, 2, 3, 4\)"):
        demo.view().parameters(bits=9)


def test_a_view_that_does_not_fit_its_controls():
    two = lab.Control("bits", "F", (1, 2), 1)
    with pytest.raises(ValueError, match="two controls of one name"):
        demo.view(controls=(two, two))
    with pytest.raises(TypeError, match="build takes no gamma"):
        demo.view(controls=(lab.Control("gamma", "γ", (1, 2), 1),), static=())
    with pytest.raises(ValueError, match="control 'alpha' cannot be 3"):
        demo.view(static=({"alpha": 3},))


def test_only_a_seed_without_a_control_makes_a_view_seeded():
    assert demo.view().seeded
    seed = lab.Control("seed", "seed", (0, 1), 0)
    assert not demo.view(controls=(*demo.view().controls, seed)).seeded


def test_build_and_update_work_without_any_kernel():
    view = demo.view()
    _, artists = view.build(**view.parameters())
    readout = view.update(artists, **view.parameters(alpha=1e-4))
    assert readout["std"] == pytest.approx(math.sqrt(1 + 0.125 / math.sqrt(math.pi * 1e-4)))
