"""Step-by-step builds: a figure in frames, each of which adds to the one before; the last is the whole figure.

A drawing says when its artists appear: `reveal(2, ax.plot(...))`; all others are there from the first frame on. From
frame to frame only visibility changes, so that nothing moves: limits, ticks and legends are those of the whole figure.
What draws lives in `views/`, what writes files in `saving.py`; sliders show the last frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from matplotlib.artist import Artist, setp
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.legend import Legend

T = TypeVar("T")

_first: WeakKeyDictionary[Artist, tuple[int, str]] = WeakKeyDictionary()  # frame of appearance, label in the legend


def reveal(frame: int, artists: T) -> T:
    """Let these appear in that frame, 2 or later, and stay; returns them. An entry of a legend follows its artist.

    artists: an artist, also whole axes, a container of bars, or a list of such.
    """
    if frame < 2:
        raise ValueError(f"frame {frame}: what is not revealed is there from frame 1 on, so reveal in 2 or later")
    for artist, label in _flat(artists):
        _first[artist] = (frame, label)
    return artists


def count(figure: Figure) -> int:
    """The number of frames: 1 where nothing is revealed later."""
    return max((_first[artist][0] for artist in _revealed(figure)), default=1)


@contextmanager
def only(figure: Figure, frame: int) -> Iterator[None]:
    """Show that frame of the figure inside this block. The figure must have been drawn, so that its limits are set."""
    later = [artist for artist in _revealed(figure) if _first[artist][0] > frame]
    labels = {(artist.axes, _first[artist][1]) for artist in later}
    for legend in figure.findobj(Legend):
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if (legend.axes, text.get_text()) in labels:
                later += handle, text
    hidden = [artist for artist in later if artist.get_visible()]
    setp(hidden, visible=False)
    try:
        yield
    finally:
        setp(hidden, visible=True)


def _revealed(figure: Figure) -> list[Artist]:
    return figure.findobj(_first.__contains__)


def _flat(entry: Any, label: str | None = None) -> Iterator[tuple[Artist, str]]:
    if isinstance(entry, Artist):
        yield entry, entry.get_label() if label is None else label
        return
    label = entry.get_label() if isinstance(entry, Container) else label
    for item in entry:
        yield from _flat(item, label)
