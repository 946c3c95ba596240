"""Under torch.compile and autocast: the same values where rounding is nearest, the same law where it is stochastic."""

import copy
import math
import shutil

import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint
from scipy import stats
from torch._inductor import metrics as inductor

from lpsgld import SGHMC, SGLD, Quantizer, formats, quantize, vc_quantize
from lpsgld.samplers import optimizer
from lpsgld.samplers.accumulators import accumulate
from tests.checks import FALSE_ALARM, assert_mean

compiler = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
pytestmark = [
    pytest.mark.skipif(compiler is None, reason="torch.compile needs a C++ compiler on the CPU (g++)"),
    pytest.mark.slow,
]

FIXED, BLOCK, FLOAT = FixedPoint(8, 3), BlockFloatingPoint(8, 0), FloatingPoint(4, 3)
FORMATS = [FIXED, BLOCK, BlockFloatingPoint(8, -1), FLOAT]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    torch.manual_seed(0)


def compiled(function):
    return torch.compile(function, fullgraph=True)


@pytest.mark.parametrize(
    "fmt", [*FORMATS, *map(formats.parse, ("e4m3", "mxfp4(block=4)", "nvfp4(block=4)"))], ids=formats.name
)
def test_nearest_rounding_is_the_same_bit_for_bit(fmt):
    x = 3 * torch.randn(4, 3, 10, 10)
    x[0, 0, 0, :4] = torch.tensor([0.0, -0.0, 0.0625, -0.0625])
    assert torch.equal(compiled(lambda x: quantize(x, fmt, "nearest"))(x), quantize(x, fmt, "nearest"))


@pytest.mark.parametrize("fmt", [FIXED, BLOCK, FLOAT], ids=formats.name)
def test_stochastic_rounding_has_its_law(fmt):
    n, f = 100_000, torch.arange(8) / 8
    gap = {FIXED: 2.0**-3, BLOCK: 2.0**-6, FLOAT: 2.0**-3}[fmt]
    x = (1 + f * gap).expand(n, -1).contiguous()
    steps = (compiled(lambda x: quantize(x, fmt))(x) - 1) / gap
    assert ((steps == 0) | (steps == 1)).all() and (steps[:, 0] == 0).all()
    for k, share in zip(steps.sum(0), f, strict=True):
        assert stats.binomtest(int(k), n, float(share)).pvalue > FALSE_ALARM


@pytest.mark.parametrize("fmt", [FIXED, BLOCK], ids=formats.name)
def test_quantizer_forward_and_backward(fmt):
    layer = Quantizer(fmt, FixedPoint(8, 5), rounding="nearest")
    x, error = torch.randn(6, 50, requires_grad=True), torch.randn(6, 50)
    y = compiled(layer)(x)
    y.backward(error)
    assert torch.equal(y, quantize(x.detach(), fmt, "nearest"))
    assert torch.equal(x.grad, quantize(error, FixedPoint(8, 5), "nearest"))


def test_stochastic_quantizer_draws_afresh_and_is_unbiased_both_ways():
    layer = compiled(Quantizer(FIXED, FIXED))
    x, error = torch.full((200_000,), 0.03, requires_grad=True), torch.full((200_000,), 0.05)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    second.backward(error)
    for drawn, mean in ((first.detach(), 0.03), (x.grad, 0.05)):
        assert set(drawn.unique().tolist()) == {0.0, 0.125}
        assert_mean(drawn, mean, math.sqrt(mean * (0.125 - mean)))


def test_a_seed_gives_the_same_bits_again():
    layer, x, results = compiled(Quantizer(BLOCK, BLOCK)), torch.randn(20, 30), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(layer(x))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_a_compiled_network_under_autocast():
    """The Quantizer sees bfloat16 there, which holds codes of up to 8 bits exactly."""
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), Quantizer(BLOCK, BLOCK), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    x = torch.randn(5, 8)
    for run in (net, compiled(net)):
        net.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = run[:2](x) if run is net else None
            out = run(x)
        assert out.dtype == torch.bfloat16 and (
            hidden is None or torch.equal(quantize(hidden, BLOCK, "nearest"), hidden)
        )
        out.float().square().sum().backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


