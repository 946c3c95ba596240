"""What every view must do, checked at all corners of its controls: for the tests of views."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch

from lpsgld.lab import style
from lpsgld.lab.sliders import ghosts
from lpsgld.lab.sliders.view import Control, View


def check_view(view: View, **fixed: Any) -> int:
    """Walk a view through all corners of its controls and back; raise AssertionError, naming the corner.

    Returns how many settings were drawn. How long that takes is measured by benchmarks/sliders.py.

    A corner is the first or the last value of every slider, and each value of every button. At each corner, at
    the defaults, and in the static settings: all visible artists hold finite numbers, the readout is finite and
    has the same names, something is drawn, and the picture reached by `update` has the pixels of a fresh `build`.
    Then: the ghosts can be pinned, the same seed gives the same pixels, and another seed gives others.

    fixed: parameters of the view that no control sets.
    """
    figure, artists = view.build(**view.parameters(**fixed))
    missing = [name for name in view.ghosts if name not in artists]
    assert not missing, f"{view.name}: no artist for the ghosts {missing}: build returns {sorted(artists)}"
    names, corners = None, list(settings(view, **fixed))
    for parameters in corners:
        corner = f"{view.name} at {view.describe(parameters)}"
        readout = dict(view.update(artists, **parameters) or {})
        picture = _pixels(figure)
        names = readout.keys() if names is None else names
        assert readout.keys() == names, f"{corner}: the readout has {list(readout)}, elsewhere {list(names)}"
        assert all(map(math.isfinite, readout.values())), f"{corner}: the readout is {readout}"
        _check_artists(artists, corner)
        _check_picture(picture, corner)
        assert _pixels(view.build(**parameters)[0]) == picture, f"{corner}: update and build draw different pictures"
    pinned = ghosts.pin(view, artists)
    assert pinned or not view.ghosts, f"{view.name}: none of {view.ghosts} could be pinned"
    if view.seeded:
        _check_seed(view, fixed)
    return len(corners)


def settings(view: View, **fixed: Any) -> Iterator[dict[str, Any]]:
    """All corners and static settings, the defaults first and last."""
    names = [control.name for control in view.controls]
    yield view.parameters(**fixed)
    for values in itertools.product(*map(_ends, view.controls)):
        yield view.parameters(**dict(zip(names, values, strict=True)), **fixed)
    for static in view.static:
        yield view.parameters(**(dict(static) | fixed))
    yield view.parameters(**fixed)


def _ends(control: Control) -> tuple[Any, ...]:
    return control.values if control.kind == "buttons" else (control.values[0], control.values[-1])


def _check_seed(view: View, fixed: dict[str, Any]) -> None:
    first, again, other = (_pixels(view.build(**view.parameters(**(fixed | {"seed": seed})))[0]) for seed in (1, 1, 2))
    assert first == again, f"{view.name}: the same seed draws different pictures"
    assert first != other, f"{view.name}: another seed draws the same picture"


def _check_artists(artists: dict[str, Any], corner: str) -> None:
    for name, entry in artists.items():
        for artist in _flat(entry):
            if artist.get_visible():
                finite = all(
                    np.isfinite(np.ma.filled(np.ma.asarray(data, float), np.nan)).all() for data in _numbers(artist)
                )
                assert finite, f"{corner}: {name} holds NaN or infinity; hide what has no value: set_visible(False)"


def _flat(entry: Any) -> Iterator[Artist]:
    if isinstance(entry, Artist):
        yield entry
    elif isinstance(entry, (list, tuple, Container, np.ndarray)):
        for item in entry:
            yield from _flat(item)


def _numbers(artist: Artist) -> list[Any]:
    """The numbers that an artist draws; none for texts, axes and the like."""
    if isinstance(artist, Line2D):
        return [artist.get_xdata(), artist.get_ydata()]
    if isinstance(artist, StepPatch):
        return [artist.get_data().values, artist.get_data().edges]
    if isinstance(artist, Rectangle):
        return [artist.get_bbox().get_points()]
    if isinstance(artist, AxesImage):
        return [artist.get_array(), artist.get_extent()]
    if isinstance(artist, Collection):
        values = [] if artist.get_array() is None else [artist.get_array()]
        return [artist.get_offsets(), *values, *(path.vertices for path in artist.get_paths())]
    return []


def _check_picture(picture: bytes, corner: str) -> None:
    pixels = np.frombuffer(picture, np.uint32)  # four bytes each
    assert (pixels == pixels[0]).mean() < 0.995, f"{corner}: the picture is blank"


def _pixels(figure: Figure) -> bytes:
    """Red, green, blue and alpha of each pixel: what `style.png` shows, without the time to pack it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=style.SCREEN_DPI)
    return buffer.getvalue()
