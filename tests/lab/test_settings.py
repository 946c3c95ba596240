"""What a user sets for the whole process changes no pixel of a view, and what a view sets is gone afterwards."""

import warnings
from collections.abc import Callable

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import torch

from lpsgld import lab
from lpsgld.lab import style
from lpsgld.lab.figures import saving
from lpsgld.lab.views import number_formats, variance_correction
from tests.lab import demo

VIEWS = [demo.view(), number_formats.fixed_line]

SETTINGS = {
    "usetex": {"text.usetex": True},
    "layout engine": {"figure.constrained_layout.use": True},
    "automatic layout": {"figure.autolayout": True},
    "markers": {"lines.marker": "o", "lines.markersize": 20, "scatter.marker": "x"},
    "cut": {"savefig.bbox": "tight", "savefig.pad_inches": 3, "savefig.dpi": 300, "savefig.transparent": True},
    "fonts": {"font.family": "serif", "font.size": 30, "mathtext.fontset": "cm", "text.antialiased": False},
    "cycle": {"axes.prop_cycle": mpl.cycler(color=["r", "g"], marker=["o", "s"])},
    "ticks": {"axes.formatter.use_mathtext": True, "axes.formatter.use_locale": True, "xtick.minor.visible": True},
    "limits": {"axes.xmargin": 0.3, "axes.autolimit_mode": "round_numbers", "axes.unicode_minus": False},
    "grid": {"axes.grid.which": "both", "grid.linestyle": ":", "grid.alpha": 0.3, "ytick.right": True},
    "lines": {"lines.antialiased": False, "lines.scale_dashes": False, "path.sketch": (1, 100, 2)},
    "legend": {"legend.loc": "lower left", "legend.numpoints": 3, "legend.framealpha": 0.1, "legend.shadow": True},
    "paths": {"path.simplify": False, "path.snap": False, "agg.path.chunksize": 100},
    "letters in SVG": {"svg.fonttype": "none", "svg.hashsalt": "another"},
}


@pytest.fixture(scope="module")
def usual() -> dict[str, dict[str, str | bytes]]:
    """The pictures under matplotlib's own settings."""
    with mpl.rc_context(), warnings.catch_warnings():
        matplotlib.style.use("default")
        return {view.name: pictures(view) for view in VIEWS}


def pictures(view: lab.View, between: Callable[[], object] = lambda: None) -> dict[str, bytes]:
    """All ways to draw a view: moved by a slider, after something happened, and anew."""
    figure, artists = view.build(**view.parameters())
    between()
    control = view.controls[0]
    view.update(artists, **view.parameters(**{control.name: control.values[-1]}))
    anew = view.figure()
    return {"png": style.png(figure), "svg": style.saved(anew, format="svg", metadata={"Date": None})}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_user_s_settings_change_nothing(usual, view, settings):
    with mpl.rc_context(settings):
        before = dict(mpl.rcParams)
        assert pictures(view) == usual[view.name]
        assert dict(mpl.rcParams) == before
    with mpl.rc_context():  # a cell sets them while the view is open
        assert pictures(view, lambda: mpl.rcParams.update(settings)) == usual[view.name]


@pytest.mark.parametrize("name", ["dark_background", "seaborn-v0_8", "classic", "ggplot", "fast"])
def test_a_user_s_style_changes_nothing(usual, name):
    view = VIEWS[0]
    with matplotlib.style.context(name):
        assert pictures(view) == usual[view.name]


def test_a_saved_figure_is_the_same_under_other_settings():
    usual = saving._files(demo.view().figure, "05-demo", "A law", "A law")
    with mpl.rc_context({name: value for settings in SETTINGS.values() for name, value in settings.items()}):
        assert saving._files(demo.view().figure, "05-demo", "A law", "A law") == usual


def test_a_panel_moves_under_other_settings():
    usual, panel = lab.Panel(demo.view(), bits=1), lab.Panel(demo.view())
    with mpl.rc_context({"text.usetex": True, "lines.marker": "o", "figure.constrained_layout.use": True}):
        panel.pin_button.click()
        panel.pin_button.click()
        panel.controls["bits"].value = 1
    assert bytes(panel.image.value) == bytes(usual.image.value)


def test_the_backend_stays_the_user_s():
    assert not {"backend", "interactive"} & style.sheet("light").keys()


@pytest.mark.parametrize("view", [VIEWS[1], variance_correction.step], ids=lambda view: view.name)
def test_settings_of_numpy_and_torch_change_nothing_and_stay(view):
    usual = pictures(view)
    try:
        torch.set_default_dtype(torch.bfloat16)
        torch.set_default_device("meta")
        with np.errstate(all="raise"), np.printoptions(precision=2, suppress=True, legacy="1.13"):
            errors, printed = np.geterr(), np.get_printoptions()
            assert pictures(view) == usual
            assert (np.geterr(), np.get_printoptions()) == (errors, printed)
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.bfloat16, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_views_draw_where_warnings_are_errors_and_gradients_are_off(usual):
    view = VIEWS[1]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        assert pictures(view) == usual[view.name]
