import matplotlib as mpl
import pytest
from matplotlib import mathtext
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from lpsgld.lab import style
from tests.lab import demo

ROLES = ("target", "full", "naive", "vc", "sgld", "sgd", "bound", "reference", "pinned")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_roles_differ_in_colour_and_all_but_the_solid_ones_in_dashes(theme):
    with style.use(theme):
        roles = [style.role(name) for name in ROLES]
    assert len({role["color"] for role in roles}) == len(ROLES)
    dashes = [role["linestyle"] for role in roles if role["linestyle"] != "-"]
    assert len(set(dashes)) == len(dashes) == len(ROLES) - 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_stands_out_from_the_paper(theme):
    """Contrast of at least 2.2 for thick lines, and 7 (the strictest level of WCAG) for the ink."""
    settings = style.sheet(theme)
    with style.use(theme):
        colours = [style.color(name) for name in ROLES]
    paper = settings["figure.facecolor"]
    assert min(_contrast(colour, paper) for colour in colours) > 2.2
    assert _contrast(settings["text.color"], paper) > 7


def test_an_unknown_role_or_theme_names_the_known_ones():
    with pytest.raises(
        ValueError, match="there is no role 'vcc': choose from target, full, naive, vc, .*Did you mean \"vc\""
    ):
        style.role("vcc")
    with pytest.raises(ValueError, match="there is no theme 'blue': choose from light, dark"), style.use("blue"):
        pass


def test_overrides_win():
    assert style.role("vc", label="mine", linewidth=1)["label"] == "mine"


def test_the_style_does_not_leak():
    before = dict(mpl.rcParams)
    with style.use("dark"):
        demo.view().build(**demo.view().parameters())
    assert dict(mpl.rcParams) == before
    assert style.color("target") == "#000000"


def test_themes_nest():
    with style.use("dark"), style.use():
        assert style.color("target") == "#ffffff"


def test_a_figure_is_a_slide_and_its_text_is_legible():
    view = demo.view()
    figure, _ = view.build(**view.parameters())
    assert tuple(figure.get_size_inches()) == (12.8, 7.2)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert texts and min(text.get_fontsize() for text in texts) >= 14
    assert len(style.png(figure)) < 100_000


def test_new_figure_returns_one_axes_or_an_array_and_takes_margins():
    _, ax = style.new_figure(left=0.2)
    assert ax.get_position().x0 == pytest.approx(0.2)
    figure, axes = style.new_figure(2, 3, title="Six", sharey=True)
    assert axes.shape == (2, 3)
    assert figure.get_suptitle() == "Six"


def test_png_is_screen_size_and_deterministic():
    view = demo.view()
    first, second = (style.png(view.build(**view.parameters())[0]) for _ in range(2))
    assert first == second
    width, height = (int.from_bytes(first[at : at + 4]) for at in (16, 20))
    assert (width, height) == style.SCREEN


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_settled_labels_clear_the_ticks_and_stay_on_the_figure(scale):
    figure, ax = style.new_figure()
    ax.set(xscale=scale, xlim=(1e-4, 1e-1), xlabel="step size α", ylabel="distance")
    style.settle(figure)
    figure.draw_without_rendering()
    label = ax.xaxis.label.get_window_extent()
    ticks = [tick.get_window_extent() for tick in ax.get_xticklabels()]
    assert label.y1 < min(tick.y0 for tick in ticks) < label.y1 + 15
    assert label.y0 > 0
    assert ax.yaxis.label.get_window_extent().x1 < min(tick.get_window_extent().x0 for tick in ax.get_yticklabels())


def test_titles_keep_clear_of_the_axes_and_of_each_other():
    figure, ax = style.new_figure(title="The title of the figure")
    ax.set_title("the title of the axes")
    figure.draw_without_rendering()
    above, below = (text.get_window_extent() for text in (figure._suptitle, ax._left_title))
    assert ax.get_window_extent().y1 < below.y0 and below.y1 < above.y0 and above.y1 < figure.bbox.y1


def _contrast(a: str, b: str) -> float:
    """Contrast ratio of WCAG 2, from 1 to 21."""
    bright, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_second_picture_parses_no_formula_again(monkeypatch):
    """Each picture as SVG has a renderer of its own. The parser of formulas, and what it remembers, is everybody's."""
    parsers = []
    parse = mathtext.MathTextParser.parse

    def told(self, text, *args, **kwargs):
        parsers.append((text, id(self)))
        return parse(self, text, *args, **kwargs)

    monkeypatch.setattr(mathtext.MathTextParser, "parse", told)
    usual = mpl.text.TextToPath
    figure, ax = style.new_figure()
    ax.set(xscale="log", xlim=(1, 1e3))
    one = style.saved(figure, format="svg", metadata={"Date": None})
    assert {text for text, _ in parsers} >= {r"$\mathdefault{10^{2}}$"}
    assert style.saved(figure, format="svg", metadata={"Date": None}) == one
    assert len({parser for _, parser in parsers}) == 1
    assert mpl.text.TextToPath is usual
