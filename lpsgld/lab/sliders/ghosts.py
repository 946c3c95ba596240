"""Pinned curves: a grey, dashed copy of a curve stays while the sliders move on, for comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

from lpsgld.lab import style
from lpsgld.lab.sliders.view import Artists, Readout, View


@dataclass(frozen=True)
class Pinned:
    """What was pinned: the ghosts on the axes, the numbers read then, and the settings in words."""

    lines: tuple[Line2D, ...]
    readout: Readout
    settings: str

    def remove(self) -> None:
        """Take the ghosts away."""
        for line in self.lines:
            line.remove()


def pin(view: View, artists: Artists, parameters: Mapping[str, Any], readout: Readout) -> Pinned:
    """Add a ghost of each visible artist named in `view.ghosts`, drawn for these parameters."""
    chosen = (artist for name in view.ghosts for artist in _each(artists[name]))
    lines = tuple(_ghost(artist) for artist in chosen if _drawn(artist).get_visible())
    return Pinned(lines, readout, view.describe(parameters))


def outline(artist: Line2D | StepPatch | BarContainer) -> tuple[np.ndarray, np.ndarray]:
    """The x and y of the curve that is seen: of stairs and bars, their upper edge."""
    if isinstance(artist, Line2D):
        return np.array(artist.get_xdata()), np.array(artist.get_ydata())
    if isinstance(artist, StepPatch):
        values, edges, _ = artist.get_data()
        return np.repeat(edges, 2)[1:-1], np.repeat(values, 2)
    if isinstance(artist, BarContainer):
        left = np.array([bar.get_x() for bar in artist])
        right = left + [bar.get_width() for bar in artist]
        top = np.array([bar.get_y() + bar.get_height() for bar in artist])
        return np.column_stack([left, right]).ravel(), np.repeat(top, 2)
    raise TypeError(f"cannot pin a {type(artist).__name__}: a ghost copies a line, stairs or bars")


def compare(readout: Readout, pinned: Readout | None = None) -> list[str]:
    """One text a number: "std = 1.285", or "std = 1.285 (pinned 1.066, difference +0.219)"."""
    texts = []
    for name, value in readout.items():
        text = f"{name} = {value:.4g}"
        if pinned is not None and name in pinned:
            text += f" (pinned {pinned[name]:.4g}, difference {value - pinned[name]:+.3g})"
        texts.append(text)
    return texts


def _each(artist: Any) -> list[Any]:
    grouped = isinstance(artist, (list, tuple)) and not isinstance(artist, BarContainer)
    return list(artist) if grouped else [artist]


def _drawn(artist: Any) -> Any:
    return artist.patches[0] if isinstance(artist, BarContainer) else artist


@style.styled
def _ghost(artist: Any) -> Line2D:
    x, y = outline(artist)
    original = _drawn(artist)
    ghost = Line2D(x, y, **style.role("pinned", label="_pinned"), zorder=original.get_zorder() + 0.1)
    if isinstance(artist, Line2D):
        ghost.set_drawstyle(artist.get_drawstyle())
    original.axes.add_line(ghost)
    return ghost
