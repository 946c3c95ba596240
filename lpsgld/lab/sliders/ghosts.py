"""Pinned curves: a grey, dotted copy of a curve stays while the sliders move on, for comparison."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from lpsgld.lab import style
from lpsgld.lab.sliders.view import Artists, View


@style.styled
def pin(view: View, artists: Artists) -> list[Line2D]:
    """Add a ghost of each visible artist named in `view.ghosts`, as it is drawn now; the ghosts are returned.

    The ghost of the n-th of these artists has the group identifier "pinned-n", by which an SVG's reader finds it.
    """
    ghosts = []
    entries = [entry if type(entry) in (list, tuple) else [entry] for entry in map(artists.get, view.ghosts)]
    for number, artist in enumerate(itertools.chain(*entries)):
        drawn = artist.patches[0] if isinstance(artist, BarContainer) else artist
        if drawn.get_visible():
            look = style.role("pinned", label="_pinned", zorder=drawn.get_zorder() + 0.1)
            steps = artist.get_drawstyle() if isinstance(artist, Line2D) else "default"
            ghost = Line2D(*outline(artist), **look, drawstyle=steps, gid=f"pinned-{number}")
            ghosts.append(drawn.axes.add_line(ghost))
    return ghosts


def outline(artist: Line2D | StepPatch | BarContainer) -> tuple[np.ndarray, np.ndarray]:
    """The x and y of the curve that is seen: of stairs and bars, their upper edge. Raises TypeError for others."""
    if isinstance(artist, Line2D):
        return np.array(artist.get_xdata()), np.array(artist.get_ydata())
    if isinstance(artist, StepPatch):
        values, edges, _ = artist.get_data()
        return np.repeat(edges, 2)[1:-1], np.repeat(values, 2)
    if isinstance(artist, BarContainer):
        corners = np.array([bar.get_corners() for bar in artist])  # from the lower left one on, against the clock
        return corners[:, [0, 1], 0].ravel(), np.repeat(corners[:, 2, 1], 2)
    raise TypeError(f"cannot pin a {type(artist).__name__}: a ghost copies a line, stairs or bars")
