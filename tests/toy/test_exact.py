"""The exact laws against the table of the method, closed forms, finer quadrature and the samplers themselves."""

import math

import numpy as np
import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint
from scipy import stats

from lpsgld.formats import FormatError
from lpsgld.toy import chains, theory
from lpsgld.toy.distances import on_grid_floor, wasserstein2
from lpsgld.toy.exact import Law, stationary, transition
from lpsgld.toy.exact.outcomes import Outcomes, compressed
from lpsgld.toy.one_step import landing
from lpsgld.toy.targets import Gaussian, LogOdds, Mixture
from tests.checks import FALSE_ALARM, assert_law

EIGHT = FixedPoint(8, 3)
TARGET = Gaussian()

# Stationary standard deviations for N(0, 1), gradient noise 0.1, Q_G stochastic in the same format.
TABLE = [(1e-2, 1.0658, 1.0025, 0.8398), (2e-3, 1.2846, 1.0005, 1.2558), (1e-4, 2.6559, 1.0000, 2.6556)]


@pytest.mark.parametrize(("alpha", "naive", "vc", "asymptote"), TABLE)
def test_the_table(alpha, naive, vc, asymptote):
    assert round(stationary(TARGET, alpha, EIGHT, "naive", 0.1, EIGHT).std, 4) == naive
    assert round(stationary(TARGET, alpha, EIGHT, "vc", 0.1, EIGHT).std, 4) == vc
    assert round(theory.naive_std(alpha, 2.0**-3), 4) == asymptote


@pytest.mark.parametrize("accumulator", ["naive", "vc", "full"])
@pytest.mark.parametrize("alpha", [1e-1, 2e-3, 1e-4])
def test_a_law_is_a_law(accumulator, alpha):
    points, probabilities = stationary(TARGET, alpha, EIGHT, accumulator, 0.1, EIGHT)
    assert points.dtype == probabilities.dtype == np.float64
    assert (np.diff(points) > 0).all() and (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)


# ---- closed forms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.3, 1e-2, 1e-3])
@pytest.mark.parametrize("target", [Gaussian(), Gaussian(0.5, 0.7)], ids=["standard", "shifted"])
def test_without_rounding_bias_the_variance_is_one_over_one_minus_half_alpha(alpha, target):
    """The unrounded chain is AR(1), with variance s²/(1 - α/(2s²)); so is VC in mean and variance, on a fine grid."""
    expected = target.std / math.sqrt(1 - alpha / (2 * target.std**2))
    vc = stationary(target, alpha, FixedPoint(9, 5), "vc")
    assert vc.mean == pytest.approx(target.mean, abs=1e-8) and vc.std == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("alpha", [0.1, 2e-3, 1e-4])
def test_second_moments_of_the_full_precision_accumulator(alpha):
    """E θ² (1 - (1-α)²) = 2α + α²·E(error²), where the error of the gradient is that of Q_W, of the noise and of Q_G.

    E f(1-f)Δ² is Δ²/6 for a θ that is spread over many cells, up to exp(-2π²/Δ²).
    """
    law = stationary(TARGET, alpha, EIGHT, "full", 0.1, FixedPoint(8, 3))
    gap2 = 2.0**-6
    noise_rounding = gap2 * sum_of_rounding_variance(0.1 / 2.0**-3)
    expected = (2 * alpha + alpha**2 * (gap2 / 6 + 0.01 + noise_rounding)) / (1 - (1 - alpha) ** 2)
    assert law.std**2 == pytest.approx(expected, rel=1e-5)


def sum_of_rounding_variance(s: float) -> float:
    """E f(1-f) for f = fractional part of sξ: its Fourier series, 1/6 - Σ cos-moment/(πk)²."""
    k = np.arange(1, 200)
    return 1 / 6 - float(np.sum(np.exp(-2 * (np.pi * k * s) ** 2) / (np.pi * k) ** 2))


