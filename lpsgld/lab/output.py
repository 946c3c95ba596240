"""How something gets into a cell's output: always one MIME bundle, always with a plain text."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from IPython import get_ipython
from IPython.display import display
from ipywidgets import Widget

from lpsgld.lab import style

Bundle = dict[str, Any]

_TWINS = 4  # cells that read the same, where nothing else tells one from another
_living: dict[str, list[tuple[str, Widget]]] = {}  # of each cell: the run that showed a widget, and the widget


def picture(png: bytes, alt: str) -> tuple[Bundle, Bundle]:
    """Data and metadata of a picture, shown at the screen's size whatever its pixels."""
    width, height = style.SCREEN
    data = {"image/png": b64encode(png).decode("ascii"), "text/plain": alt}
    return data, {"image/png": {"alt": alt, "width": width, "height": height}}


def show(data: Bundle, metadata: Bundle | None = None) -> None:
    """Display a MIME bundle in the running cell; outside a notebook, print its plain text."""
    if get_ipython() is None:
        print(data["text/plain"])
    else:
        display(data, metadata=metadata, raw=True)


def show_widget(widget: Widget, data: Bundle, metadata: Bundle | None = None) -> None:
    """Display a MIME bundle that holds a widget, and close those that an earlier run of the same cell has shown.

    A kernel keeps each widget, with all that it refers to, until it is closed. A cell is known by the identifier that
    the front end sends; if it sends none, by its source, of which the last few runs are kept, since two cells may read
    the same. Outside a notebook nobody can move a widget: it is closed at once.
    """
    show(data, metadata)
    if get_ipython() is None:
        close(widget)
        return
    request = getattr(get_ipython(), "parent_header", {})
    cell = request.get("metadata", {}).get("cellId")
    run = request.get("header", {}).get("msg_id", "")
    shown = _living.setdefault(cell or request.get("content", {}).get("code", ""), [])
    shown.append((run, widget))
    runs = list(dict.fromkeys(run for run, _ in shown))
    kept = runs[-1 if cell else -_TWINS :]
    for old in [entry for entry in shown if entry[0] not in kept]:
        shown.remove(old)
        close(old[1])


def close(widget: Widget) -> None:
    """Close a widget and its parts, which the kernel would otherwise keep."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.unobserve_all()
    for part in filter(None, (widget, widget.layout, getattr(widget, "style", None))):
        part.close()
