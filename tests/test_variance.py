"""Q^vc against Algorithm 1 as the paper states it, and against its two promises: mean μ and variance v."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint
from scipy import stats

from lpsgld import formats, quantize, vc_quantize
from lpsgld.formats import FormatError
from lpsgld.variance import BRANCHES, branches, vc_released
from tests.checks import FALSE_ALARM, assert_law, assert_mean

FORMATS = [FixedPoint(8, 3), BlockFloatingPoint(8, 0), FloatingPoint(4, 3)]
RATIOS = [0.05, 0.5, 1.0, 2.0, 10.0, 1000.0]  # v / v0


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- the law: Algorithm 1 by quadrature ------------------------------------------------------------------------------


def algorithm_1(mu: float, v: float, gap: float, codes: np.ndarray) -> np.ndarray:
    """P(θ = code · gap) for each code, from the paper's pseudocode, in float64, with ξ integrated on a fine mesh."""

    def categorical(m, w):  # probabilities of +gap, -gap, 0
        up, down = ((w + m * m + sign * m * gap) / (2 * gap * gap) for sign in (1, -1))
        return up, down, 1 - up - down

    v0 = gap**2 / 4
    probabilities = np.zeros(len(codes))

    def add(centre, weight):
        index = np.rint(centre / gap).astype(int) - codes[0]
        np.add.at(probabilities, index, weight)

    if v > v0:
        z = np.linspace(-9, 9, 400_001)
        weight = stats.norm.pdf(z)
        weight /= weight.sum()
        x = mu + np.sqrt(v - v0) * z
        nearest = np.floor(x / gap + 0.5) * gap
        r = x - nearest
        up, down, stay = categorical(np.abs(r), v0)
        add(nearest + np.sign(r) * gap, weight * up)
        add(nearest - np.sign(r) * gap, weight * down)
        add(nearest, weight * stay)
    else:
        for q, chance in ((np.floor(mu / gap), 1 - mu / gap % 1), (np.floor(mu / gap) + 1, mu / gap % 1)):
            p = abs(mu / gap - q)
            v_s = gap**2 * p * (1 - p)
            up, down, stay = categorical(0.0, v - v_s) if v > v_s else (0.0, 0.0, 1.0)
            for step, share in ((1, up), (-1, down), (0, stay)):
                add(np.array([(q + step) * gap]), np.array([chance * share]))
    return probabilities


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_b_spline_draw_has_the_law_of_algorithm_1(ratio):
    """Nine positions in a cell, two million draws each, chi-square against the categorical draw of the paper."""
    gap, n = 0.125, 2_000_000
    v = ratio * gap**2 / 4
    reach = int(10 * np.sqrt(ratio)) + 4
    for i, f in enumerate((0.0, 0.01, 0.25, 0.49, 0.5, 0.51, 0.7, 0.99, 0.37)):
        mu = torch.full((n,), (3 + f) * gap)
        drawn = vc_quantize(mu, v, FixedPoint(12, 3), generator(i))
        codes = np.arange(3 - reach, 5 + reach)
        counts = np.bincount((drawn / gap).int().numpy() - codes[0], minlength=len(codes))
        assert_law(counts, algorithm_1(float(mu[0]), v, gap, codes))


# ---- the promises: mean and variance ---------------------------------------------------------------------------------


def moments_hold(drawn: torch.Tensor, mu: torch.Tensor, v: torch.Tensor, gap: torch.Tensor, n: int) -> None:
    """drawn [n, K] against mean mu [K] and variance v [K], both within 6 standard errors in every column.

    Six standard errors are exceeded once in 5·10^8 Gaussian checks; the error of a variance is taken from the sampled
    fourth moment.
    """
    unit = ((drawn.double() - mu) / gap).numpy()
    want = (v / gap**2).expand(unit.shape[1]).numpy()
    mean = unit.mean(axis=0)
    assert (np.abs(mean) <= 6 * np.sqrt(want / n) + 1e-7).all(), (mean, want)
    square = unit**2
    error = np.sqrt(square.var(axis=0) / n)
    difference = square.mean(axis=0) - want
    assert (np.abs(difference) <= 6 * error + 2e-6 * np.maximum(want, 1)).all(), (difference, error)


