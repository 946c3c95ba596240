"""Rounding, variance correction and samplers on a GPU: the CPU's bits where nothing is random, else the exact law."""

import math

import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint
from scipy import stats
from torch import nn

from lpsgld import SGLD, formats, quantize, vc_quantize
from lpsgld.bnn.training import compiling
from lpsgld.toy import chains
from lpsgld.toy.exact import stationary
from lpsgld.toy.targets import Gaussian
from tests.checks import FALSE_ALARM, assert_law, assert_mean

FIXED, BLOCK, FLOAT = FixedPoint(8, 3), BlockFloatingPoint(8, 0), FloatingPoint(4, 3)
quiet = pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # torch's advice to round what we do not


@pytest.mark.parametrize("fmt", [FIXED, BLOCK, BlockFloatingPoint(8, -1), FLOAT], ids=formats.name)
def test_nearest_rounding_is_the_cpus_bit_for_bit(device, fmt):
    x = torch.randn(64, 33, 10, 10) * torch.logspace(-6, 6, 64)[:, None, None, None]
    x[0, 0, 0, :6] = torch.tensor([0.0, -0.0, 0.0625, -0.0625, math.inf, -math.inf])
    x[1, 0, 0, 0] = math.nan
    expected = quantize(x, fmt, "nearest")
    for layout in (torch.contiguous_format, torch.channels_last):
        there = quantize(x.to(device, memory_format=layout), fmt, "nearest")
        torch.testing.assert_close(there.cpu(), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("fmt", [FIXED, BLOCK, FLOAT], ids=formats.name)
def test_stochastic_rounding_has_its_law(device, fmt):
    n, f = 200_000, torch.arange(8) / 8
    gap = {FIXED: 2.0**-3, BLOCK: 2.0**-6, FLOAT: 2.0**-3}[fmt]
    x = (1 + f * gap).expand(n, -1).contiguous().to(device)
    steps = (quantize(x, fmt).cpu() - 1) / gap
    assert ((steps == 0) | (steps == 1)).all() and (steps[:, 0] == 0).all()
    for k, share in zip(steps.sum(0), f, strict=True):
        assert stats.binomtest(int(k), n, float(share)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("fmt", [FIXED, BLOCK], ids=formats.name)
@pytest.mark.parametrize("ratio", [0.8, 5.0], ids=["v < v0", "v > v0"])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_q_vc_has_mean_and_variance(device, fmt, ratio, as_tensor):
    mu = torch.tensor([1.0, 1.02, 1.06])[:, None].expand(-1, 200_000).contiguous()
    gap = {FIXED: 2.0**-3, BLOCK: 2.0**-6}[fmt]
    v = ratio * gap**2 / 4
    drawn = vc_quantize(mu.to(device), torch.tensor(v, device=device) if as_tensor else v, fmt).cpu()
    assert torch.equal(quantize(drawn, fmt, "nearest"), drawn)
    for row, centre in zip(drawn.double(), mu[:, 0].double(), strict=True):
        f = centre / gap % 1
        expected = max(v, float(f * (1 - f)) * gap**2)
        assert_mean(row, float(centre), math.sqrt(expected))
        square = (row - centre) ** 2
        assert_mean(square, expected, float(square.std()))


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_chains_reach_the_exact_law(device, accumulator):
    """Chi-square of 20,000 chains after 600 steps from the target, at α = 0.01."""
    law = stationary(Gaussian(), 1e-2, FIXED, accumulator, 0.1, FIXED)
    start = torch.randn(20_000, device=device)
    states = chains.run(
        start, 600, Gaussian(), 1e-2, FIXED, accumulator, keep_every=600, grad=FIXED, gradient_noise=0.1
    )[-1]
    index = ((states.double().cpu() - law.points[0]) / 2.0**-3).round().long()
    assert_law(torch.bincount(index, minlength=len(law.points)).numpy(), law.probabilities)


@quiet
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
def test_a_step_of_the_optimizer_has_its_mean_and_variance(device, accumulator, compile):
    """Two parameters in one stack; v > v0. The naive variance is what rounding adds above v."""
    params = [nn.Parameter(quantize(torch.full((4, 100_000), 0.75, device=device), BLOCK)) for _ in range(2)]
    v, gap = 2 * 0.5 * 1e-2 / 100, 2.0**-7
    noise = dict(num_data=100, temperature=1e-2)
    optimizer = SGLD(params, lr=0.5, **noise, weight=BLOCK, accumulator=accumulator, compile=compile)
    for p in params:
        p.grad = torch.full_like(p, 0.02)
    optimizer.step()
    for p in params:
        new = p.detach().cpu().double().flatten()
        assert torch.equal(quantize(p, BLOCK, "nearest"), p)
        assert_mean(new, 0.74, float(new.std()))
        square = (new - 0.74) ** 2
        if accumulator == "vc":
            assert_mean(square, v, float(square.std()))
        else:
            assert v < square.mean() < v + gap**2 / 4


def test_tensor_cores_multiply_8_bit_numbers_exactly(device):
    """Sums of 288 products of 7-bit integers stay below 2^24: float32 holds them, whatever the order."""
    x = torch.randint(-127, 128, (8, 32, 16, 16)).float()
    weight = torch.randint(-127, 128, (64, 32, 3, 3)).float()
    exact = nn.functional.conv2d(x.double(), weight.double(), padding=1)
    with compiling.convolutions(True):
        x, weight = (t.to(device, memory_format=torch.channels_last) for t in (x, weight))
        found = nn.functional.conv2d(x, weight, padding=1)
    assert torch.equal(found.cpu().double(), exact)
