"""Step-by-step builds: what is hidden in which frame, that legends follow, and that nothing moves."""

import io

import numpy as np
import pytest
from PIL import Image

from lpsgld import lab
from lpsgld.lab import style
from lpsgld.lab.figures import frames
from lpsgld.lab.figures.frames import reveal


def staged():
    """Two axes: a line, bars in frame 2, another line in frame 3 together with the whole right axes."""
    figure, (left, right) = lab.new_figure(1, 2, title="Staged")
    artists = {
        "first": left.plot([0, 1], [0, 1], **lab.role("target"))[0],
        "bars": reveal(2, left.bar([0.2, 0.7], [5, 9], 0.1, label="bars")),
        "lines": reveal(3, left.plot([0, 1], [3, 0], **lab.role("vc", label="line"))),
        "right": reveal(3, right),
        "same label": right.plot([0, 1], [0, 1], label="bars")[0],
    }
    for ax in (left, right):
        ax.legend(loc="upper left")
    artists |= {"legend": left.get_legend(), "other legend": right.get_legend()}
    return figure, artists


def visible(artists):
    bars, (line,) = artists["bars"], artists["lines"]
    drawn = {"first": artists["first"], "bar": bars[0], "other bar": bars[1], "line": line, "right": artists["right"]}
    texts = {text.get_text(): text for text in artists["legend"].get_texts()}
    handles = dict(zip((f"{name} handle" for name in texts), artists["legend"].legend_handles, strict=True))
    return {name for name, artist in (drawn | texts | handles).items() if artist.get_visible()}


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(style.png(figure))).convert("RGB"), dtype=int)


def test_each_frame_adds_its_artists_and_their_entries_in_the_legend():
    figure, artists = staged()
    figure.draw_without_rendering()
    one = {"first", "target", "target handle"}
    two = one | {"bar", "other bar", "bars", "bars handle"}
    three = two | {"line", "line handle", "right"}
    assert frames.count(figure) == 3
    for number, expected in ((1, one), (2, two), (3, three)):
        with frames.only(figure, number):
            assert visible(artists) == expected
        assert visible(artists) == three, "afterwards all is as before"


def test_an_entry_of_another_axes_with_the_same_label_stays():
    figure, artists = staged()
    with frames.only(figure, 1):
        (text,) = artists["other legend"].get_texts()
        assert text.get_text() == "bars" and text.get_visible()


def test_what_the_view_itself_hides_stays_hidden():
    figure, artists = staged()
    artists["lines"][0].set_visible(False)
    with frames.only(figure, 1):
        pass
    assert not artists["lines"][0].get_visible()


def test_nothing_moves():
    """Limits and legends are those of the whole figure; what changes from frame 1 to 2 lies in a bar or its entry."""
    figure, artists = staged()
    whole = pixels(figure)
    left, legend = artists["first"].axes, artists["legend"]
    limits, box = left.viewLim.frozen(), legend.get_window_extent().frozen()
    pictures = []
    for number in (1, 2, 3):
        with frames.only(figure, number):
            pictures.append(pixels(figure))
            assert left.viewLim.get_points() == pytest.approx(limits.get_points())
            assert legend.get_window_extent().bounds == pytest.approx(box.bounds)
    assert np.array_equal(pictures[2], whole)
    changed = np.argwhere((pictures[0] != pictures[1]).any(axis=2))[:, ::-1]  # x from the left, y from the top
    height = whole.shape[0]
    boxes = [bar.get_window_extent() for bar in artists["bars"]] + [box]
    inside = [any(b.x0 - 1 <= x <= b.x1 + 1 and b.y0 - 1 <= height - y <= b.y1 + 1 for b in boxes) for x, y in changed]
    assert len(changed) > 100 and all(inside)


def test_a_figure_without_reveal_has_one_frame():
    figure, ax = lab.new_figure()
    ax.plot([0, 1], [0, 1])
    assert frames.count(figure) == 1


@pytest.mark.parametrize("frame", [1, 0, -2])
def test_frame_1_needs_no_reveal(frame):
    _, ax = lab.new_figure()
    with pytest.raises(ValueError, match=f"frame {frame}: what is not revealed is there from frame 1 on"):
        reveal(frame, ax)
