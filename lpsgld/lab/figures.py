"""Figures for slides: each as PNG (1920 x 1080) and SVG, with a row in a manifest and a page that shows them all.

The same figure gives the same bytes: no dates, fixed identifiers in the SVG. Files are written beside their
destination and then renamed, so that a killed run leaves no half of a file.
"""

from __future__ import annotations

import html
import io
import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lpsgld.lab import output, session, style

LICENCE = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
PACKAGES = ("lpsgld", "matplotlib", "numpy", "torch")

Rows = dict[str, dict[str, Any]]


def save_figure(
    figure: Figure,
    identifier: str,
    *,
    alt: str,
    caption: str,
    title: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Write IDENTIFIER.png, IDENTIFIER.svg and their row of manifest.json, and show the picture.

    identifier: notebook's number and a short name, "05-figure-1". alt: what somebody who cannot see the picture
    needs to know. caption: one or two sentences for the slide. title: a heading in the index, by default the
    identifier. params: what the picture depends on, beside the seed.

    Raises RuntimeError before `lab.start`, ValueError for a bad identifier, an empty text or another size.
    """
    running = session.required("save_figure")
    _check(figure, identifier, running.notebook, alt, caption)
    row = {
        "title": title or identifier,
        "caption": caption,
        "alt": alt,
        "notebook": running.notebook,
        "parameters": _plain(params or {}),
        "seed": running.seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "files": [f"{identifier}.png", f"{identifier}.svg"],
    }
    running.figures.mkdir(parents=True, exist_ok=True)
    picture = slide_png(figure, row["title"])
    _write(running.figures / f"{identifier}.png", picture)
    _write(running.figures / f"{identifier}.svg", slide_svg(figure, row["title"], alt))
    _record(running.figures, identifier, row)
    output.show(*output.picture(picture, alt))


@style.styled
def slide_png(figure: Figure, title: str) -> bytes:
    """The figure as PNG of 1920 x 1080 pixels."""
    buffer = io.BytesIO()
    metadata = {"Software": None, "Title": title, "Copyright": LICENCE}
    figure.savefig(buffer, format="png", dpi=style.SLIDE_DPI, metadata=metadata)
    return buffer.getvalue()


@style.styled
def slide_svg(figure: Figure, title: str, alt: str) -> bytes:
    """The figure as SVG."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Title": title, "Description": alt, "Rights": LICENCE}
    figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def read_manifest(folder: Path) -> Rows:
    """The manifest's rows by identifier, sorted; empty if there is none. Raises ValueError if it is not ours."""
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return dict(sorted(figures.items()))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest of figures ({error!r}): restore it, or delete it") from error


def index(rows: Rows) -> str:
    """The Markdown page that shows all figures."""
    parts = [_INDEX_HEAD]
    for identifier, row in rows.items():
        settings = [f"{name} = {value}" for name, value in row["parameters"].items()] + [f"seed = {row['seed']}"]
        png, svg = row["files"]
        parts.append(
            f"## {row['title']}\n\n"
            f'<img src="{png}" alt="{html.escape(row["alt"], quote=True)}" width="960">\n\n'
            f"{row['caption']}\n\n"
            f"`{identifier}` · [PNG]({png}) · [SVG]({svg}) · notebook `{row['notebook']}` · {', '.join(settings)}\n\n"
            f"Alt text: {row['alt']}\n"
        )
    return "\n".join(parts)


_INDEX_HEAD = """# Figures for slides

Written by the notebooks; do not edit this page. Each figure is 1920 x 1080 pixels, and SVG for any size.
Licence: [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). Use them freely, with a credit such as
"lpsgld, CC BY 4.0". To draw the figures of a notebook again, run it: `lpsgld run NOTEBOOK --profile laptop`.
"""


def _check(figure: Figure, identifier: str, notebook: str, alt: str, caption: str) -> None:
    number = notebook[:2]
    if not re.fullmatch(rf"{number}(-[a-z0-9]+)+", identifier):
        raise ValueError(f"figure identifier {identifier!r}: use the notebook's number and a name, as {number}-law-1")
    if not alt.strip() or not caption.strip():
        raise ValueError(f"figure {identifier}: a slide needs an alt text and a caption")
    size = tuple(figure.get_size_inches().tolist())
    if not np.allclose(size, style.SIZE):
        raise ValueError(f"figure {identifier} is {size} inches, a slide is {style.SIZE}: use lab.new_figure()")


def _plain(value: Any) -> Any:
    """The same value in JSON's types. Raises TypeError for what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "tolist"):  # numpy's and torch's scalars and arrays
        return value.tolist()
    raise TypeError(f"figure parameter {value!r} is a {type(value).__name__}: use numbers, texts, lists or dicts")


def _record(folder: Path, identifier: str, row: dict[str, Any]) -> None:
    """Add the row to the manifest as it is now, drop rows whose picture is gone, and write the index."""
    rows = read_manifest(folder) | {identifier: row}
    rows = {name: rows[name] for name in sorted(rows) if (folder / f"{name}.png").exists()}
    text = json.dumps({"licence": LICENCE, "figures": rows}, indent=2, ensure_ascii=False) + "\n"
    _write(folder / "manifest.json", text.encode())
    _write(folder / "README.md", index(rows).encode())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