@pytest.mark.parametrize("alpha", [1e-5, 1e-6])
def test_the_naive_law_approaches_its_asymptote(alpha):
    law = stationary(TARGET, alpha, FixedPoint(10, 3), "naive")
    assert law.std == pytest.approx(theory.naive_std(alpha, 2.0**-3), rel=1e-4)


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize(("alpha", "noise"), [(0.05, 0.0), (0.02, 1.0), (2e-3, 0.1), (1e-4, 0.5)])
@pytest.mark.parametrize("grad", [None, EIGHT], ids=["full gradient", "rounded gradient"])
def test_rows_have_the_mean_of_a_langevin_step_and_its_variance(accumulator, alpha, noise, grad):
    points, matrix = transition(TARGET, alpha, EIGHT, accumulator, noise, grad)
    inside = np.abs(points) < 8
    mean = matrix @ points
    assert np.allclose(mean[inside], ((1 - alpha) * points)[inside], atol=1e-11)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-12) and matrix.min() > -1e-12
    if accumulator == "vc" and 2 * alpha > EIGHT_GAP**2 / 4:
        variance = matrix @ points**2 - mean**2
        rounded = 0.0 if grad is None else EIGHT_GAP**2 * sum_of_rounding_variance(noise / EIGHT_GAP)
        if noise or grad is None:
            assert np.allclose(variance[inside], 2 * alpha + alpha**2 * (noise**2 + rounded), rtol=1e-6)


EIGHT_GAP = 2.0**-3


def test_gauss_quadrature_of_a_rounded_gradient_keeps_eleven_moments():
    rng = np.random.default_rng(0)
    values, weights = np.sort(rng.normal(size=(5, 40)), axis=1), rng.random((5, 40)) * [[1]] * 5
    weights[2, 2:] = 0  # a law of two values only
    weights /= weights.sum(axis=1, keepdims=True)
    few = compressed(Outcomes(values, weights, 0.0), smooth_below=1e3)
    assert few.values.shape == (5, 6)
    for power in range(12):
        assert np.allclose((few.values**power * few.weights).sum(1), (values**power * weights).sum(1), rtol=1e-8)


def test_compression_changes_nothing(monkeypatch):
    reference = {}
    for limit in (6, 10**6):
        monkeypatch.setattr("lpsgld.toy.exact.outcomes._NODES", limit)
        for accumulator in ("naive", "vc", "full"):
            law = stationary(TARGET, 0.01, FixedPoint(8, 4), accumulator, 0.5, FixedPoint(8, 4))
            before = reference.setdefault(accumulator, law.probabilities)
            assert np.abs(law.probabilities - before).max() < 1e-11