# How many gaps the narrowest grid with head-room has up to |μ| + 6√v: two fewer than its codes.
ROOM = {"block(8,0)": 125, "block(8,-1)": 125, "float(4,3)": 14}


def narrowest(fmt, mu: torch.Tensor, v: float) -> torch.Tensor:
    """Its gap, a power of two, for a block (or a number) whose largest element is at mu."""
    return torch.exp2(torch.ceil(torch.log2((mu.double().abs() + 6 * v**0.5) / ROOM[formats.name(fmt)])))


def attainable(v, mu, gap):
    """The variance that Q^vc promises: v, or that of stochastic rounding where v is below it."""
    f = (mu / gap) % 1
    return torch.maximum(torch.as_tensor(v, dtype=torch.float64).expand(mu.shape), f * (1 - f) * gap**2)


@pytest.mark.parametrize("fmt", [*FORMATS, FixedPoint(16, 8)], ids=formats.name)
@pytest.mark.parametrize("ratio", RATIOS)
def test_mean_and_variance_at_every_position_in_a_cell(fmt, ratio):
    n, f = 200_000, torch.arange(32, dtype=torch.float32) / 32
    mu = 1 + f * 0.125
    gap = {FixedPoint: 0.125, BlockFloatingPoint: 2.0**-6, FloatingPoint: 0.125}[type(fmt)]
    v = ratio * gap**2 / 4
    gap = torch.tensor(2.0**-fmt.fl) if isinstance(fmt, FixedPoint) else narrowest(fmt, mu, v)
    # one block per element: the elements are drawn as columns of a [32, n] tensor, axis 0 being the block's
    drawn = vc_quantize(mu[:, None].expand(-1, n), v, fmt, generator(7)).T
    mu, gap = mu.double(), torch.as_tensor(gap, dtype=torch.float64).expand(32)
    moments_hold(drawn, mu, attainable(v, mu, gap), gap, n)


@pytest.mark.parametrize("exponent", [-20, -11, -3, 0, 3])
@pytest.mark.parametrize("ratio", RATIOS)
def test_block_exponents_from_minus_20_to_3(exponent, ratio):
    """Blocks of 64 weights whose maximum is just below, at and just above a power of two, so that noise crosses it."""
    n, fmt = 20_000, BlockFloatingPoint(8, 0)
    top = 2.0**exponent
    for edge in (1 - 2.0**-9, 1.0, 1 + 2.0**-7, 1.99):
        mu = torch.rand(64, generator=generator(1)) * 2 - 1
        mu[0] = edge
        mu = mu * top
        v = ratio * (top * 2.0**-6) ** 2 / 4
        drawn = vc_quantize(mu.expand(n, 64), v, fmt, generator(11))
        gap = narrowest(fmt, mu.abs().max(), v)
        moments_hold(drawn, mu.double(), attainable(v, mu.double(), gap), gap.expand(64), n)
        assert torch.equal(quantize(drawn, fmt, "nearest"), drawn), "what was drawn lies on the format's own grid"


def test_blocks_of_zeros_and_one_dimensional_parameters():
    n, v = 200_000, 1e-4
    for fmt, shape in ((BlockFloatingPoint(8, 0), (n, 2)), (BlockFloatingPoint(8, -1), (n, 2))):
        drawn = vc_quantize(torch.zeros(shape), v, fmt, generator())
        gap = narrowest(fmt, torch.zeros(()), v)
        moments_hold(drawn, torch.zeros(2).double(), torch.full((2,), v).double(), gap.expand(2), n)
    bias = vc_quantize(torch.full((n,), 0.3), v, BlockFloatingPoint(8, 0), generator())  # a block for each element
    gap = narrowest(BlockFloatingPoint(8, 0), torch.full((1,), 0.3), v)
    moments_hold(bias[:, None], torch.tensor([0.3]).double(), torch.tensor([v]).double(), gap, n)
    assert (vc_quantize(torch.zeros(10, 10), 0.0, BlockFloatingPoint(8, 0)) == 0).all()


