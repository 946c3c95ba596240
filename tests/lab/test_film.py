"""A view that moves by itself: its pictures, their order and how long they stay."""

import io

import numpy as np
from PIL import Image, ImageSequence

from lpsgld.__main__ import main
from lpsgld.lab import style
from lpsgld.lab.figures import film
from tests.lab import demo


def test_the_first_control_goes_to_its_first_value_and_back():
    view = demo.view()
    alphas = [1e-2, 1e-3, 1e-4, 1e-3]
    with Image.open(io.BytesIO(film.film(view, "dark"))) as moving:
        shown = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(moving)]
        assert moving.info["loop"] == 0 and moving.size == style.SCREEN
    assert [stays for _, stays in shown] == [film.REST, film.STEP, film.REST, film.STEP]
    for (frame, _), alpha in zip(shown, alphas, strict=True):
        with style.use("dark"):
            figure, artists = view.build(**view.parameters())
            view.update(artists, **view.parameters(alpha=alpha))
            drawn = Image.open(io.BytesIO(style.png(figure))).convert("RGB")
        far = np.abs(np.asarray(frame, dtype=int) - np.asarray(drawn, dtype=int)).max(axis=-1)
        assert (far > 24).mean() < 1e-3, f"not the picture at {alpha}, but for its 256 colours"


def test_a_figure_without_a_slider_cannot_move(capsys):
    assert main(["film", "00-stori"]) == 2
    assert 'Did you mean "00-story"' in capsys.readouterr().err