@pytest.mark.parametrize("ratio", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("noise", [0.04, 0.7])
def test_gaussian_noise_before_the_second_branch_by_quadrature(ratio, noise):
    """Against 100,001 equally spaced values of the noise: the corners leave less than 1e-8."""
    z = np.linspace(-8.5, 8.5, 100_001)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    codes, mean = np.arange(-9, 10), 0.3
    many = landing("vc", ratio / 4).probabilities(mean + noise * z[:, None], codes)
    assert np.abs(landing("vc", ratio / 4, noise).probabilities(mean, codes) - weights @ many).max() < 1e-8


# ---- the samplers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize("alpha", [1e-2, 2e-3, 1e-4])
@pytest.mark.parametrize("grad", [None, EIGHT], ids=["full gradient", "rounded gradient"])
def test_one_step_of_the_sampler_has_the_law_of_the_matrix(accumulator, alpha, grad):
    """300,000 chains from each of four states, one step, chi-square against that row."""
    points, matrix = transition(TARGET, alpha, EIGHT, accumulator, 0.1, grad)
    for seed, row in enumerate((128, 131, 112, 150)):
        start = torch.full((300_000,), float(points[row]))
        end = chains.step(
            start, TARGET, alpha, EIGHT, accumulator, grad=grad, gradient_noise=0.1, generator=generator(seed)
        )
        assert_law(counts_on(points, end), np.maximum(matrix[row], 0))


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_chains_forget_their_start_and_reach_the_law(accumulator):
    """20,000 independent chains from 0, 600 steps of 0.01: (1 - α)^600 = 0.002 of the start is left."""
    law = stationary(TARGET, 1e-2, EIGHT, accumulator, 0.1, EIGHT)
    last = chains.run(
        torch.zeros(20_000), 600, TARGET, 1e-2, EIGHT, accumulator,
        keep_every=600, grad=EIGHT, gradient_noise=0.1, generator=generator(1),
    )[0]  # fmt: skip
    assert_law(counts_on(law.points, last), law.probabilities)


@pytest.mark.parametrize("alpha", [0.1, 1e-2])
def test_chains_with_a_full_precision_accumulator_reach_their_law(alpha):
    law = stationary(TARGET, alpha, EIGHT, "full", 0.1, EIGHT)
    steps = int(8 / alpha)
    last = chains.run(
        torch.zeros(20_000), steps, TARGET, alpha, EIGHT, "full",
        keep_every=steps, grad=EIGHT, gradient_noise=0.1, generator=generator(2),
    )[0]  # fmt: skip
    spacing = law.points[1] - law.points[0]
    edges, cdf = law.points + spacing / 2, np.cumsum(law.probabilities)
    assert stats.kstest(last.numpy(), lambda x: np.interp(x, edges, cdf)).pvalue > FALSE_ALARM


def test_one_step_of_the_full_precision_accumulator_rounds_what_the_gradient_sees():
    """Two gaps of a coarse format: the gradient is that of 0 or of 1, the noise small enough to tell them apart."""
    end = chains.step(torch.full((100_000,), 0.25), TARGET, 1e-4, FixedPoint(2, 1), "full", generator=generator())
    jump = (0.25 - end) / 1e-4
    assert abs(jump.double().mean() - 0.25) < 5.3 * math.sqrt(2e-4 / 1e-8 + 1) / math.sqrt(100_000)


def test_run_keeps_what_it_is_asked_to():
    kept = chains.run(torch.zeros(3, 2), 10, TARGET, 0.1, EIGHT, "vc", keep_every=4, generator=generator())
    every = chains.run(torch.zeros(3, 2), 10, TARGET, 0.1, EIGHT, "vc", generator=generator())
    assert kept.shape == (2, 3, 2) and torch.equal(kept, every[3::4])
    with pytest.raises(ValueError, match="steps=0"):
        chains.run(torch.zeros(3), 0, TARGET, 0.1, EIGHT, "vc")


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
@pytest.mark.parametrize("target", [Mixture(), LogOdds(8, 2)], ids=["mixture", "coin"])
def test_one_step_on_other_targets(accumulator, target):
    points, matrix = transition(target, 5e-3, EIGHT, accumulator, 0.1, EIGHT, temperature=0.5)
    for seed, row in enumerate((120, 128, 143)):
        start = torch.full((300_000,), float(points[row]))
        end = chains.step(
            start, target, 5e-3, EIGHT, accumulator,
            grad=EIGHT, gradient_noise=0.1, temperature=0.5, generator=generator(seed),
        )  # fmt: skip
        assert_law(counts_on(points, end), np.maximum(matrix[row], 0))


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_one_step_of_sgd(accumulator):
    """Temperature 0: what noise there is comes from the gradient and from rounding."""
    points, matrix = transition(TARGET, 0.02, EIGHT, accumulator, 1.0, temperature=0.0)
    start = torch.full((300_000,), float(points[131]))
    settings = dict(gradient_noise=1.0, temperature=0.0, generator=generator())
    end = chains.step(start, TARGET, 0.02, EIGHT, accumulator, **settings)
    assert_law(counts_on(points, end), np.maximum(matrix[131], 0))


def test_a_chain_on_the_mixture_reaches_its_law():
    """Started from the law itself, it must still be there after 100 steps, on both sides of the barrier."""
    law = stationary(Mixture(), 0.02, EIGHT, "vc", 0.1, EIGHT)
    start = np.random.default_rng(0).choice(law.points, 10_000, p=law.probabilities)
    last = chains.run(
        torch.from_numpy(start).float(), 100, Mixture(), 0.02, EIGHT, "vc",
        keep_every=100, grad=EIGHT, gradient_noise=0.1, generator=generator(3),
    )[0]  # fmt: skip
    assert_law(counts_on(law.points, last), law.probabilities)


@pytest.mark.parametrize("accumulator", ["naive", "vc", "full"])
def test_langevin_at_a_temperature_samples_a_wider_gaussian(accumulator):
    """exp(-U/T) for N(0, 1) is N(0, T); full and VC keep the variance T/(1 - α/2)."""
    law = stationary(TARGET, 0.05, FixedPoint(10, 3 if accumulator == "full" else 5), accumulator, temperature=4.0)
    assert law.std == pytest.approx(2 / math.sqrt(1 - 0.05 / 2), rel=1e-3 if accumulator == "naive" else 1e-5)


def test_sgd_with_a_full_precision_accumulator():
    """Its variance is α(σ² + E f(1-f)Δ²)/(2 - α), and it has no density without a Gaussian noise."""
    law = stationary(TARGET, 0.1, FixedPoint(8, 6), "full", 1.0, temperature=0.0)
    assert law.std**2 == pytest.approx(0.1 * (1 + 2.0**-12 / 6) / (2 - 0.1), rel=1e-5)
    with pytest.raises(ValueError, match="no density"):
        stationary(TARGET, 0.1, EIGHT, "full", 1.0, EIGHT, temperature=0.0)


def test_sgd_without_noise_stops_at_a_minimum_on_the_grid():
    law = stationary(Gaussian(0.5), 0.1, EIGHT, "naive", temperature=0.0)
    assert law.mean == 0.5 and law.std == 0
    between = stationary(Gaussian(0.53125), 0.01, EIGHT, "naive", temperature=0.0)  # a quarter of a gap above 0.5
    assert between.mean == pytest.approx(0.53125) and between.std == pytest.approx(0.125 * math.sqrt(3 / 16), rel=1e-9)
    with pytest.raises(ValueError, match="more than one stationary law"):
        stationary(Mixture((-1.0, 1.0), (0.2, 0.2)), 0.001, EIGHT, "naive", temperature=0.0)


@pytest.mark.parametrize("alpha", [0.5, 1.5, 1.95])
def test_large_steps_of_langevin_in_full_precision(alpha):
    """The law is wider than the target, and the points reach as far."""
    law = stationary(TARGET, alpha, None, "full")
    assert law.std == pytest.approx(theory.sgld_std(alpha), rel=1e-10)
    assert law.probabilities[[0, -1]].max() < 1e-12


# ---- distances -------------------------------------------------------------------------------------------------------


def test_wasserstein_distance_of_two_gaussians():
    """W2(N(m, s²), N(0, 1))² = m² + (s - 1)², up to the width of the bins."""
    points = np.linspace(-12, 12, 40_001)
    fine = Law(points, stats.norm.pdf(points, 0.3, 1.2) * (points[1] - points[0]))
    assert wasserstein2(fine, TARGET) == pytest.approx(math.hypot(0.3, 0.2), abs=1e-4)
    assert wasserstein2(fine, Gaussian(0.3, 1.2)) < 1e-3


def test_wasserstein_distance_of_one_atom_is_the_second_moment():
    assert wasserstein2(Law(np.array([3.0]), np.array([1.0])), TARGET) == pytest.approx(math.sqrt(10))


def test_what_the_grid_itself_costs():
    floor = on_grid_floor(TARGET, EIGHT)
    assert floor == pytest.approx(2.0**-3 / math.sqrt(12), rel=1e-4)
    vc = wasserstein2(stationary(TARGET, 2e-3, EIGHT, "vc", 0.1, EIGHT), TARGET)
    assert floor < vc < 1.001 * floor


# ---- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: stationary(TARGET, 0.0, EIGHT, "vc"), ValueError, "alpha is 0.0"),
        (lambda: stationary(TARGET, math.nan, EIGHT, "vc"), ValueError, "alpha is nan"),
        (lambda: stationary(TARGET, 0.1, EIGHT, "vc", -1.0), ValueError, "noise is -1.0"),
        (lambda: stationary(TARGET, 0.1, EIGHT, "vc", temperature=-1.0), ValueError, "temperature is -1.0"),
        (lambda: stationary(Gaussian(std=0.01), 0.01, EIGHT, "full"), ValueError, "the chain diverges"),
        (lambda: stationary(TARGET, 0.1, EIGHT, "low"), ValueError, "'low'"),
        (lambda: transition(TARGET, 0.1, EIGHT, "low"), ValueError, "'low'"),
        (lambda: stationary(TARGET, 0.1, BlockFloatingPoint(8), "vc"), FormatError, r"block\(8,-1\).*fixed-point"),
        (lambda: stationary(TARGET, 0.1, None, "naive"), FormatError, "weight format is full"),
        (lambda: stationary(TARGET, 0.1, EIGHT, "vc", 0.1, BlockFloatingPoint(8)), FormatError, "gradient format"),
        (lambda: Gaussian(std=0.0), ValueError, "std=0.0"),
        (lambda: theory.naive_std(0.0, 0.1), ValueError, "alpha=0.0"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def counts_on(points, sample):
    gap = points[1] - points[0]
    return np.bincount(np.rint((sample.numpy() - points[0]) / gap).astype(int), minlength=len(points))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alpha": "0.1"}, "alpha is '0.1'"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"fmt": "fixed(24,20)"}, r"16,777,216 x 16,777,216 numbers, but 268,435,456 \(2 GB\) is the limit"),
        ({"grad": "fixed(24,23)", "gradient_noise": 1.0}, "is the limit"),
        ({"alpha": 1e9}, "is the limit"),
        ({"alpha": 1e9, "accumulator": "full"}, "is the limit"),
        ({"gradient_noise": 1e12}, "is the limit"),
    ],
)
def test_settings_without_sense_and_laws_beyond_the_memory_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        stationary(**{"target": Gaussian(), "alpha": 0.01, "fmt": "fixed(8,3)", "accumulator": "vc"} | arguments)


