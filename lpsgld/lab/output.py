"""How something gets into a cell's output: always one MIME bundle, always with a plain text."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from IPython import get_ipython
from IPython.display import display

from lpsgld.lab import style

Bundle = dict[str, Any]


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