def test_without_variance_it_is_stochastic_rounding():
    mu = torch.full((200_000,), 0.3)
    drawn = vc_quantize(mu, 0.0, FixedPoint(8, 3), generator())
    share = (drawn == 0.375).double().mean()
    assert ((drawn == 0.25) | (drawn == 0.375)).all()
    assert stats.binomtest(int(share * len(mu)), len(mu), 0.4).pvalue > FALSE_ALARM


def test_clipping_at_the_ends_of_the_range():
    drawn = vc_quantize(torch.tensor([15.8, -16.0, 100.0, -100.0]).expand(1000, -1), 0.5, FixedPoint(8, 3), generator())
    assert drawn.max() == 15.875 and drawn.min() == -16.0
    assert (drawn[:, 2] == 15.875).all() and (drawn[:, 3] == -16.0).all()


# ---- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=formats.name)
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_a_variance_given_as_a_tensor_is_the_same_variance(fmt, ratio):
    """The step size may live on the device; both branches are then computed, and the same one is taken."""
    v, mu = ratio * 0.125**2 / 4, 1 + torch.rand(4, 50_000, generator=generator())
    as_tensor = vc_quantize(mu, torch.tensor(v), fmt, generator(1))
    as_number = vc_quantize(mu, v, fmt, generator(1))
    if ratio < 1 or not isinstance(fmt, FixedPoint):
        assert torch.equal(as_tensor, as_number)  # the same random numbers in the same order
    assert abs((as_tensor - mu).var() / (as_number - mu).var() - 1) < 0.05


@pytest.mark.parametrize("variance", [1e-3, 1.0])
def test_a_number_of_numpy_is_a_number(variance):
    mu = torch.linspace(-2, 2, 100)
    drawn = [
        vc_quantize(mu, v, "fixed(8,3)", torch.Generator().manual_seed(1)) for v in (variance, np.float64(variance))
    ]
    assert torch.equal(*drawn)


def test_full_precision_adds_a_gaussian():
    drawn = vc_quantize(torch.full((100_000,), 3.0), 4.0, None, generator())
    assert stats.kstest(drawn.numpy(), "norm", args=(3, 2)).pvalue > FALSE_ALARM


def test_layout_dtype_and_input_stay():
    mu = torch.randn(4, 6, 5, 3, generator=generator()).to(memory_format=torch.channels_last)
    before = mu.clone()
    for fmt, v in itertools.product(FORMATS, (1e-4, 0.1)):
        drawn = vc_quantize(mu, v, fmt, generator())
        assert torch.equal(mu, before) and drawn.stride() == mu.stride()
        assert vc_quantize(mu.double(), v, fmt).dtype == torch.float64
        assert vc_quantize(mu.bfloat16(), v, fmt).dtype == torch.bfloat16


@pytest.mark.parametrize("variance", [-1.0, math.nan, math.inf, torch.tensor(-1e-3), torch.tensor([1.0, -1.0, 1.0])])
@pytest.mark.parametrize("fmt", ["fixed(8,3)", "block(8,-1)", None])
def test_a_variance_that_makes_no_sense(variance, fmt):
    with pytest.raises(ValueError, match="variance is .*must be a finite number ≥ 0"):
        vc_quantize(torch.ones(3), variance, fmt)


@pytest.mark.parametrize("variance", [torch.ones(1, 1), torch.ones(2), torch.ones(1, 3), torch.ones(3, 1)])
def test_a_variance_never_changes_the_shape(variance):
    with pytest.raises(ValueError, match=r"does not broadcast to \(3,\)"):
        vc_quantize(torch.ones(3), variance, "fixed(8,3)")


@pytest.mark.parametrize("variance", [torch.ones(3, dtype=torch.bool), torch.ones(3).cfloat()])
def test_a_variance_is_real(variance):
    with pytest.raises(TypeError, match="a variance of real numbers"):
        vc_quantize(torch.ones(3), variance, "fixed(8,3)")