def test_a_step_size_may_be_a_tensor():
    one, other = (stationary(Gaussian(), alpha, "fixed(8,3)", "vc") for alpha in (0.25, torch.tensor(0.25)))
    assert one.std == other.std


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alpha": -1.0, "temperature": 0.0}, "alpha is -1.0"),
        ({"gradient_noise": math.nan}, "gradient_noise is nan"),
        ({"gradient_noise": -1.0}, "gradient_noise is -1.0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"start": torch.zeros(3, dtype=torch.int64), "accumulator": "full"}, "floating-point tensor"),
        ({"start": [0.0]}, "needs a tensor"),
    ],
)
def test_chains_without_sense_are_refused(arguments, says):
    given = {"start": torch.zeros(3), "steps": 2, "target": TARGET, "alpha": 0.01, "weight": EIGHT} | arguments
    with pytest.raises((ValueError, TypeError), match=says):
        chains.run(**{"accumulator": "vc"} | given)


def test_chains_that_start_in_narrow_numbers_keep_their_states_in_float32():
    """Steps of 1/1000 from 1, where bfloat16 has a gap of 1/128."""
    states = chains.run(torch.ones(4).bfloat16(), np.int64(100), TARGET, 1e-3, None, "full", temperature=0.0)
    assert states.dtype == torch.float32 and torch.allclose(states[-1], torch.tensor(0.999**100), atol=1e-5)
