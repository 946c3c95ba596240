"""How every figure looks: one style sheet in a light and a dark theme, and a fixed look for each role of a curve.

Matplotlib's own settings and the sheet's, nobody else's: a user's matplotlibrc, `plt.style.use` and what else is set
for the whole process changes no pixel, and what is set here is gone when the figure is drawn.

A curve is drawn by its role (`ax.plot(x, y, **role("vc"))`), so that the same accumulator has the same colour
and the same dashes in all notebooks. Colours are those of Okabe and Ito, which colour-blind readers can tell
apart; the dashes tell curves apart without any colour. What is drawn lives in `views/`.
"""

from __future__ import annotations

import contextlib
import io
import math
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import text
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.textpath import TextToPath
from matplotlib.transforms import ScaledTranslation

from lpsgld.text import one_of

Theme = Literal["light", "dark"]

ENDINGS = {"light": "", "dark": "-dark"}  # of the names of pictures

SIZE = (12.8, 7.2)  # inches, 16:9: at 150 dots per inch, a slide of 1920 x 1080 pixels
SCREEN_DPI = 75
SCREEN = (960, 540)  # pixels in a notebook
SLIDE_DPI = 150
XLABEL_DISTANCE = 30  # points from an axis to its label: room for ticks with exponents

# A backend is not for a figure to change: it would close the windows that the user has open.
_SHEET = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith(("backend", "interactive"))}
_SHEET |= mpl.rc_params_from_file(Path(__file__).with_name("lab.mplstyle"), use_default_template=False)
_PRINT = {"precision": 8, "threshold": 1000, "edgeitems": 3, "linewidth": 75, "suppress": False, "nanstr": "nan"}
_PRINT |= {"infstr": "inf", "sign": "-", "formatter": None, "floatmode": "maxprec", "legacy": False}  # numpy's own
_INK = {"light": ("#ffffff", "#1a1a1a", "#d9d9d9"), "dark": ("#16181d", "#ececec", "#3f434b")}  # paper, ink, faint ink

# role: label, colour on light, colour on dark, dashes (on, off, ... in line widths; None is solid), line width
_ROLES: dict[str, tuple[str, str, str, tuple[float, ...] | None, float]] = {
    "target": ("target", "#000000", "#ffffff", None, 2.0),
    "full": ("full-precision accumulator", "#009E73", "#009E73", (5, 1.2, 1, 1.2), 2.8),
    "naive": ("naive", "#D55E00", "#D55E00", (3.5, 1.3), 2.8),
    "vc": ("variance-corrected", "#0072B2", "#56B4E9", None, 2.8),
    "sgld": ("SGLD in float32", "#56B4E9", "#F0E442", (8, 1.5), 2.8),
    "sgd": ("SGD", "#CC79A7", "#CC79A7", (1.2, 1.2), 2.8),
    "bound": ("bound", "#E69F00", "#E69F00", (5, 1.2, 1, 1.2, 1, 1.2), 2.8),
    "reference": ("reference", "#767676", "#9a9a9a", (2.5, 1.5), 2.0),
    "pinned": ("pinned", "#5e5e5e", "#b4b4b4", (1, 0.8), 3.4),
}

_LETTERS = TextToPath()
_lock = threading.RLock()  # matplotlib's settings are global, and a front end may move sliders in another thread
_theme: ContextVar[Theme] = ContextVar("theme", default="light")


def sheet(theme: Theme) -> dict[str, Any]:
    """All matplotlib settings of a theme: its own, those of `lab.mplstyle`, a slide's size, and the theme's colours."""
    paper, ink, faint = _INK[one_of("theme", theme, _INK)]
    colours = dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), paper)
    colours |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), ink)
    colours |= {"xtick.color": ink, "ytick.color": ink, "grid.color": faint}
    return _SHEET | colours | {"figure.figsize": SIZE, "figure.dpi": SCREEN_DPI}


@contextlib.contextmanager
def use(theme: Theme | None = None) -> Iterator[None]:
    """Draw in the lab's style inside this block: in `theme`, or in that of the block around it (else light)."""
    chosen = theme or _theme.get()
    settings = sheet(chosen)
    token = _theme.set(chosen)
    try:
        with _lock, mpl.rc_context(settings), _usual_numbers():
            yield
    finally:
        _theme.reset(token)


@contextlib.contextmanager
def _usual_numbers() -> Iterator[None]:
    """What numpy and torch do unless told otherwise: views compute, and SVG writes numbers as numpy prints them."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    torch.set_default_dtype(torch.float32)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
            stack.enter_context(np.printoptions(**_PRINT))
            if device.type != "cpu":  # costs a little in each operation
                stack.enter_context(torch.device("cpu"))
            yield
    finally:
        torch.set_default_dtype(dtype)


styled = use()  # a decorator: the function draws in the lab's style, whoever calls it


def paper() -> str:
    """The colour behind everything in the current theme."""
    return _INK[_theme.get()][0]


def color(name: str) -> str:
    """The colour of a role in the current theme."""
    _, light, dark, _, _ = _ROLES[one_of("role", name, _ROLES)]
    return dark if _theme.get() == "dark" else light


def counterparts() -> dict[str, str]:
    """Each colour of the dark theme, in small letters, with the one that has its place in the light theme.

    The other way there is none: what is black on white paper is its target and also what a theme does not touch.
    """
    looks = [(dark, light) for _, light, dark, _, _ in _ROLES.values()]
    pairs = [*zip(_INK["dark"], _INK["light"], strict=True), *looks]
    return {dark.lower(): light.lower() for dark, light in pairs}


def role(name: str, **overrides: Any) -> dict[str, Any]:
    """Keyword arguments for `plot`, `stairs`, `axhline`, ...: colour, dashes, width and label of that role.

    Roles: target, full, naive, vc, sgld, sgd, bound, reference, pinned. Raises ValueError for any other.
    """
    label, _, _, dashes, width = _ROLES[one_of("role", name, _ROLES)]
    linestyle = (0, dashes) if dashes else "-"
    return {"color": color(name), "linestyle": linestyle, "linewidth": width, "label": label} | overrides


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

    `gridspec` changes the margins (left, right, bottom, top, wspace, hspace: fractions) or sets width_ratios and
    height_ratios.
    """
    figure = Figure()
    FigureCanvasAgg(figure)
    if title:
        gridspec = {"top": 0.855} | gridspec
        left = gridspec.get("left", figure.subplotpars.left)
        figure.suptitle(title, x=left, y=0.975, ha="left", va="top", fontsize=21, fontweight="bold")
    return figure, figure.subplots(rows, cols, sharex=sharex, sharey=sharey, gridspec_kw=gridspec)


def axis_end(largest: float) -> float:
    """The end of an axis that must hold `largest`, a power of two: it stays while a slider moves, or doubles."""
    return 2.0 ** math.ceil(math.log2(largest))


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


def png(figure: Figure, dpi: float = SCREEN_DPI) -> bytes:
    """The figure as PNG: 960 x 540 pixels at the screen's 75 dots per inch, quick rather than small."""
    return saved(figure, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 1})


@styled
def saved(figure: Figure, **options: Any) -> bytes:
    """What `figure.savefig` writes with these options."""
    buffer = io.BytesIO()
    with _one_parser():
        figure.savefig(buffer, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def _one_parser() -> Iterator[None]:
    """Let all pictures share one parser of formulas, which remembers them. Matplotlib makes a new one for each SVG, and
    so parses every label of a logarithmic axis anew: up to half of the time of a view's picture."""
    usual, text.TextToPath = text.TextToPath, lambda: _LETTERS
    try:
        yield
    finally:
        text.TextToPath = usual
