"""SGLD with momentum: its update, its one rounding, its law in the long run. What it shares is in the other files."""

import math

import pytest
import torch
from torch import nn

from lpsgld import SGHMC, SGLD, quantize
from lpsgld.rounding import normal_like
from lpsgld.toy.momentum import stationary
from lpsgld.toy.targets import Gaussian
from tests.checks import assert_mean
from tests.samplers.test_long_run import assert_on_law, chains, run

FORMATS = ["fixed(8,6)", "block(8,0)", "float(4,3)"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def stepped(p, optimizer, gradient):
    before = p.detach().clone()
    p.grad = torch.as_tensor(gradient).expand_as(p).clone()
    optimizer.step()
    return before, optimizer.state[p]["displacement"]


def test_two_steps_follow_the_formula_of_the_docstring():
    p = nn.Parameter(torch.randn(1000, generator=generator(1)))
    settings = dict(momentum=0.7, num_data=50, temperature=0.3, weight_decay=0.01)
    optimizer = SGHMC([p], 0.1, generator=generator(2), **settings)
    theta, w, noises = p.detach().clone(), 0, generator(2)
    for seed in (3, 4):
        g = torch.randn(1000, generator=generator(seed))
        noise = normal_like(torch.empty(1000), noises)
        w = 0.7 * w - 0.1 * (g + 0.01 * theta) + math.sqrt(2 * 0.3 * 0.1 * 0.3 / 50) * noise
        theta = theta + w
        stepped(p, optimizer, g)
    assert torch.allclose(p, theta, atol=1e-6) and torch.allclose(optimizer.state[p]["displacement"], w, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_temperature_zero_in_full_precision_is_torch_sgd_with_momentum(momentum):
    p, q = (nn.Parameter(torch.randn(100, generator=generator())) for _ in range(2))
    ours = SGHMC([p], 0.1, momentum=momentum, num_data=10, temperature=0.0, weight_decay=0.01)
    theirs = torch.optim.SGD([q], 0.1, momentum=momentum, weight_decay=0.01)
    for i in range(20):
        p.grad = q.grad = torch.randn(100, generator=generator(i))
        ours.step()
        theirs.step()
    assert torch.allclose(p, q, atol=1e-5)


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize("weight", FORMATS)
def test_without_momentum_it_is_sgld_bit_for_bit(accumulator, weight):
    finals = []
    for sampler, more in ((SGLD, {}), (SGHMC, {"momentum": 0.0})):
        p = nn.Parameter(torch.randn(20, 30, generator=generator()))
        settings = dict(num_data=100, weight_decay=0.1, weight=weight, grad=weight, accumulator=accumulator)
        optimizer = sampler([p], 0.1, generator=generator(1), **settings, **more)
        for i in range(4):
            p.grad = torch.randn(20, 30, generator=generator(i))
            optimizer.step()
        finals.append(p.detach())
    assert torch.equal(*finals)


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize("weight", FORMATS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_are_on_their_grid_and_the_displacement_is_how_far_they_came(accumulator, weight, temperature):
    """Exactly, also where a block's exponent changes: the gradient pushes the first row up through powers of two."""
    p = nn.Parameter(torch.randn(20, 30, generator=generator()))
    optimizer = SGHMC([p], 0.5, num_data=100, temperature=temperature, weight=weight, accumulator=accumulator)
    push = torch.zeros(20, 1)
    push[0] = -0.5
    for _ in range(6):
        before, displacement = stepped(p, optimizer, push)
        assert torch.equal(quantize(p.detach(), weight, "nearest"), p)
        assert torch.equal(before + displacement, p) and displacement.dtype == torch.float32
    assert weight == "fixed(8,6)" or p[0].abs().max() > 4


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_a_block_whose_largest_weight_passes_a_power_of_two_keeps_the_mean(accumulator):
    """Rows of two weights, 1.98 and 0.5, of which the first moves to 2.2: the gap doubles, both displacements have
    their means, and VC the variance that is asked for, which is above that of the wider gap."""
    n, v = 200_000, 2 * 0.1 * 0.05 * 1.0
    p = nn.Parameter(torch.tensor([1.984375, 0.5]).repeat(n, 1))
    optimizer = SGHMC([p], 0.05, num_data=1, weight="block(8,0)", accumulator=accumulator, generator=generator(5))
    optimizer.state[p]["displacement"].copy_(torch.tensor([0.25, 0.015625]))
    _, w = stepped(p, optimizer, torch.tensor([0.2, -0.3]))
    mean = 0.9 * torch.tensor([0.25, 0.015625]) - 0.05 * torch.tensor([0.2, -0.3])
    assert (w[:, 0] + 1.984375 > 2).float().mean() > 0.9
    for column, centre in zip(w.T.double(), mean.double(), strict=True):
        assert_mean(column, float(centre), float(column.std()))
        square = (column - centre) ** 2
        if accumulator == "vc":
            assert_mean(square, v, float(square.std()))
        else:
            assert square.mean() > v


def test_at_the_end_of_the_range_the_ball_stops():
    p = nn.Parameter(torch.full((100,), 15.5))
    optimizer = SGHMC([p], 0.01, num_data=1, temperature=0.0, weight="fixed(8,3)", accumulator="vc")
    _, w = stepped(p, optimizer, -100.0)
    assert (p == 15.875).all() and (w == 0.375).all()


def test_groups_may_have_their_own_momentum():
    p, q = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizer = SGHMC([{"params": [p]}, {"params": [q], "momentum": 0.5}], 1.0, num_data=1, temperature=0.0)
    for _ in range(2):
        p.grad = q.grad = torch.ones(3)
        optimizer.step()
    assert torch.allclose(p, torch.tensor(-2.9)) and torch.allclose(q, torch.tensor(-2.5))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"momentum": 1.0}, "momentum is 1.0, but must be below 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"momentum": math.nan}, "momentum is nan"),
        ({"momentum": "0.9"}, "momentum is '0.9'"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"weight": "block(2,0)", "accumulator": "vc"}, "too few codes"),
        (
            {"lr": 30.0, "weight": "fixed(8,3)"},
            "deviation of 5.48, and seven.*range of fixed.8,3., 31.875: take smaller",
        ),
    ],
)
def test_settings_that_make_no_sense(settings, says):
    p, given = nn.Parameter(torch.ones(2)), {"lr": 0.1, "num_data": 1} | settings
    with pytest.raises(ValueError, match=says):
        SGHMC([p], **given)
    with pytest.raises(ValueError, match=says):
        SGHMC([p], 0.1, num_data=1).add_param_group({"params": [nn.Parameter(torch.ones(2))], **given})
    optimizer = SGHMC([p], 0.1, num_data=1)
    if "momentum" in settings:
        p.grad = torch.ones(2)
        optimizer.param_groups[0] |= settings
        with pytest.raises(ValueError, match=says):
            optimizer.step()
        assert (p == 1).all() and not optimizer.state[p]["displacement"].any()


@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
def test_the_optimizer_samples_the_exact_law(accumulator):
    """50,000 chains of N(0, 1), whose relaxation time is 14 steps. A tenth more temperature is found out, and so is
    another friction by what rounding adds to it."""
    step, friction, num_data = 0.2, 1.0, 50
    settings = dict(num_data=num_data, weight="fixed(8,3)", accumulator=accumulator)
    law = stationary(Gaussian(), step, "fixed(8,3)", accumulator, friction)

    def sampled(**change):
        p, given = chains(), {"lr": step**2 * num_data, "momentum": 1 - friction * step} | settings | change
        optimizer = SGHMC([p], generator=generator(7), **given)
        run(optimizer, steps=200)
        if accumulator == "full":
            assert_mean(optimizer.state[p]["theta"].double() ** 2, law.std**2, 2**0.5 * law.std**2)
        else:
            assert_on_law(p, law)

    sampled()
    for change in [{"temperature": 1.1}] + [{"momentum": 0.5}] * (accumulator == "naive"):
        with pytest.raises(AssertionError):
            sampled(**change)
