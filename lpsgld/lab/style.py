"""How every figure looks: one style sheet in a light and a dark theme, and a fixed look for each role of a curve.

A curve is drawn by its role (`ax.plot(x, y, **role("vc"))`), so that the same accumulator has the same colour
and the same dashes in all notebooks. Colours are those of Okabe and Ito, which colour-blind readers can tell
apart; the dashes tell curves apart without any colour. What is drawn lives in `views/`.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

Theme = Literal["light", "dark"]

ENDINGS = {"light": "", "dark": "-dark"}  # of the names of pictures

SIZE = (12.8, 7.2)  # inches, 16:9: at 150 dots per inch, a slide of 1920 x 1080 pixels
SCREEN_DPI = 75
SCREEN = (960, 540)  # pixels in a notebook
SLIDE_DPI = 150
XLABEL_DISTANCE = 30  # points from an axis to its label: room for ticks with exponents

_INK = {
    "light": {"paper": "#ffffff", "ink": "#1a1a1a", "faint": "#d9d9d9"},
    "dark": {"paper": "#16181d", "ink": "#ececec", "faint": "#3f434b"},
}

# role: label, colour on light, colour on dark, dashes (on, off, ... in line widths; None is solid), line width
_ROLES: dict[str, tuple[str, str, str, tuple[float, ...] | None, float]] = {
    "target": ("target", "#000000", "#ffffff", None, 2.0),
    "full": ("full-precision accumulator", "#009E73", "#009E73", (5, 1.2, 1, 1.2), 2.8),
    "naive": ("naive", "#D55E00", "#D55E00", (3.5, 1.3), 2.8),
    "vc": ("variance-corrected", "#0072B2", "#56B4E9", None, 2.8),
    "sgld": ("SGLD in float32", "#56B4E9", "#F0E442", (8, 1.5), 2.8),
    "sgd": ("SGD", "#CC79A7", "#CC79A7", (1.2, 1.2), 2.8),
    "bound": ("bound", "#E69F00", "#E69F00", (5, 1.2, 1, 1.2, 1, 1.2), 2.8),
    "pinned": ("pinned", "#767676", "#9a9a9a", (2.5, 1.5), 2.0),
}

_lock = threading.RLock()  # matplotlib's settings are global, and a front end may move sliders in another thread
_theme: ContextVar[Theme] = ContextVar("theme", default="light")

P = ParamSpec("P")
R = TypeVar("R")


def sheet(theme: Theme) -> dict[str, Any]:
    """The matplotlib settings of a theme. No text is smaller than 14 pt on a figure of 12.8 x 7.2 inches."""
    paper, ink, faint = (_INK[theme][name] for name in ("paper", "ink", "faint"))
    return {
        "figure.figsize": SIZE,
        "figure.dpi": SCREEN_DPI,
        "figure.facecolor": paper,
        "savefig.facecolor": paper,
        "savefig.bbox": None,  # "tight" would change the size of a slide
        "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same pixels
        "font.size": 15,
        "text.color": ink,
        "axes.facecolor": paper,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.labelsize": 17,
        "axes.titlecolor": ink,
        "axes.titlesize": 18,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.titley": 1.0,  # fixed: to place titles above all ticks takes a fifth of each draw
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": faint,
        "grid.linewidth": 0.8,
        "xtick.color": ink,
        "ytick.color": ink,
        "xtick.labelsize": 15,
        "ytick.labelsize": 15,
        "legend.fontsize": 15,
        "legend.frameon": False,
        "legend.handlelength": 2.8,
        "lines.linewidth": 2.8,
        "svg.fonttype": "path",  # letters as outlines: the slide needs no font
        "svg.hashsalt": "lpsgld",  # fixed, so that the same figure gives the same bytes
    }


@contextmanager
def use(theme: Theme | None = None) -> Iterator[None]:
    """Draw in the lab's style inside this block: in `theme`, or in that of the block around it (else light)."""
    chosen = theme or _theme.get()
    if chosen not in _INK:
        raise ValueError(f"theme {chosen!r} is unknown: use {' or '.join(map(repr, _INK))}")
    token = _theme.set(chosen)
    try:
        with _lock, mpl.rc_context(sheet(chosen)):
            yield
    finally:
        _theme.reset(token)


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, drawing in the lab's style whoever calls it."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with use():
            return function(*args, **kwargs)

    return wrapper


def paper() -> str:
    """The colour behind everything in the current theme."""
    return _INK[_theme.get()]["paper"]


def color(name: str) -> str:
    """The colour of a role in the current theme."""
    _, light, dark, _, _ = _role(name)
    return dark if _theme.get() == "dark" else light


def role(name: str, **overrides: Any) -> dict[str, Any]:
    """Keyword arguments for `plot`, `stairs`, `axhline`, ...: colour, dashes, width and label of that role.

    Roles: target, full, naive, vc, sgld, sgd, bound, pinned. Raises ValueError for any other.
    """
    label, _, _, dashes, width = _role(name)
    linestyle = (0, dashes) if dashes else "-"
    return {"color": color(name), "linestyle": linestyle, "linewidth": width, "label": label} | overrides


def _role(name: str) -> tuple[str, str, str, tuple[float, ...] | None, float]:
    if name not in _ROLES:
        raise ValueError(f"role {name!r} is unknown: use one of {', '.join(_ROLES)}")
    return _ROLES[name]


@styled
def new_figure(
    rows: int = 1,
    cols: int = 1,
    *,
    title: str | None = None,
    sharex: bool = False,
    sharey: bool = False,
    **gridspec: Any,
) -> tuple[Figure, Any]:
    """A figure of slide size that pyplot does not know, and its axes: one, or an array as of `plt.subplots`.

    Margins are fixed, since a layout engine costs more at each slider step than all the rest. `gridspec`
    changes them (left, right, bottom, top, wspace, hspace: fractions) or sets width_ratios and height_ratios.
    """
    margins = {
        "left": 0.085,
        "right": 0.975,
        "bottom": 0.125,
        "top": 0.855 if title else 0.92,
        "wspace": 0.22,
        "hspace": 0.42,
    }
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, cols, sharex=sharex, sharey=sharey, gridspec_kw=margins | gridspec)
    if title:
        left = (margins | gridspec)["left"]
        figure.suptitle(title, x=left, y=0.975, ha="left", va="top", fontsize=21, fontweight="bold")
    return figure, axes


def settle(figure: Figure) -> None:
    """Fix the labels' places, which matplotlib would work out anew, with all ticks, in each draw (a quarter of it).

    Labels below an axis move to a fixed distance; those at its side keep their distance from the ticks, which
    may be wide or narrow, unless there is no label.
    """
    below = ScaledTranslation(0, -XLABEL_DISTANCE / 72, figure.dpi_scale_trans)
    for ax in figure.axes:
        if ax.xaxis.get_label_position() == "bottom":
            ax.xaxis.set_label_coords(0.5, 0, transform=ax.transAxes + below)
        if not ax.get_ylabel():
            ax.yaxis.set_label_coords(-0.1, 0.5)


@styled
def png(figure: Figure, dpi: float = SCREEN_DPI) -> bytes:
    """The figure as PNG: 960 x 540 pixels at the screen's 75 dots per inch, quick rather than small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()
