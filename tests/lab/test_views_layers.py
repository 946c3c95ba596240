"""The views of a network's layers, on made-up histories and on the numbers of a small network."""

import numpy as np
import pytest
import torch

from lpsgld import formats, quantize
from lpsgld.bnn.training.probe import Numbers, histogram
from lpsgld.lab.views.networks import layers as views
from tests.lab.checking import check_view


@pytest.fixture(scope="module")
def history():
    def shares(layer, epoch):
        floor = 1 / (layer + epoch)
        return [0.1, 0.9 - 0.9 * floor, 0.9 * floor, 0.5, 10.0 ** (layer - epoch)]

    names = ["conv1.weight", "blocks.0.conv1.weight", "linear.weight"]
    rows = [{"epoch": e, "branches": {name: shares(i + 1, e) for i, name in enumerate(names)}} for e in (1, 2, 4, 8)]
    return [*rows[:2], {"epoch": 3}, *rows[2:]]


@pytest.fixture(scope="module")
def told():
    generator = torch.Generator().manual_seed(0)

    def of(fmt, scale):
        parsed = formats.parse(fmt)
        x = scale * torch.randn(20, 30, generator=generator)
        return histogram(quantize(x, parsed, generator=generator), parsed)

    return {
        "conv1": Numbers(of("fixed(8,6)", 0.3), of("fixed(8,6)", 0.01), of("full", 1.0)),
        "linear": Numbers(of("block(8,0)", 1e-3), of("float(4,3)", 1.0), of("block(4,0)", 1.0)),
    }


def test_all_corners(history, told):
    for view in (views.branches(history), views.numbers(told)):
        check_view(view)


def test_the_bars_are_the_shares_of_that_epoch(history):
    view = views.branches(history)
    _, artists = view.build(shown="variance kept", epoch=8)
    readout = view.update(artists, shown="variance kept", epoch=2)
    told = list(history[1]["branches"].values())
    for branch, name in enumerate(("spline", "correction", "floor")):
        assert [bar.get_width() for bar in artists[name]] == pytest.approx([row[branch] for row in told])
        assert readout[name] == pytest.approx(np.mean([row[branch] for row in told]))
    ends = [bar.get_x() + bar.get_width() for bar in artists["floor"]]
    assert ends == pytest.approx([1, 1, 1])


def test_the_map_skips_epochs_that_were_not_looked_at(history):
    view = views.branches(history)
    assert view.controls[1].values == (1, 2, 4, 8)
    _, artists = view.build(shown="variance kept", epoch=1)
    kept = [[sum(row["branches"][name][:2]) for row in history if "branches" in row] for name in history[0]["branches"]]
    assert np.allclose(artists["map"].get_array(), kept)
    view.update(artists, shown="v / v0", epoch=1)  # log10 from -4 to 0
    assert artists["map"].get_array()[0].tolist() == pytest.approx([1.0, 0.75, 0.25, 0.0])


def test_the_numbers_are_the_histograms(told):
    view = views.numbers(told)
    _, artists = view.build(layer="linear")
    readout = view.update(artists, layer="conv1")
    values, edges, _ = artists["weights"].get_data()
    assert values * 600 == pytest.approx(told["conv1"].weights.counts.numpy())
    assert (edges[0], edges[-1], len(values)) == (-128.5, 127.5, 256)
    assert readout["gradients rounded to 0"] == told["conv1"].gradients.zero > 0.1
    assert artists["activations said"].get_text().startswith("full")
