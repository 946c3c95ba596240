import math

import numpy as np
import pytest

from tests.lab import demo
from tests.lab.checking import check_view


def test_a_good_view_passes_at_all_corners():
    assert check_view(demo.view()) == 2 * 2 * 2 + 2 + 2  # corners, static settings, the defaults twice


def nan_data(artists, **parameters):
    readout = demo.update(artists, **parameters)
    if parameters["bits"] == 4:
        artists["vc"].set_data([0, 1], [0, math.nan])
    return readout


def nan_number(artists, **parameters):
    return demo.update(artists, **parameters) | {"std": math.nan if parameters["alpha"] == 1e-2 else 1.0}


def other_numbers(artists, **parameters):
    return {"std": 1.0} if parameters["bits"] == 1 else demo.update(artists, **parameters)


def leak(artists, **parameters):
    artists["naive"].axes.set_title("a leak" if parameters["bits"] == 1 else artists["naive"].axes.get_title("left"))
    return demo.update(artists, **parameters)


def seedless(artists, **parameters):
    return demo.update(artists, **(parameters | {"seed": 0}))


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (nan_data, "fractional bits F = 4.* vc holds NaN"),
        (nan_number, "step size α = 0.01.* the readout is .*nan"),
        (other_numbers, "the readout has"),
        (leak, "update and build draw different pictures"),
        (seedless, "another seed draws the same picture"),
    ],
)
def test_what_is_wrong_is_found_and_the_corner_named(update, message):
    def build(alpha, bits, corrected, seed):
        parameters = {"alpha": alpha, "bits": bits, "corrected": corrected, "seed": seed}
        figure, artists = demo.build(**parameters)
        update(artists, **parameters)
        return figure, artists

    def named(artists, alpha, bits, corrected, seed):
        return update(artists, alpha=alpha, bits=bits, corrected=corrected, seed=seed)

    with pytest.raises(AssertionError, match=message):
        check_view(demo.view(build=build, update=named))


def test_hidden_artists_may_hold_anything():
    def update(artists, alpha, bits, corrected, seed):
        readout = demo.update(artists, alpha, bits, corrected, seed)
        if not corrected:
            artists["vc"].set_data([0, 1], [np.nan, np.nan])
        return readout

    check_view(demo.view(update=update))


def test_a_ghost_without_an_artist():
    with pytest.raises(AssertionError, match=r"no artist for the ghosts \['full'\]"):
        check_view(demo.view(ghosts=("full",)))


def test_a_blank_picture():
    from lpsgld.lab import new_figure

    def build(alpha, bits, corrected, seed):
        figure, ax = new_figure()
        ax.set_axis_off()
        return figure, {"line": ax.plot([0, 1], [0, 1], linewidth=0)[0]}

    def update(artists, alpha, bits, corrected, seed):
        return {}

    with pytest.raises(AssertionError, match="the picture is blank"):
        check_view(demo.view(build=build, update=update, ghosts=()))
