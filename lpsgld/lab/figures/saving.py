"""Figures for slides: PNG (1920 x 1080) and SVG, light and dark, with a row in a manifest.

`index.md.j2` is the page that shows them all, step-by-step builds are made in `frames.py`. The same figure gives the
same bytes: no dates, fixed identifiers in the SVG. A killed run leaves no half of a file, and several processes may
save figures into one folder.
"""

from __future__ import annotations

import html
import json
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from lpsgld.files import locked, write_atomically
from lpsgld.lab import output, session, style
from lpsgld.lab.figures import frames
from lpsgld.text import Mistake, parse_json, typed

LICENCE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
PACKAGES = ("lpsgld", "matplotlib", "numpy", "torch")
_IDENTIFIER = r"\d\d(?:-[a-z0-9]+)+"
_ROW = {"title": "str", "caption": "str", "alt": "str", "notebook": "str", "parameters": "dict", "seed": "int"}
_ROW |= {"files": "list[str]", "frames": "list[str] | None"}
_INDEX = Path(__file__).with_name("index.md.j2")

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Slide:
    """What a picture says wherever it is shown alone: a view's `slide`, or a decorator of a function that draws.

    caption: one or two sentences. alt: what somebody who cannot see the picture needs to know. title: a heading in the
    index, by default the view's. In all of them "{width}" is the value of that setting or origin, see `save_figure`.
    settings: of the view, where it is not drawn with its defaults.
    """

    caption: str
    alt: str
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, draw: Callable[..., Figure]) -> Callable[..., Figure]:
        drawn = style.styled(draw)
        drawn.slide = self
        return drawn


class ManifestError(Mistake, ValueError):
    """A manifest of figures that is not ours."""


