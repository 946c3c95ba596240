"""What a look at a network tells, against the same things computed by hand; and that looking changes nothing."""

import math

import pytest
import torch
from torch import nn

from lpsgld import formats, quantize, vc_quantize
from lpsgld.bnn.training import loop, probe
from lpsgld.samplers.sghmc import SGHMC
from lpsgld.samplers.sgld import SGLD
from lpsgld.storage import load_sample


def a_step(weight: str, grad: str, accumulator: str, gradient: torch.Tensor, lr: float = 0.5, sampler=SGLD) -> tuple:
    layer = nn.Linear(gradient.shape[1], len(gradient), bias=False)
    with torch.no_grad():
        layer.weight.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(0))
    optimizer = sampler(
        layer.parameters(), lr, num_data=1000, temperature=1e-3, weight=formats.parse(weight), grad=formats.parse(grad),
        accumulator=accumulator,
    )  # fmt: skip
    layer.weight.grad = gradient
    return layer, optimizer


def test_shares_by_hand():
    """fixed(8,6), v/v0 = 2·0.5·1e-6/(2^-12/4) = 0.0164; a weight on the grid with gradient 0 keeps its variance, one
    pulled away by lr·2^-6, half a gap, has v0, too much."""
    gradient = torch.zeros(4, 8)
    gradient[0] = 2.0**-6
    layer, optimizer = a_step("fixed(8,6)", "fixed(8,6)", "vc", gradient)
    told = probe.told(probe.branch_shares(optimizer, {layer.weight: "w"}))
    assert told == {"w": [0.0, 0.75, 0.25, 0.75, pytest.approx(4 * 1e-6 * 2**12, rel=5e-3)]}


def test_shares_of_a_rolling_network_by_hand():
    """As above, with a tenth of the variance, since the momentum is 0.9, and weights that roll on by whole gaps; a
    displacement of five gaps becomes four and a half."""
    gradient = torch.zeros(4, 8)
    layer, optimizer = a_step("fixed(8,6)", "fixed(8,6)", "vc", gradient, sampler=SGHMC)
    optimizer.state[layer.weight]["displacement"][0] = 10 * 2.0**-6
    optimizer.state[layer.weight]["displacement"][1] = 5 * 2.0**-6
    told = probe.told(probe.branch_shares(optimizer, {layer.weight: "w"}))
    assert told == {"w": [0.0, 0.75, 0.25, 1.0, pytest.approx(0.4 * 1e-6 * 2**12, rel=5e-3)]}


@pytest.mark.slow
def test_shares_are_borne_out_by_what_is_drawn():
    """Where the floor is said to be, the variance of 4,000 draws is above v, elsewhere it is v: 6 standard errors."""
    generator = torch.Generator().manual_seed(1)
    gradient = 0.02 * torch.randn(4, 8, generator=generator)
    layer, optimizer = a_step("block(8,0)", "full", "vc", gradient, lr=0.1)
    spline, correction, floor, zero, _ = probe.branch_shares(optimizer, {layer.weight: "w"})["w"].tolist()
    mean, v = (layer.weight - 0.1 * gradient).detach(), 2 * 0.1 * 1e-6
    drawn = torch.stack([vc_quantize(mean, v, formats.parse("block(8,0)"), generator) for _ in range(4000)]).double()
    square = (drawn - mean.double()).square()
    above = square.mean(0) - v > 6 * square.std(0) / 4000**0.5
    assert spline + correction + floor == pytest.approx(1, abs=2e-3) and zero == 0
    assert 0 < above.double().mean().item() <= floor


def test_full_precision_weights_have_no_branches():
    layer, optimizer = a_step("full", "block(8,0)", "full", torch.ones(2, 3))
    assert probe.branch_shares(optimizer, {layer.weight: "w"}) == {}


def test_every_epoch_of_a_run_tells_its_branches(finished):
    for row in finished.history:
        assert set(row["branches"]) == {"hidden.weight", "linear.weight"}
        for spline, correction, floor, zero, ratio in row["branches"].values():
            assert spline + correction + floor == pytest.approx(1, abs=2e-3) and 0 <= zero <= 1 and ratio > 0


def test_branches_over_epochs_skip_those_that_were_not_looked_at():
    told = {epoch: {"a": [0.1, 0.2, 0.7, 0.0, epoch], "b": [0.5, 0.0, 0.5, 0.3, 2.0]} for epoch in (1, 3)}
    found = probe.over_epochs([{"epoch": e} | ({"branches": told[e]} if e in told else {}) for e in (1, 2, 3)])
    assert found[:2] == ((1, 3), ("a", "b"))
    spline, correction, floor, zero, ratio = found[2].tolist()
    assert floor == [[0.7, 0.7], [0.5, 0.5]] and zero == [[0, 0], [0.3, 0.3]] and ratio == [[1, 3], [2, 2]]


