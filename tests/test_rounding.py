"""Q^d bit for bit against qtorch, Q^s against its law, and what rounding may not do to a tensor."""

import itertools

import numpy as np
import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint
from scipy import stats

from lpsgld import Quantizer, formats, quantize, rounding, storage
from tests.checks import FALSE_ALARM, assert_law

MILLION = 1_000_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bits(x):
    return x.contiguous().view(torch.int32)


def powers_of_two(k):
    return torch.ldexp(torch.ones_like(k, dtype=torch.float32), k)


def awkward_values(gap: float, n: int = MILLION) -> torch.Tensor:
    """n float32 values around a grid: all magnitudes, ties and their neighbours, powers of two, subnormals, zeros."""
    g = generator(int(1 / gap) % 1000)
    ties = (torch.arange(-1024, 1024) + 0.5) * gap
    powers = powers_of_two(torch.arange(-149, 20))
    special = torch.cat([ties, torch.arange(-1024, 1024) * gap, powers, -powers])
    inf = torch.tensor(torch.inf)
    special = torch.cat([special, special.nextafter(inf), special.nextafter(-inf), torch.tensor([0.0, -0.0])])
    rest = n - len(special)
    smooth = torch.randn(rest // 2, generator=g) * gap * 100
    scale = powers_of_two(torch.randint(-30, 12, (rest - rest // 2,), generator=g))
    return torch.cat([special, smooth, torch.randn(len(scale), generator=g) * scale])


FIXED = [(8, 3), (8, 8), (4, 2), (16, 10), (12, 11), (2, 1)]


@pytest.mark.parametrize(("wl", "fl"), FIXED)
def test_nearest_fixed_is_qtorch(qtorch_quant, wl, fl):
    x = awkward_values(2.0**-fl)
    for clamp, symmetric in itertools.product([True, False], repeat=2):
        ours = quantize(x, FixedPoint(wl, fl, clamp, symmetric), "nearest")
        theirs = qtorch_quant.fixed_point_quantize(x, wl, fl, clamp, symmetric, rounding="nearest")
        assert torch.equal(bits(ours), bits(theirs))


SHAPES = [(-1,), (1000, -1), (10, 100, -1), (10, 5, 20, -1)]


@pytest.mark.parametrize("wl", range(2, 17))
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_nearest_block_is_qtorch(qtorch_quant, wl, dim):
    x = torch.randn(MILLION, generator=generator(wl))
    x *= powers_of_two(torch.randint(-6, 6, (MILLION,), generator=generator(wl + 100)))
    ties = torch.arange(MILLION // 10) % 2**wl + 0.5  # halves of the gap, and their neighbours
    x[: len(ties)] = ties * 2.0 ** -(wl - 2)
    x[1 : len(ties) : 3] = x[1 : len(ties) : 3].nextafter(torch.tensor(0.0))
    x[100_000:100_020] = torch.tensor([0.0, -0.0]).repeat(10)
    x[200_000:400_000] *= 2.0**-80
    for shape in SHAPES[max(dim, 0) :]:
        y = x.view(shape)
        ours = quantize(y, BlockFloatingPoint(wl, dim), "nearest")
        theirs = qtorch_quant.block_quantize(y, wl, dim, rounding="nearest")
        assert torch.equal(bits(ours), bits(theirs)), f"shape {shape}"


FLOATS = [(4, 3), (5, 2), (2, 1), (3, 4), (5, 10), (8, 7), (6, 9)]


@pytest.mark.parametrize(("exp", "man"), FLOATS)
def test_nearest_float_is_qtorch(qtorch_quant, exp, man):
    x = awkward_values(2.0**-man)
    ours = quantize(x, FloatingPoint(exp, man), "nearest")
    theirs = qtorch_quant.float_quantize(x, exp, man, rounding="nearest")
    assert torch.equal(bits(ours), bits(theirs))


# ---- where we differ from qtorch on purpose ------------------------------------------------------------------------

INFINITE = [FixedPoint(8, 3), BlockFloatingPoint(8, -1), FloatingPoint(4, 3)]


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("fmt", INFINITE, ids=formats.name)
def test_nan_stays_nan_where_qtorch_makes_it_finite(fmt, rounding):
    out = quantize(torch.tensor([torch.nan, 1.0]), fmt, rounding)
    assert out[0].isnan()
    assert out[1] == 1.0 or isinstance(fmt, BlockFloatingPoint)


def test_nan_takes_its_block_with_it_and_no_other():
    out = quantize(torch.tensor([[torch.nan, 1.0], [2.0, 1.0]]), BlockFloatingPoint(8, 0))
    assert out[0].isnan().all() and torch.equal(out[1], torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("fmt", INFINITE, ids=formats.name)
def test_infinities_saturate(fmt, rounding):
    out = quantize(torch.tensor([torch.inf, -torch.inf]), fmt, rounding)
    assert out.isfinite().all() and out[0] > 0 > out[1]
    if not isinstance(fmt, BlockFloatingPoint):
        assert torch.equal(out, quantize(torch.tensor([1e30, -1e30]), fmt))


def test_a_block_of_subnormals_keeps_its_own_exponent_where_qtorch_has_none():
    tiny = torch.arange(-127, 128) * 2.0**-145
    assert torch.equal(quantize(tiny, BlockFloatingPoint(8, -1), "nearest"), tiny)


def test_a_full_mantissa_keeps_its_sign_where_qtorch_loses_it(qtorch_quant):
    x = -torch.rand(1000, generator=generator()) - 0.1
    assert (quantize(x, FloatingPoint(8, 23), "nearest") == x).all()
    assert (qtorch_quant.float_quantize(x, 8, 23, rounding="nearest") > 0).all()


# ---- every code ----------------------------------------------------------------------------------------------------


def every_grid():
    for wl, fl, symmetric in itertools.product(range(1, 9), (1, 3, 8, 20), (False, True)):
        low = -(2 ** (wl - 1)) + symmetric
        if low < 2 ** (wl - 1):
            yield FixedPoint(wl, fl, symmetric=symmetric), torch.arange(low, 2 ** (wl - 1)) * 2.0**-fl
    for wl, e in itertools.product(range(2, 9), (-60, -1, 0, 7)):
        codes = torch.arange(-(2 ** (wl - 1)) + 1, 2 ** (wl - 1))
        yield BlockFloatingPoint(wl, -1), codes * 2.0 ** (e - (wl - 2))
    for exp, man in itertools.product(range(1, 7), range(1, 7)):
        if exp + man <= 7:
            yield FloatingPoint(exp, man), float_codes(exp, man)


def float_codes(exp: int, man: int) -> torch.Tensor:
    """All values: 2^exp exponents, the lowest of them for the subnormals, 2^man mantissas, two signs."""
    bias = 2 ** (exp - 1)
    fraction = torch.arange(2**man) * 2.0**-man
    positive = [fraction * 2.0 ** (2 - bias)] + [(1 + fraction) * 2.0**e for e in range(2 - bias, bias + 1)]
    return torch.cat([torch.cat(positive), -torch.cat(positive)])


GRIDS = list(every_grid())


@pytest.mark.parametrize(("fmt", "values"), GRIDS, ids=[formats.name(fmt) for fmt, _ in GRIDS])
def test_every_code_stays_where_it_is(fmt, values):
    assert torch.equal(quantize(values, fmt, "nearest"), values)
    for seed in range(20):
        assert torch.equal(quantize(values, fmt, generator=generator(seed)), values)


@pytest.mark.parametrize(("fmt", "values"), GRIDS, ids=[formats.name(fmt) for fmt, _ in GRIDS])
def test_rounding_takes_the_two_codes_around_a_value(fmt, values):
    """Between neighbouring codes, Q^d takes the closer one and Q^s one of the two."""
    codes = values.unique()
    codes = codes[codes.abs() < codes.abs().max()] if isinstance(fmt, BlockFloatingPoint) else codes
    for share in (0.1, 0.25, 0.4, 0.6, 0.9):
        x = codes[:-1] + share * codes.diff()
        anchored = torch.cat([x, values.abs().max()[None]])  # keeps a block's exponent
        nearest = quantize(anchored, fmt, "nearest")[:-1]
        assert torch.equal(nearest, codes[:-1] if share < 0.5 else codes[1:])
        drawn = quantize(anchored, fmt, generator=generator())[:-1]
        assert ((drawn == codes[:-1]) | (drawn == codes[1:])).all()


# ---- the law of stochastic rounding --------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", INFINITE, ids=formats.name)
def test_stochastic_rounding_is_unbiased_with_variance_f_1_minus_f(fmt):
    """At 33 positions in a cell, the upper neighbour is drawn Binomial(n, f) times: mean x, variance f(1-f)Δ²."""
    n, f = 200_000, torch.linspace(0, 1, 33)[:-1]
    gap = {FixedPoint: 2.0**-3, BlockFloatingPoint: 2.0**-6, FloatingPoint: 2.0**-3}[type(fmt)]
    x = 1 + f * gap
    drawn = quantize(x.expand(n, -1), fmt, generator=generator(3))
    steps = (drawn - 1) / gap
    assert ((steps == 0) | (steps == 1)).all()
    ups = steps.sum(dim=0)
    p = [stats.binomtest(int(k), n, float(share)).pvalue for k, share in zip(ups, f, strict=True)]
    assert min(p) > FALSE_ALARM / len(f)


def test_stochastic_rounding_clips_to_the_range():
    x = torch.tensor([100.0, -100.0, 15.95, -16.05]).expand(1000, -1)
    drawn = quantize(x, FixedPoint(8, 3), generator=generator())
    assert drawn[:, 0].eq(15.875).all() and drawn[:, 1].eq(-16).all()
    assert drawn[:, 2].eq(15.875).all() and drawn[:, 3].eq(-16).all()


@pytest.mark.parametrize("n", [5_000, 300_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_have_24_random_bits(n, dtype):
    """Few come from torch, many from three random bytes each: all uniform, and independent of the next number."""
    u = rounding.uniform_like(torch.empty(n, dtype=dtype), generator(8))
    assert u.dtype == dtype and u.min() >= 0 and u.max() < 1
    words = (u * 2**24).long()
    assert dtype == torch.float64 or torch.equal(words * 2.0**-24, u)
    pairs = (words[:-1] >> 20) * 16 + (words[1:] >> 4 & 15)
    for byte in (words & 255, words >> 8 & 255, words >> 16, pairs):
        assert_law(torch.bincount(byte, minlength=256).numpy(), np.full(256, 1 / 256))


# ---- what rounding may not do to a tensor --------------------------------------------------------------------------

ALL = [FixedPoint(8, 3), BlockFloatingPoint(8, 0), BlockFloatingPoint(8, -1), FloatingPoint(4, 3)]


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
def test_shape_dtype_and_layout_stay_and_the_input_is_not_touched(fmt, rounding):
    dense = torch.randn(4, 6, 5, 3, generator=generator())
    for x in (dense, dense.to(memory_format=torch.channels_last), dense.transpose(0, 3)):
        before = x.clone()
        y = quantize(x, fmt, rounding, generator())
        assert torch.equal(x, before) and y.stride() == x.stride()
    sliced = dense[:, ::2, :, ::2]
    assert torch.equal(quantize(sliced, fmt, "nearest"), quantize(sliced.contiguous(), fmt, "nearest"))
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        y = quantize(dense.to(dtype), fmt, rounding, generator())
        assert y.dtype == dtype and torch.equal(quantize(y, fmt, "nearest"), y)


@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
def test_a_generator_gives_the_same_bits_again(fmt):
    x = torch.randn(1000, 10, generator=generator())
    first, second = (quantize(x, fmt, generator=generator(5)) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, quantize(x, fmt, generator=generator(6)))


@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
def test_empty_and_zero_dimensional_tensors(fmt):
    assert quantize(torch.ones(0, 3), fmt).shape == (0, 3)
    assert quantize(torch.tensor(0.5), fmt) == 0.5


def test_full_precision_returns_its_argument():
    x = torch.randn(3, generator=generator())
    assert quantize(x, None) is x


def test_integers_and_unknown_roundings_are_refused():
    with pytest.raises(TypeError, match="torch.int64"):
        quantize(torch.ones(3, dtype=torch.int64), FixedPoint(8, 3))
    with pytest.raises(ValueError, match="'up'.*stochastic.*nearest"):
        quantize(torch.ones(3), FixedPoint(8, 3), "up")


# ---- the Quantizer ---------------------------------------------------------------------------------------------------


def test_quantizer_rounds_activations_forward_and_errors_backward():
    layer = Quantizer(FixedPoint(8, 3), FixedPoint(8, 5), rounding="nearest")
    x = torch.randn(100, generator=generator(), requires_grad=True)
    error = torch.randn(100, generator=generator(1))
    y = layer(x)
    y.backward(error)
    assert torch.equal(y, quantize(x.detach(), FixedPoint(8, 3), "nearest"))
    assert torch.equal(x.grad, quantize(error, FixedPoint(8, 5), "nearest"))


def test_quantizer_passes_gradients_straight_through():
    x = torch.randn(100, generator=generator(), requires_grad=True)
    Quantizer(activation=FixedPoint(4, 2))(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(100))
    x.grad = None
    Quantizer(error=FixedPoint(4, 2), rounding="nearest")(x * 1.0).backward(torch.full((100,), 0.3))
    assert torch.equal(x.grad, torch.full((100,), 0.25))


def test_quantizer_without_formats_does_nothing():
    x = torch.randn(3, generator=generator())
    assert Quantizer()(x) is x


def test_quantizer_under_autocast_and_in_a_network():
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), Quantizer(BlockFloatingPoint(8, 0), BlockFloatingPoint(8, 0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(torch.randn(5, 8, generator=generator()))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert net[0].weight.grad.isfinite().all()
    assert "block(8,0)" in repr(net)


# ---- torch.func ------------------------------------------------------------------------------------------------------

ALL_WAYS = ["fixed(8,3)", "block(8,0)", "block(8,-1)", "float(4,3)", "e4m3", "mxfp4(block=4)", "nvfp4(block=4)"]


@pytest.mark.parametrize("fmt", ALL_WAYS)
@pytest.mark.parametrize("shape", [(6, 4, 8), pytest.param((3, 400, 300), marks=pytest.mark.slow)])
def test_under_vmap_each_example_is_a_tensor_of_its_own(fmt, shape):
    x, layer = torch.randn(shape, generator=generator(1)), Quantizer(fmt, fmt, "nearest")
    assert torch.equal(torch.func.vmap(layer)(x), torch.stack([quantize(example, fmt, "nearest") for example in x]))
    drawn = torch.func.vmap(Quantizer(fmt), randomness="different")(x.expand(*x.shape))
    assert all(torch.equal(storage.unpack(storage.pack(row, fmt)), row) for row in drawn), "on the grid"


@pytest.mark.parametrize("fmt", ALL_WAYS)
def test_gradients_of_torch_func_are_those_of_backward(fmt):
    x, layer = torch.randn(5, 4, 8, generator=generator(1)), Quantizer(fmt, "fixed(8,5)", "nearest")

    def loss(x):
        return layer(x).square().sum()

    leaf = x.clone().requires_grad_()
    loss(leaf).backward()
    assert torch.equal(leaf.grad, quantize(2 * quantize(x, fmt, "nearest"), "fixed(8,5)", "nearest"))
    assert torch.equal(torch.func.grad(loss)(x), leaf.grad)
    each = torch.func.vmap(torch.func.grad(loss))(x)
    assert torch.equal(each, torch.stack([torch.func.grad(loss)(example) for example in x]))


def test_derivatives_of_derivatives_pass_straight_through():
    x, layer = torch.tensor([0.3, -1.2, 2.0]), Quantizer("fixed(8,3)", rounding="nearest")
    hessian = torch.func.jacrev(torch.func.jacrev(lambda x: layer(x).square().sum()))(x)
    assert torch.equal(hessian, 2 * torch.eye(3))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning", "ignore:`torch.jit.script`:DeprecationWarning")
def test_tangents_pass_straight_through():
    x, layer = torch.tensor([0.3, -1.2, 2.0]), Quantizer("fixed(8,3)", rounding="nearest")
    value, tangent = torch.func.jvp(lambda x: layer(x) * x, (x,), (torch.ones(3),))
    assert torch.equal(value, layer(x) * x) and torch.equal(tangent, x + layer(x))


def test_a_quantizer_with_a_generator_draws_from_it_alone():
    x = torch.randn(4, 50, generator=generator(1), requires_grad=True)
    layer, again = (Quantizer("fixed(8,3)", "fixed(8,3)", generator=generator(2)) for _ in range(2))
    before = torch.get_rng_state()
    first, second = layer(x), layer(x)
    second.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again(x), first) and torch.equal(again(x), second) and not torch.equal(first, second)


def test_a_quantizer_refuses_another_rounding():
    with pytest.raises(ValueError, match='rounding is .up., but must be "stochastic" or "nearest"'):
        Quantizer("fixed(8,3)", rounding="up")