def save_figure(
    draw: Any,
    identifier: str,
    *data: Any,
    alt: str = "",
    caption: str = "",
    title: str = "",
    params: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    measured: bool = False,
) -> None:
    """Write IDENTIFIER.png and .svg, IDENTIFIER-dark.png and .svg, their row of manifest.json, and show the light one,
    unless it is of a view that `explore` has shown already: then only say where it is.

    Of a figure in frames, also IDENTIFIER-frame-1.png, ..., and the same in dark; its last frame is IDENTIFIER.png.

    draw: a view, drawn with the settings of its slide; or a function that draws a new figure in the theme in force each
    time it is called with `data`; colours from `role` and `color` follow the theme if they are asked for inside.
    identifier: notebook's number and a short name, "05-figure-1". alt, caption, title: as in `Slide`, where `draw` has
    none. params: other settings of the view; else what the picture depends on, beside the seed. origin: what the data
    depend on that the picture shows. measured: whether a clock or the system told them, other numbers in each run. Then
    a picture that is there with the same parameters stays, with the versions that it was measured with, so that a run
    changes no file; LPSGLD_REDRAW, which `lpsgld figures` sets, writes it anew.

    Raises RuntimeError before `lab.start`, TypeError if `draw` does not draw, ValueError for a bad identifier, an empty
    text or one that names an unknown setting, another size, or a figure that was drawn outside, FileError if a file
    cannot be written.
    """
    running = session.required("save_figure")
    slide = getattr(draw, "slide", None) or Slide("", "")
    title = title or slide.title or getattr(draw, "title", identifier)
    alt, caption, params = alt or slide.alt, caption or slide.caption, {**slide.settings, **(params or {})}
    _check(identifier, running.notebook, alt, caption)
    known = getattr(draw, "name", None) in running.explored
    if hasattr(draw, "parameters"):
        seed = {"seed": running.seed} if draw.seeded else {}
        draw, params = partial(draw.figure, **params, **seed), draw.parameters(**params)
        params.pop("seed", None)  # it has its own place
    elif data:
        draw = partial(draw, *data)
    params = {**(origin or {}), **params}
    try:
        title, caption, alt = (text.format_map(params) for text in (title, caption, alt))
    except KeyError as error:
        raise ValueError(f"figure {identifier}: its texts name {error}, but there are {', '.join(params)}") from None
    row = {
        "title": title,
        "caption": caption,
        "alt": alt,
        "notebook": running.notebook,
        "parameters": json.loads(json.dumps(params, default=_plain)),
        "seed": running.seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    files = _files(draw, identifier, title, alt)
    steps = [name for name in files if re.fullmatch(rf"{identifier}-frame-\d+\.png", name)]
    row |= {"files": list(files)} | ({"frames": [*steps, f"{identifier}.png"]} if steps else {})
    with locked(running.figures):
        old = read_manifest(running.figures, *_ROW.keys() - {"frames"})
        told = ("notebook", "parameters", "seed", "files")
        there = identifier in old and all(old[identifier].get(part) == row[part] for part in told)
        if not (measured and there and not os.environ.get("LPSGLD_REDRAW")):
            for name, content in files.items():
                write_atomically(running.figures / name, content)
            _record(running.figures, old, old | {identifier: row})
    if known:
        print(f"The same picture for slides: {running.figures.name}/{identifier}.png")
    else:
        output.show(*output.picture(files[f"{identifier}.png"], alt))


def read_manifest(folder: Path, *needed: str) -> Rows:
    """The manifest's rows by identifier, sorted; empty if there is none.

    Raises ManifestError if it is not ours, or if a row lacks something that is needed.
    """
    path = folder / "manifest.json"
    try:
        figures = parse_json(path.read_bytes())["figures"]
        for identifier, row in figures.items():
            _check_row(identifier, row, needed)
        return dict(sorted(figures.items()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = error if isinstance(error, ManifestError) else repr(error)
        raise ManifestError(f"{path} is not a manifest of figures ({what}): restore it, or delete it") from error


def _check_row(identifier: str, row: dict[str, Any], needed: Sequence[str]) -> None:
    """Raise ManifestError if it lacks something needed, has another type, or names files that are not this figure's."""
    if lacking := sorted(set(needed) - row.keys()):
        raise ManifestError(f"figure {identifier!r} has no {', '.join(lacking)}")
    for name in _ROW.keys() & row.keys():
        if _ROW[name] != "dict":
            typed(f"{name} of figure {identifier!r}", _ROW[name], row[name], ManifestError)
        elif not isinstance(row[name], dict):
            raise ManifestError(f"{name} of figure {identifier!r} is {row[name]!r}, but must be an object")
    own = re.compile(rf"{re.escape(identifier)}(-frame-\d+)?(-dark)?\.(png|svg)")
    for name in [*row.get("files", ()), *(row.get("frames") or ())]:
        if not (re.fullmatch(_IDENTIFIER, identifier) and own.fullmatch(name)):
            raise ManifestError(f"figure {identifier!r} names the file {name!r}, which is not its own")


def _files(draw: Callable[[], Figure], identifier: str, title: str, alt: str) -> dict[str, bytes]:
    """The figure's files by name, in both themes, the light ones first."""
    files = {}
    for theme, ending in style.ENDINGS.items():
        with style.use(theme):
            figure = _drawn(draw, identifier)
            files[f"{identifier}{ending}.png"] = _png(figure, title)
            about = {"Date": None, "Title": title, "Description": alt, "Rights": LICENCE}
            files[f"{identifier}{ending}.svg"] = style.saved(figure, format="svg", metadata=about)
            for number in range(1, frames.count(figure)):
                with frames.only(figure, number):
                    files[f"{identifier}-frame-{number}{ending}.png"] = _png(figure, f"{title}, frame {number}")
    return files


def _png(figure: Figure, title: str) -> bytes:
    about = {"Software": None, "Title": title, "Copyright": LICENCE}
    return style.saved(figure, format="png", dpi=style.SLIDE_DPI, metadata=about)


def _drawn(draw: Callable[[], Figure], identifier: str) -> Figure:
    """A new figure of a slide's size in the theme in force."""
    if not callable(draw):
        raise TypeError(
            f"figure {identifier}: save_figure takes a function that draws, not a {type(draw).__name__}, and calls it "
            "for light and for dark: lab.save_figure(lambda: view.figure(...), ...)"
        )
    figure = draw()
    if not isinstance(figure, Figure):
        raise TypeError(f"figure {identifier}: the function must return a Figure, not a {type(figure).__name__}")
    size = tuple(figure.get_size_inches().tolist())
    if not np.allclose(size, style.SIZE):
        raise ValueError(f"figure {identifier} is {size} inches, a slide is {style.SIZE}: use lab.new_figure()")
    if figure.get_facecolor() != to_rgba(style.paper()):
        raise ValueError(f"figure {identifier} was drawn outside: the function must draw a new one at each call")
    return figure


def _check(identifier: str, notebook: str, alt: str, caption: str) -> None:
    number = notebook[:2]
    if not (re.fullmatch(_IDENTIFIER, identifier) and identifier.startswith(number)):
        raise ValueError(f"figure identifier {identifier!r}: use the notebook's number and a name, as {number}-law-1")
    if re.search(r"-dark$|-frame-\d+$", identifier):
        raise ValueError(f"figure identifier {identifier!r}: choose another name, -dark and -frame-1 end file names")
    if not alt.strip() or not caption.strip():
        raise ValueError(f"figure {identifier}: a slide needs an alt text and a caption")


def _plain(value: Any) -> Any:
    """A value that JSON does not know in types that it knows: numpy's and torch's scalars and arrays, and mappings."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"figure parameter {value!r} is a {type(value).__name__}: use numbers, texts, lists or dicts")


def _record(folder: Path, old: Rows, new: Rows) -> None:
    """Write the manifest without rows whose picture is gone, and the index; remove files that no row names any more."""
    rows = {name: row for name, row in sorted(new.items()) if (folder / f"{name}.png").exists()}
    text = json.dumps({"licence": LICENCE, "figures": rows}, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / "manifest.json", text)
    index = jinja2.Template(_INDEX.read_text("utf-8"), trim_blocks=True, keep_trailing_newline=True)
    write_atomically(folder / "README.md", index.render(rows=rows, escape=html.escape))
    for name in _names(old) - _names(rows):
        (folder / name).unlink(missing_ok=True)


def _names(rows: Rows) -> set[str]:
    return {name for row in rows.values() for name in row["files"]}
