"""Parameters in stacks: the same step as one by one, and still parameters."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lpsgld import SGHMC, SGLD, formats, quantize
from lpsgld.bnn.network import models
from lpsgld.samplers import optimizer
from lpsgld.samplers.stacks import Stacks
from tests.checks import assert_mean

BLOCK = formats.parse("block(8,0)")


@pytest.fixture
def stacked(monkeypatch):
    """An optimizer that steps in stacks on the CPU, without the compiler."""
    monkeypatch.setattr(optimizer, "_fused", lambda step, device: step)
    made = dict(lr=0.5, num_data=100, compile=True)
    return lambda params, sampler=SGLD, **options: sampler(params, **made | options)


def network() -> nn.Module:
    torch.manual_seed(0)
    net = models.build("resnet10", (3, 8, 8), 10, width=4).to(memory_format=torch.channels_last)
    for p in net.parameters():
        p.grad = torch.randn_like(p)
    return net


def test_resnet_18_takes_a_step_in_ten_stacks():
    params = list(models.build("resnet18", (3, 32, 32), 10).to(memory_format=torch.channels_last).parameters())
    assert len(params) == 62
    for p in params:
        p.grad = torch.zeros_like(p)
    assert len(Stacks(params, [{}] * 62, 0).tensors()) == 10
    assert len(Stacks(params, [{}] * 62, None).tensors()) == 1
    assert len(Stacks(params, [{}] * 62, -1).tensors()) == 62


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
@pytest.mark.parametrize("weight", [None, "float(8,23)"], ids=["θ alone", "θ and Q(θ)"])
def test_without_randomness_the_step_is_the_same_bit_for_bit(stacked, weight, sampler):
    """float(8,23) holds what a network needs of float32, so that rounding changes nothing. One parameter has no
    gradient, one has a gradient in another layout."""
    nets, fmt = (network(), network()), weight and formats.parse(weight)
    for net, make in zip(nets, (sampler, partial(stacked, sampler=sampler)), strict=True):
        net.conv1.weight.grad = None
        net.blocks[0].conv1.weight.grad = net.blocks[0].conv1.weight.grad.contiguous()
        optimizer = make(net.parameters(), lr=0.5, num_data=100, temperature=0.0, weight_decay=0.01, weight=fmt)
        for lr in (0.5, 0.25):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(one, other) and one.stride() == other.stride()


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
@pytest.mark.parametrize("name", ["block(8,0)", "block(8,-1)", "fixed(8,8)"])
def test_blocks_are_cut_as_for_each_parameter_alone(stacked, name, accumulator, sampler):
    """Rows of very different size in one stack: each stays on the grid that its own block gives it."""
    torch.manual_seed(0)
    fmt = formats.parse(name)
    params = [nn.Parameter(scale * torch.rand(3, 40)) for scale in (1.0, 1e-3)] + [nn.Parameter(torch.rand(5))]
    optimizer = stacked(params, sampler, temperature=1e-4, weight=fmt, grad=fmt, accumulator=accumulator)
    for p in params:
        p.grad = 0.5 * p.detach()
    before = [p.detach().clone() for p in params]
    optimizer.step()
    for p, old in zip(params, before, strict=True):
        assert torch.equal(quantize(p, fmt, "nearest"), p) and not torch.equal(p, old)


def test_a_stacked_step_has_the_mean_and_the_variance_of_q_vc(stacked):
    """8 checks at a false-alarm rate of 1e-7 each; v > v0 in the first row, v < v0 in the second."""
    torch.manual_seed(0)
    params = [nn.Parameter(quantize(torch.tensor([[0.75], [96.0]]).repeat(1, 50_000), BLOCK)) for _ in range(2)]
    variance = 2 * 0.5 * 1e-2 / 100
    optimizer = stacked(params, temperature=1e-2, weight=BLOCK, accumulator="vc")
    for p in params:
        p.grad = torch.full_like(p, 0.02)
    before = [p.detach().clone() for p in params]
    optimizer.step()
    for p, old in zip(params, before, strict=True):
        for new, mean in zip(p.detach().double(), (old - 0.5 * 0.02)[:, 0].double(), strict=True):
            gap = 2.0 ** (math.floor(math.log2(mean)) - 6)
            f = float(mean) / gap % 1
            expected = max(variance, f * (1 - f) * gap**2)
            assert_mean(new, float(mean), math.sqrt(expected))
            square = (new - mean) ** 2
            assert_mean(square, expected, float(square.std()))


def test_parameters_that_were_moved_or_loaded_are_stacked_again(stacked):
    net = network()
    optimizer = stacked(net.parameters(), temperature=0.0, weight=formats.parse("fixed(8,8)"))
    optimizer.step()
    first = optimizer._stacks[0]
    optimizer.step()
    assert optimizer._stacks[0] is first
    net.to(torch.float64).to(torch.float32)  # new memory for every parameter
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    held = [p.detach().clone() for p in net.parameters()]
    optimizer.step()
    second = optimizer._stacks[0]
    assert second is not first
    moved = [(p - old).abs().max() for p, old in zip(net.parameters(), held, strict=True)]
    assert max(moved) <= 2**-8  # a zero gradient: θ stays, and is rounded anew
    state = optimizer.state_dict()
    for entry in state["state"].values():
        entry["theta"] = torch.full_like(entry["theta"], 0.25)
    optimizer.load_state_dict(state)
    optimizer.step()
    assert optimizer._stacks[0] is not second
    assert all((p == 0.25).all() for p in net.parameters())