@pytest.mark.parametrize("variance", [0.1, torch.tensor(0.1), torch.full((4,), 0.1)])
def test_a_format_without_head_room_is_refused_however_the_variance_is_given(variance):
    with pytest.raises(FormatError, match="no power of two"):
        vc_quantize(torch.ones(4), variance, "nvfp4")


@pytest.mark.parametrize("mu", [torch.ones(3).int(), torch.ones(3) > 0, torch.ones(3).cfloat(), [1.0], 1.0])
@pytest.mark.parametrize("fmt", ["fixed(8,3)", None])
def test_what_is_no_tensor_of_real_numbers_is_refused(mu, fmt):
    with pytest.raises(TypeError, match="vc_quantize needs a"):
        vc_quantize(mu, 0.1, fmt)


@pytest.mark.parametrize("fmt", ["fixed(12,8)", "block(12,0)", "block(12,-1)", "float(4,7)", "mxint8(block=4)", None])
def test_each_element_has_the_variance_that_is_given_for_it(fmt):
    """A large tensor, so that it is cut into pieces: 8 rows of 100,000, a variance each, and two that alternate."""
    rows = torch.arange(1, 9)[:, None] * 1e-3
    for variance in (rows, torch.tensor([0.05, 0.2]).repeat(50_000), rows.double()):
        drawn = vc_quantize(torch.full((8, 100_000), 0.3), variance, fmt, generator(5))
        wanted = variance.expand(8, 100_000).float()
        assert_mean(((drawn - 0.3).square() / wanted).flatten(), 1.0, 1.5)
        if fmt:
            assert torch.equal(quantize(drawn, fmt, "nearest"), drawn), "on one grid a block"
    one, each = (vc_quantize(torch.ones(50), v, fmt, generator(6)) for v in (0.1, torch.full((50,), 0.1)))
    assert torch.equal(one, each)


@pytest.mark.parametrize("fmt", FORMATS, ids=formats.name)
def test_nan_stays_nan(fmt):
    drawn = vc_quantize(torch.tensor([[torch.nan, 1.0], [1.0, 1.0]]), 0.01, fmt)
    assert drawn[0, 0].isnan() and drawn[1].isfinite().all()


# ---- the step of the released code -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.5, 1.0])
def test_the_released_step_is_plain_rounding_where_v_is_at_most_v0(ratio):
    """Bit for bit, whatever v is: a weight on its grid, without a drift, never moves. Q^vc gives it its variance."""
    gap, block = 2.0**-6, "block(8,0)"  # of rows whose largest number is from 1 to 2
    mu = torch.cat([torch.ones(1, 1), torch.full((1, 400_000), 20 * gap)], dim=1)
    between = torch.cat([torch.ones(1, 1), torch.full((1, 400_000), 20.3 * gap)], dim=1)
    v = ratio * gap**2 / 4
    assert torch.equal(vc_released(mu, v, block, generator(1)), mu)
    assert torch.equal(vc_released(between, v, block, generator(1)), quantize(between, block, generator=generator(1)))
    drawn = (vc_released(between, v, block, generator(2))[0, 1:] / gap).double()
    assert_mean(drawn, 20.3, 0.5)
    assert_mean((drawn - 20.3).square(), 0.3 * 0.7, 0.5)  # f(1-f), in gaps²
    corrected = (vc_quantize(mu, v, block, generator(3))[0, 1:] / gap).double()
    assert_mean((corrected - 20).square(), ratio / 4, 0.5)


@pytest.mark.parametrize("ratio", [1.01, 4.0, 100.0])
def test_the_released_step_is_right_above_v0_while_the_noise_leaves_the_grid_alone(ratio):
    """A number of 1.45 holds the exponent of its row, the others are small."""
    gap = 2.0**-6
    mu = torch.cat([torch.full((1, 1), 1.45), torch.full((1, 400_000), 10.3 * gap)], dim=1)
    drawn = (vc_released(mu, ratio * gap**2 / 4, "block(8,0)", generator(4))[0, 1:] / gap).double()
    assert_mean(drawn, 10.3, math.sqrt(ratio / 4))
    assert_mean((drawn - 10.3).square(), ratio / 4, math.sqrt(2) * ratio / 4)  # no heavier tails than a Gaussian's


