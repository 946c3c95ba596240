import math

import numpy as np
import pytest

from lpsgld.lab import style
from lpsgld.lab.sliders import ghosts
from lpsgld.lab.sliders.view import compare, readable
from tests.lab import demo


def test_outlines_of_lines_stairs_and_bars():
    _, ax = style.new_figure()
    (line,) = ax.plot([0, 1, 2], [3, 4, 5])
    np.testing.assert_array_equal(ghosts.outline(line), [[0, 1, 2], [3, 4, 5]])
    stairs = ax.stairs([3, 5], [0, 1, 2])
    np.testing.assert_array_equal(ghosts.outline(stairs), [[0, 1, 1, 2], [3, 3, 5, 5]])
    bars = ax.bar([0.5, 1.5], [3, 5], width=1.0)
    np.testing.assert_array_equal(ghosts.outline(bars), [[0, 1, 1, 2], [3, 3, 5, 5]])


def test_what_cannot_be_pinned_says_so():
    _, ax = style.new_figure()
    with pytest.raises(TypeError, match="cannot pin a PathCollection"):
        ghosts.outline(ax.scatter([0], [0]))


def test_a_ghost_is_a_copy_on_the_same_axes_that_leaves_legend_and_limits_alone():
    view = demo.view()
    figure, artists = view.build(**view.parameters())
    ax = figure.axes[0]
    limits, entries = ax.viewLim.frozen(), ax.get_legend_handles_labels()[1]
    pinned = ghosts.pin(view, artists)
    assert len(pinned) == 2 and all(line.axes is ax for line in pinned)
    assert ax.get_legend_handles_labels()[1] == entries
    assert ax.viewLim.frozen().bounds == limits.bounds
    before = pinned[0].get_ydata().copy()
    view.update(artists, **view.parameters(alpha=1e-4))
    np.testing.assert_array_equal(pinned[0].get_ydata(), before)


def test_hidden_artists_and_lists_of_artists():
    view = demo.view(ghosts=("both", "vc"))
    _, artists = view.build(**view.parameters(corrected=False))
    artists["both"] = [artists["naive"], artists["vc"]]
    assert len(ghosts.pin(view, artists)) == 1


def test_comparison_texts():
    assert compare({"std": 1.2846}) == ["std = 1.285"]
    texts = compare({"std": 1.2846, "W2": 0.25}, {"std": 1.0658})
    assert texts == ["std = 1.285 (pinned 1.066, difference +0.219)", "W2 = 0.25"]
    assert compare({"std": 1.0, "W2": 0.1 + 0.2}, {"std": 1.5, "W2": 0.3}) == [
        "std = 1 (pinned 1.5, difference −0.5)",
        "W2 = 0.3 (as pinned)",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(0.0, "0"), (-3.82e-14, "0"), (1.0, "1"), (1.28461, "1.285"), (-0.25, "−0.25"), (0.001234567, "0.001235")],
        *[(17490.0, "17,490"), (17493.6, "17,490"), (1234567.0, "1,234,567"), (99999.6, "100,000")],
        *[(3.8e-5, "3.8·10⁻⁵"), (-9.8764e12, "−9.876·10¹²"), (0.00099996, "1·10⁻³"), (math.inf, "inf")],
    ],
)
def test_numbers_are_for_the_eye(number, text):
    assert readable(number) == text
