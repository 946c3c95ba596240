"""A view without Python: a picture of each of its settings, as SVG, so packed that a page can carry them all.

Two settings differ in a few curves, so their pictures share most of their lines: each line is kept once, in a table,
and a picture is a list of places in it, deflated. A picture is drawn in both themes at once: where the dark theme has
another colour than the light one it says `light-dark(light, dark)`, as style sheets do, and follows the page. It holds
the ghosts, too (group `pinned-0` and so on, of class `pinned`), which a page shows when the reader pins a curve.
`assets/player.js` of `lpsgld.publish` shows what is packed here.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from lpsgld.lab import style
from lpsgld.lab.sliders import ghosts
from lpsgld.lab.sliders.view import Artists, Readout, View, compare

MOST_SEEDS, MANY = 3, 50  # as many seeds, from 0 on, as there is room for in that many pictures
SIZE = tuple(72 * inches for inches in style.SIZE)  # of a picture, in points

MIME = "application/x-lpsgld-view"  # of a recording, in base64, beside the picture that a cell shows

_BARE = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # a picture says nothing about itself
_PINNED = re.compile(r'<g id="(pinned-\d+)">')


@dataclass(frozen=True)
class Frame:
    """One setting: what is inside its `<svg>` element, and the numbers beside it."""

    svg: str
    numbers: Readout


def settings(view: View) -> Iterator[dict[str, Any]]:
    """All settings of a view, in the order of its frames: the seed changes last, the last control first."""
    values = [control.values for control in view.controls]
    for seed in seeds(view):
        for chosen in itertools.product(*values):
            names = (control.name for control in view.controls)
            yield view.parameters(**dict(zip(names, chosen, strict=True)), **seed)


def seeds(view: View) -> list[dict[str, int]]:
    """The seeds that are recorded, as parameters; one empty set of parameters for a view that has none."""
    if not view.seeded:
        return [{}]
    one = math.prod(len(control.values) for control in view.controls)
    return [{"seed": seed} for seed in range(max(1, min(MOST_SEEDS, MANY // one)))]


def frames(view: View, chosen: Iterable[dict[str, Any]] | None = None) -> Iterator[Frame]:
    """Draw these settings (by default all), one after the other, in dark colours: in light ones a black fill, being the
    usual, is left out."""
    with style.use("dark"):
        figure, artists = view.build(**next(settings(view)))
    corners = {ax: (*ax.get_xlim(), *ax.get_ylim()) for ax in figure.axes}
    for parameters in chosen or settings(view):
        with style.use("dark"):
            yield draw(view, figure, artists, parameters, corners)


def draw(view: View, figure: Figure, artists: Artists, parameters: dict[str, Any], corners: dict[Any, tuple]) -> Frame:
    """One setting. corners: of each of the axes, two values of x and two of y, whose places are told with each ghost:
    where the axes move, the ghost can follow."""
    numbers = dict(view.update(artists, **parameters) or {})
    pinned = ghosts.pin(view, artists)
    svg = style.saved(figure, format="svg", metadata=_BARE).decode()
    boxes = {ghost.get_gid(): _places(figure, ghost.axes, *corners[ghost.axes]) for ghost in pinned}
    for ghost in pinned:
        ghost.remove()
    inside = svg[svg.index(">", svg.index("<svg ")) + 1 : svg.rindex("</svg>")].strip("\n")
    inside = _PINNED.sub(lambda found: f'<g id="{found[1]}" class="pinned" data-box="{boxes[found[1]]}">', inside)
    return Frame(_colours().sub(lambda found: _both()[found[0]], inside), numbers)


def pack(view: View, drawn: Iterable[Frame], tell: Callable[[], None] = lambda: None) -> bytes:
    """The view's frames, deflated; `tell` is called after each. `unpack` and `assets/player.js` read them.

    A number that is not finite is None there; its text says what it is.
    """
    places: dict[str, int] = {}
    pictures, rows, texts = [], [], []
    for frame in drawn:
        numbers = [places.setdefault(line, len(places)) for line in frame.svg.split("\n")]
        pictures.append([here - before for before, here in itertools.pairwise([0, *numbers])])
        rows.append({name: float(value) if math.isfinite(value) else None for name, value in frame.numbers.items()})
        texts.append(compare(frame.numbers))
        tell()
    content = {
        "title": view.title,
        "size": SIZE,
        "controls": [
            {"label": c.label, "kind": c.kind, "texts": [c.text(value) for value in c.values]} for c in view.controls
        ],
        "start": _place(view, view.parameters()),
        "slide": _place(view, view.parameters(**(view.slide.settings if view.slide else {}))),
        "seeds": [seed["seed"] for seed in seeds(view) if seed],
        "pins": bool(view.ghosts) or any(rows),
        "lines": "\n".join(places),
        "frames": pictures,  # the way from one line's place to the next one's: mostly 1
        "numbers": rows,
        "texts": texts,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return zlib.compress(text.encode(), 9)


def unpack(packed: bytes) -> tuple[dict[str, Any], list[Frame]]:
    """What was packed, and its frames."""
    content = json.loads(zlib.decompress(packed))
    lines = content["lines"].split("\n")
    frames = [
        Frame("\n".join(lines[place] for place in itertools.accumulate(ways)), numbers)
        for ways, numbers in zip(content["frames"], content["numbers"], strict=True)
    ]
    return content, frames


def _place(view: View, parameters: dict[str, Any]) -> list[int]:
    """For each control, which of its values these parameters take."""
    return [control.values.index(parameters[control.name]) for control in view.controls]


def _places(figure: Figure, ax: Any, *corners: float) -> str:
    """Where two values of x and two of y are in the picture, in points from its upper left corner: x, x, y, y."""
    left, right, low, high = corners
    (x0, y0), (x1, y1) = figure.transFigure.inverted().transform(ax.transData.transform([(left, low), (right, high)]))
    width, height = SIZE
    return " ".join(f"{value:.3f}" for value in (x0 * width, x1 * width, (1 - y0) * height, (1 - y1) * height))


@functools.cache
def _both() -> dict[str, str]:
    """How a colour of the dark theme is written where the light theme has another."""
    pairs = style.counterparts().items()
    return {dark: f"light-dark({light}, {dark})" for dark, light in pairs if light != dark}


@functools.cache
def _colours() -> re.Pattern[str]:
    return re.compile("|".join(rf"{dark}\b" for dark in _both()))
