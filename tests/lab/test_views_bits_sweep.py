"""The views of notebook 07, on made-up sweeps: what they draw is what the sweeps hold."""

import pytest

from lpsgld.bnn.studies.sweep import CURVES, Settings
from lpsgld.lab.views.networks import bits_sweep as views
from tests.lab.checking import check_view
from tests.lab.made_up_sweep import made_up

SMALL = dict(networks=8, bits=(1, 2, 3, 4, 5, 6), seeds=3)


@pytest.fixture(scope="module")
def sweeps():
    return {model: made_up(Settings(model=model, **SMALL)) for model in ("logistic", "mlp")}


@pytest.mark.parametrize("make", [views.networks, views.weights, views.needed], ids=lambda make: make.__name__)
@pytest.mark.parametrize("models", [("logistic", "mlp"), ("mlp",)], ids=", ".join)
def test_all_corners(make, models, sweeps):
    check_view(make({model: sweeps[model] for model in models}))


def test_the_slider_shows_the_scores_of_so_many_networks(sweeps):
    view = views.networks(sweeps)
    _, artists = view.build(**view.parameters())
    for count, score, name in ((1, "NLL", "nll"), (4, "error", "error")):
        readout = view.update(artists, model="mlp", count=count, score=score)
        for curve in CURVES:
            expected = sweeps["mlp"].scores(*curve, name, count).mean(axis=1)
            assert artists[f"{curve[0]} {curve[1]}"].get_ydata() == pytest.approx(expected)
            assert readout[f"F = 1, {views.NAMES[curve]}"] == pytest.approx(expected[0])
        band = artists["sgld vc band"].get_paths()[0].vertices[:, 1]
        assert band.min() < expected.min() and band.max() > expected.max()


def test_bars_are_as_long_as_the_bits_needed(sweeps):
    view = views.needed(sweeps)
    _, artists = view.build(tolerance=0.01, predictions=views.USED)
    for predictions, count in ((views.AVERAGED, 8), (views.USED, None)):
        view.update(artists, tolerance=0.01, predictions=predictions)
        for curve in CURVES:
            low, found, high = (sweeps["mlp"].needed_bits(*curve, 0.01, count, errors) for errors in (-2, 0, 2))
            name = " ".join(("mlp", *curve))
            assert artists[name].patches[0].get_width() == (7 if found is None else found)
            assert list(artists[f"{name} range"].get_xdata()) == [7 if x is None else x for x in (low, high)]
    assert artists["mlp sgd naive text"].get_text() == "> 6" and artists["mlp sgld full text"].get_text() == "2"


def test_the_paper_figure_shows_one_network_of_sgd_and_the_average_of_sgld(sweeps):
    panel = views.overview(sweeps).axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in panel.lines}
    assert drawn["SGD-L"] == pytest.approx(sweeps["logistic"].scores("sgd", "naive", "nll", 1).mean(axis=1))
    assert drawn["SGLD-VC"] == pytest.approx(sweeps["logistic"].scores("sgld", "vc", "nll", 8).mean(axis=1))


def test_the_excess_of_averages_is_drawn_only_where_it_is_seen(sweeps):
    panel, sweep = views.excess(sweeps).axes[0], sweeps["logistic"]
    drawn = {bar.get_label().split()[0]: bar.lines[0].get_xydata() for bar in panel.containers}
    mean, error = sweep.excess("sgd", "full", 8)
    assert len(drawn["SGD-F"]) == (mean > 2 * error).sum() < len(drawn["SGLD-L"])
    assert drawn["SGD-F"][0] == pytest.approx([0.5, mean[0]])
    assert "SGLD-L {:.1f} ± {:.2f}".format(*sweep.power("sgld", "naive", 8)) in [
        b.get_label() for b in panel.containers
    ]


def test_two_step_sizes_have_one_panel_an_accumulator(sweeps):
    small = made_up(Settings(samplers=("sgld",), lr=0.1, **SMALL | {"bits": (2, 4)}))
    figure = views.small_steps(sweeps["logistic"], small)
    assert [list(line.get_xdata()) for line in figure.axes[0].lines[:2]] == [[1, 2, 3, 4, 5, 6], [2, 4]]
    assert len(figure.axes) == 3
