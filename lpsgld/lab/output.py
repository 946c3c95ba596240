"""How something gets into a cell's output: a MIME bundle with a plain text; beside a widget, what stays of it."""

from __future__ import annotations

import html
from base64 import b64encode
from typing import Any

from IPython import get_ipython
from IPython.display import display
from ipywidgets import Widget

from lpsgld.lab import style

Bundle = dict[str, Any]

PICTURE = "lpsgld-picture"  # the class of a live picture, and of the still in its place
_ASLEEP = "Asleep, because its kernel has ended. To wake it, choose Run ▸ Run All Cells."
# Where the page is dark, so is a picture, at once: the browser turns light into dark and keeps the hues. A widget of
# which JupyterLab has no model is an error there, whatever else its bundle holds: the next output shows instead of it.
_STYLE = f"""<style>
[data-jp-theme-light="false"] .{PICTURE}, .vscode-dark .{PICTURE}, html[theme="dark"] .{PICTURE}
{{ filter: invert(0.9) hue-rotate(180deg) }}
.jp-OutputArea-child:has(.widget-vbox) + .jp-OutputArea-child:has(.lpsgld-asleep),
.jp-OutputArea-child:not(:has(.widget-vbox)):has(+ .jp-OutputArea-child .lpsgld-asleep) {{ display: none }}
.jp-OutputArea-child:not(:has(.widget-vbox)) + .jp-OutputArea-child .lpsgld-asleep {{ display: block !important }}
</style>"""

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
    """Display a MIME bundle that holds a widget in a VBox, and close those that an earlier run of the cell has shown.

    A second output, hidden while the widget lives, shows the bundle's picture or HTML in a notebook that is opened
    again without its kernel, and says how to wake it.

    A kernel keeps each widget, with all that it refers to, until it is closed. A cell is known by the identifier that
    the front end sends; if it sends none, by its source, of which the last few runs are kept, since two cells may read
    the same. Outside a notebook nobody can move a widget: it is closed at once.
    """
    show(data, metadata)
    if get_ipython() is None:
        close(widget)
        return
    show(_asleep(data, metadata or {}))
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


def _asleep(data: Bundle, metadata: Bundle) -> Bundle:
    """What stays of a widget without its kernel. Only JupyterLab shows it: others take the bundle's own picture."""
    still = data.get("text/html", "")
    if "image/png" in data:
        look = {"src": f"data:image/png;base64,{data['image/png']}", "class": PICTURE} | metadata["image/png"]
        attributes = " ".join(f'{name}="{html.escape(str(value))}"' for name, value in look.items())
        still = f'<img {attributes} style="height: auto">'
    said = f'<div class="lpsgld-asleep" style="display: none"><p><em>{_ASLEEP}</em></p>{still}</div>'
    return {"text/html": _STYLE + said, "text/plain": ""}


def close(widget: Widget) -> None:
    """Close a widget and its parts, which the kernel would otherwise keep."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.unobserve_all()
    for part in filter(None, (widget, widget.layout, getattr(widget, "style", None))):
        part.close()