def test_looking_does_not_change_a_run(tmp_path, small, digits, monkeypatch):
    recipe = small.override(epochs=2, samples=1)
    looked = loop.train(recipe, tmp_path / "a", dataset=digits, progress=False, device="cpu")
    monkeypatch.setattr(probe, "branch_shares", lambda *_: {})
    monkeypatch.setattr(probe, "gradient_variance", lambda *_: torch.zeros(()))
    blind = loop.train(recipe, tmp_path / "b", dataset=digits, progress=False, device="cpu")
    assert "branches" in looked.history[0] and "branches" not in blind.history[0]
    assert looked.history[0]["gradient_variance"] > 0 == blind.history[0]["gradient_variance"]
    first, second = (load_sample(run.samples[0]).state for run in (looked, blind))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_branches_are_averaged_over_looks():
    looks = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([0.0, 0.5])}]
    assert probe.averaged(looks)["w"].tolist() == [0.5, 0.25] and probe.averaged([{}]) == probe.averaged([]) == {}


def test_the_variance_of_a_gradient_by_hand():
    """Of y = wx, d/dw is the mean of x: 2 and 5 in these batches, and half the square of 3 is 4.5. BatchNorm's
    statistics stay."""
    model, x = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False)), torch.tensor([1.0, 3, 4, 6])
    model[1].running_mean += 1

    def gradient(batch):
        model.zero_grad()
        model(x[batch][:, None])  # moves the statistics
        model[0](x[batch][:, None]).mean().backward()

    batches = torch.tensor([0, 1]), torch.tensor([2, 3])
    assert probe.gradient_variance(gradient, model, *batches).item() == pytest.approx(4.5)
    assert model[1].running_mean.item() == 1 and model[1].num_batches_tracked == 0


def test_the_noise_of_batches_in_units_of_what_is_injected():
    """lr 0.5, variance 1e-6: 2.5e-7, over 2·0.5·1e-3/1000 = 1e-6."""
    row = {"step_size": 0.5, "gradient_variance": 1e-6}
    assert probe.batch_noise(row, 1e-3, 1000) == pytest.approx(0.25) and probe.batch_noise(row, 0.0, 1000) == math.inf


@pytest.mark.parametrize("fmt", ["fixed(8,6)", "block(8,0)", "float(4,3)", "fixed(4,2)", "fixed(12,8)"])
def test_a_histogram_counts_codes(fmt):
    parsed = formats.parse(fmt)
    x = quantize(torch.randn(40, 50, generator=torch.Generator().manual_seed(0)), parsed)
    h = probe.histogram(x, parsed)
    assert h.counts.sum() == 2000 and len(h.edges) == len(h.counts) + 1 <= 257
    assert h.zero == pytest.approx((x == 0).double().mean().item(), abs=1e-6)
    if fmt in ("fixed(8,6)", "fixed(4,2)"):
        assert h.used == len(x.unique())
    if fmt == "fixed(8,6)":
        for code in (-128, -64, 0, 1, 127):
            assert h.counts[code + 128] == (x == code / 64).sum()
        assert h.clipped == pytest.approx(((x == -2) | (x == 127 / 64)).double().mean().item(), abs=1e-6)


def test_full_precision_is_counted_in_units_of_the_largest():
    h = probe.histogram(torch.tensor([-4.0, 0.0, 1.0, 2.0]), None)
    assert h.fmt == "full" and h.edges[0] == -1 and h.edges[-1] == 1
    assert h.counts.nonzero().flatten().tolist() == [0, 127, 159, 191] and h.zero == 0.25 and h.clipped == 0.25
    assert probe.histogram(torch.zeros(3), None).zero == 1


def test_the_numbers_of_every_layer(finished, digits):
    told = probe.numbers(finished, digits, device="cpu")
    assert list(told) == ["hidden", "linear"]
    weights = load_sample(finished.samples[-1]).state["hidden.weight"]
    assert told["hidden"].weights.zero == pytest.approx((weights == 0).double().mean().item(), abs=1e-6)
    assert told["hidden"].weights.counts.sum() == weights.numel() == told["hidden"].gradients.counts.sum()
    for layer in told.values():  # all three were counted on the recipe's own grid
        assert {h.fmt for h in (layer.weights, layer.gradients, layer.activations)} == {"block(8,0)"}
    assert told["linear"].activations.counts.sum() == finished.recipe.batch_size * 10


def test_layers_without_a_quantizer_behind_them_are_counted_as_they_are(tmp_path, small, digits):
    recipe = small.override(model="resnet10", width=2, epochs=1, samples=1)
    run = loop.train(recipe, tmp_path, dataset=digits, progress=False, device="cpu")
    told = probe.numbers(run, digits, device="cpu")
    assert list(told)[0] == "conv1" and list(told)[-1] == "linear" and len(told) == 1 + 8 + 3 + 1
    unrounded = [name for name, layer in told.items() if layer.activations.fmt == "full"]
    assert unrounded == [name for name in told if "shortcut" in name or name == "linear"]


def test_a_look_leaves_the_callers_random_numbers_alone(finished, digits):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    probe.numbers(finished, digits, device="cpu")
    assert torch.equal(torch.rand(1), expected)


def test_a_format_without_branches_is_left_out():
    net = torch.nn.Linear(16, 4)
    optimizer = SGLD(net.parameters(), 0.1, num_data=10, weight="nvfp4", accumulator="naive")
    net(torch.randn(8, 16)).square().mean().backward()
    assert probe.branch_shares(optimizer, {net.weight: "weight"}) == {}