@pytest.mark.parametrize("fmt", [FIXED, BLOCK], ids=formats.name)
@pytest.mark.parametrize("ratio", [0.8, 5.0], ids=["v < v0", "v > v0"])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_q_vc_has_mean_and_variance(fmt, ratio, as_tensor):
    mu = torch.tensor([1.0, 1.02, 1.06])[:, None].expand(-1, 200_000).contiguous()
    gap = {FIXED: 2.0**-3, BLOCK: 2.0**-6}[fmt]
    v = ratio * gap**2 / 4
    drawn = compiled(lambda mu, v: vc_quantize(mu, v, fmt))(mu, torch.tensor(v) if as_tensor else v)
    assert torch.equal(quantize(drawn, fmt, "nearest"), drawn)
    for row, centre in zip(drawn.double(), mu[:, 0].double(), strict=True):
        f = centre / gap % 1
        expected = max(v, float(f * (1 - f)) * gap**2)
        assert_mean(row, float(centre), math.sqrt(expected))
        square = (row - centre) ** 2
        assert_mean(square, expected, float(square.std()))


@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
def test_update_with_a_step_size_that_changes_does_not_compile_again(accumulator):
    """A variance given as a tensor is data, not part of the program."""
    step = compiled(lambda theta, v: accumulate(0.9 * theta, v, BLOCK, accumulator))
    theta = torch.ones(4, 100_000)
    with torch.compiler.set_stance("default"):
        first = step(theta, torch.tensor(1e-4))
    with torch.compiler.set_stance("fail_on_recompile"):
        second = step(theta, torch.tensor(2e-4))
    for drawn, v in ((first, 1e-4), (second, 2e-4)):
        assert_mean(drawn.flatten(), 0.9, float(drawn.std()))
        square = (drawn.double().flatten() - 0.9) ** 2
        if accumulator == "naive":
            assert square.mean() > v  # by what rounding adds
        else:
            assert_mean(square, v, float(square.std()))


def test_a_generator_of_ones_own_gives_the_bits_of_the_eager_network():
    x, error = torch.randn(300, 50), torch.randn(300, 50)

    def results(wrap, layer):
        run, x_in = wrap(layer), x.clone().requires_grad_()
        outs = [run(x_in) for _ in range(2)]
        outs[1].backward(error)
        return *outs, x_in.grad

    layer = Quantizer(BLOCK, FIXED, generator=torch.Generator().manual_seed(5))
    twin = copy.deepcopy(layer)
    eager, fused = results(lambda layer: layer, layer), results(compiled, twin)
    assert all(torch.equal(a, b) for a, b in zip(eager, fused, strict=True))
    assert not torch.equal(eager[0], eager[1]), "each call draws afresh"
    assert layer.generator is not twin.generator


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
def test_a_compiled_step_is_reproducible_leaves_the_default_generator_alone_and_compiles_once(accumulator, sampler):
    finals = []
    for _ in range(2):
        torch.manual_seed(1)
        net = torch.nn.Linear(20, 10)
        draws = torch.Generator().manual_seed(2)
        optimizer = sampler(
            net.parameters(), 0.1, num_data=5, weight=BLOCK, accumulator=accumulator, generator=draws, compile=True
        )
        before = torch.get_rng_state()
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.05
        with torch.compiler.set_stance("fail_on_recompile"):
            optimizer.step()
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(quantize(net.weight.detach(), BLOCK, "nearest"), net.weight)
        finals.append(net.weight.detach().clone())
    assert torch.equal(*finals)


@pytest.mark.parametrize(("fmt", "at_most"), [("fixed(8,8)", 3), ("block(8,0)", 30)])
def test_a_compiled_step_is_a_few_kernels_however_many_parameters(fmt, at_most, monkeypatch):
    """Loops of the C++ back end, as a measure of what a GPU would launch: 2 in fixed point, one for the random numbers
    and one for the step; 22 in blocks, some for each of the two shapes, since each has its own exponents to find. Here
    with loops fused, which the CPU's own steps leave (`_fused`).
    """
    monkeypatch.setattr(
        optimizer, "_fused", lambda function, device: torch.compile(function, fullgraph=True, dynamic=False)
    )
    kernels = []
    for copies in (1, 4):
        torch.compiler.reset()
        inductor.reset()
        params = [torch.nn.Parameter(torch.randn(shape)) for shape in [(16, 8, 3, 3), (10, 16)] * copies]
        sampler = SGLD(params, 0.1, num_data=5, weight=fmt, grad=fmt, accumulator="vc", compile=True)
        for p in params:
            p.grad = torch.ones_like(p)
        sampler.step()
        kernels.append(inductor.generated_kernel_count)
    assert kernels[0] == kernels[1] <= at_most