def test_the_released_step_takes_its_grid_from_the_noised_value():
    """Each row is one number just below 2: noise carries half of them across, where the gap is twice as wide."""
    gap = 2.0**-6
    drawn = vc_released(torch.full((100_000, 1), 127 * gap), 100 * gap**2, "block(8,0)", generator(5))
    above = drawn > 127 * gap
    assert 0.4 < above.double().mean() < 0.6
    assert torch.equal(drawn[above] % (2 * gap), torch.zeros_like(drawn[above]))
    assert bool((drawn[~above] % (2 * gap) != 0).any())


@pytest.mark.parametrize("fmt", ["fixed(8,3)", "float(4,3)", "e4m3", "mxfp8(e4m3)", "nvfp4"])
def test_the_released_step_is_refused_where_it_is_none(fmt):
    with pytest.raises(FormatError, match='use the accumulator "vc"'):
        vc_released(torch.ones(4), 0.1, fmt)


def test_in_full_precision_the_released_step_adds_the_noise():
    assert torch.equal(
        vc_released(torch.ones(9), 0.1, None, generator()), vc_quantize(torch.ones(9), 0.1, None, generator())
    )


# ---- extreme magnitudes ----------------------------------------------------------------------------------------------

magnitudes = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    values=st.lists(magnitudes, min_size=1, max_size=20),
    v=st.floats(0, 2.0**60, width=32),
    fmt=st.sampled_from([*FORMATS, BlockFloatingPoint(3, -1), FloatingPoint(8, 7), FixedPoint(2, 1)]),
)
def test_whatever_comes_in_a_point_of_the_grid_comes_out(values, v, fmt):
    mu = torch.tensor(values)
    drawn = vc_quantize(mu[None], v, fmt, generator())
    assert drawn.isfinite().all()
    assert torch.equal(quantize(drawn, fmt, "nearest"), drawn)
    if v == 0:
        g = formats.grid(fmt, mu[None], reach=0.0)
        clipped = (mu / g.gap).clamp(g.low, g.high) * g.gap
        assert ((drawn - clipped).abs() <= g.gap).all()


# ---- which branch each element takes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=formats.name)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_branches_tell_the_variance_that_is_drawn(fmt, ratio):
    """Positions all over a cell, and blocks of several exponents. Variances within 6 standard errors."""
    n, v = 20_000, ratio * 2.0**-6 / 4
    mu = torch.cat([scale * (1 + torch.arange(16) / 16 * 0.125) for scale in (0.25, 3.9)])
    told = branches(mu[:, None], v, fmt)
    drawn = vc_quantize(mu[:, None].expand(-1, n), v, fmt, generator(3)).double() - mu[:, None].double()
    square = drawn**2
    want = told.variance.double()[:, 0]
    error = square.std(1) / n**0.5
    assert bool(((square.mean(1) - want).abs() <= 6 * error + 1e-6 * want).all())
    kept = told.branch[:, 0] < BRANCHES.index("floor")
    torch.testing.assert_close(want[kept], torch.full_like(want[kept], v), rtol=1e-6, atol=0)
    assert bool((want[~kept] > v * (1 - 1e-6)).all())
    assert torch.equal(told.branch == BRANCHES.index("spline"), told.ratio > 1)


def test_all_branches_occur_and_the_grid_is_the_one_with_head_room():
    fmt, v = BlockFloatingPoint(8, 0), 1e-6
    mu = torch.tensor([[1.0, 0.3001], [0.4, 0.05], [1e-4, 2e-5]])
    told = branches(mu, v, fmt)
    gap = torch.tensor([2.0**-6, 2.0**-8, 2.0**-14])[:, None]  # 125 of them reach beyond the row's largest + 0.006
    torch.testing.assert_close(told.ratio, (4 * v / gap**2).expand(3, 2), rtol=1e-6, atol=0)
    assert told.branch.tolist() == [[1, 2], [2, 2], [0, 0]]


def test_full_precision_has_no_branches():
    with pytest.raises(formats.FormatError):
        branches(torch.ones(3), 0.1, None)
