"""The views of notebook 13, on made-up predictions and on made-up attention; and what its notebook promises."""

import ast
import math
import re
from collections import OrderedDict
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from lpsgld import metrics, quantize
from lpsgld.bnn.studies.attending import Seen
from lpsgld.lab.views.networks import own as views
from tests.lab.checking import check_view

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def labels():
    return torch.randint(5, (12, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def kinds(labels):
    generator = torch.Generator().manual_seed(1)
    truth = 2 * torch.nn.functional.one_hot(labels, 5)
    return {
        kind: (truth + spread * torch.randn(4, 12, 8, 5, generator=generator)).softmax(-1)
        for kind, spread in (("samples", 2), ("snapshots", 1))
    }


@pytest.fixture(scope="module")
def told():
    generator = torch.Generator().manual_seed(2)
    hidden = torch.ones(9, 9, dtype=torch.bool).triu(1)
    given = (2 * torch.randn(2, 3, 9, 9, generator=generator)).masked_fill(hidden, -math.inf).softmax(-1)

    def seen(fmt, rounding):
        rounded = quantize(given, None if fmt == "full" else fmt, rounding, generator)
        return Seen(given, rounded, -(1 + (given - rounded).abs().mean()) * torch.ones(4, 9))

    return {way: {fmt: seen(fmt, way) for fmt in ("full", "fixed(8,7)", "fixed(4,3)")} for way in views.ROUNDINGS}


@pytest.fixture(scope="module")
def attention(told):
    return views.attention(told, "fixed(8,7)")


def test_all_corners(kinds, labels, attention):
    check_view(views.average(kinds, kinds["samples"][0], labels))
    check_view(attention)


def test_the_slider_averages_the_first_networks(kinds, labels):
    single = kinds["snapshots"][2]
    view = views.average(kinds, single, labels)
    _, artists = view.build(networks=1)
    readout = view.update(artists, networks=3)
    for kind, members in kinds.items():
        mean = members[:3].double().mean(0)
        assert readout[f"perplexity of {kind}"] == pytest.approx(math.exp(metrics.nll(mean, labels)))
        assert readout[f"ECE of {kind}"] == pytest.approx(metrics.ece(mean, labels))
        diagram = metrics.reliability(mean, labels)
        full = diagram.count > 0
        assert np.allclose(artists[kind].get_xydata().T, [diagram.confidence[full], diagram.accuracy[full]])
    assert readout["its ECE"] == pytest.approx(metrics.ece(single, labels))


def test_scores_of_windows(kinds, labels):
    p = kinds["samples"][0]
    assert views.nll(p, labels).mean().item() == pytest.approx(metrics.nll(p, labels))
    more = p.amax(-1).mean().item() - (1 - metrics.error(p, labels))
    assert views.surer(p, labels).mean().item() == pytest.approx(more)
    assert views.in_errors(torch.tensor([1.0, 2.0, 3.0])) == pytest.approx(2 / (1 / math.sqrt(3)))
    row = views.scores({"some name": p}, labels).splitlines()[1]
    assert row.startswith("some name") and f"{metrics.error(p, labels):.1%}" in row


def test_the_map_shows_the_weights_of_the_head_that_is_chosen(told, attention):
    start = attention.parameters()
    _, artists = attention.build(**start)
    readout = attention.update(artists, **(start | {"fmt": "fixed(4,3)", "head": "layer 2, head 3"}))
    rounded = told["nearest"]["fixed(4,3)"].rounded[1, 2]
    seen, shown = torch.ones(9, 9).tril() > 0, torch.from_numpy(np.array(artists["map"].get_array()))
    assert (shown[~seen] > 1).all() and torch.equal(shown[seen] < 1e-4, rounded[seen] == 0)
    assert torch.allclose(shown[seen & (rounded > 0)], rounded[seen & (rounded > 0)].double())
    assert np.allclose(artists["sums"].get_ydata(), rounded.double().sum(-1))
    zeros = ((rounded == 0) & seen).sum().item()
    assert artists["zero"].get_visible() and readout["weights rounded to 0"] == pytest.approx(zeros / 45) and zeros
    assert readout["largest error of a sum"] == pytest.approx((rounded.sum(-1) - 1).abs().max().item())
    more = math.exp(1 + (told["nearest"]["full"].given - told["nearest"]["fixed(4,3)"].rounded).abs().mean()) - math.e
    assert readout["more than unrounded"] == pytest.approx(more, abs=1e-5)
    attention.update(artists, **(start | {"fmt": "full"}))
    assert not artists["zero"].get_visible()


# ---- what the notebook promises ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(ROOT / "notebooks" / "13_your_own_network.ipynb", as_version=4).cells


def test_ten_lines_are_added_and_they_run(cells, tmp_path, monkeypatch):
    (shown,) = (c.source for c in cells if c.cell_type == "markdown" and "```diff" in c.source)
    lines = re.search(r"```diff\n(.*?)```", shown, re.S)[1].splitlines()
    assert sum(line.startswith("+ ") for line in lines) == 10
    code = "\n".join(line[2:] for line in lines if not line.startswith("- ")).replace("range(1, 201)", "range(1, 121)")
    assert "range(1, 121)" in code
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    parts = {"norm": torch.nn.LayerNorm(4), "head": torch.nn.Linear(4, 3)}
    net, x, y = torch.nn.Sequential(OrderedDict(parts)), torch.randn(20, 4), torch.randint(3, (20,))
    names = {
        "net": net,
        "N": 20,
        "loss": lambda net: torch.nn.functional.cross_entropy(net(x), y),
        "predict": lambda net: net(x).softmax(-1),
    }
    exec(code, names)
    assert names["posterior"].draws(names["predict"]).shape == (1, 5, 20, 3)  # steps 60, 75, 90, 105 and 120
    assert torch.allclose(names["average"].sum(-1), torch.ones(20), atol=1e-5)


def test_its_network_is_that_of_the_example(cells):
    def network(source):
        (found,) = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
        for node in ast.walk(found):
            if isinstance(node, ast.FunctionDef):
                node.returns = None
                for argument in node.args.args:
                    argument.annotation = None
        return ast.unparse(found)

    (own,) = (c.source for c in cells if c.cell_type == "code" and "class Transformer" in c.source)
    assert network(own) == network((ROOT / "examples" / "characters.py").read_text(encoding="utf-8"))
