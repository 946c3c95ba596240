"""Chains with momentum: exact laws against the table of the method, linear recursions, and the sampler itself."""

import math

import numpy as np
import pytest
import torch

from lpsgld.samplers import sghmc
from lpsgld.toy import cheng, momentum
from lpsgld.toy.momentum import chain, covariance, spectral_gap, stationary
from lpsgld.toy.targets import Gaussian, Mixture
from tests.checks import assert_law, assert_mean

TARGET = Gaussian()

# N(0, 1), fixed(8,3), friction 2, inverse mass 1: step, VC, naive
TABLE = [(0.2, 1.00631, 1.04646), (0.1, 1.00139, 1.28642), (0.05, 1.22414, 2.19261)]

# the same target in full precision, friction 2: step, right, without the covariance, with the released sign, with both
CHENG = [
    (0.5, 1.0676, 0.8660, 2.1963, 1.7218),
    (0.1, 1.0127, 0.9282, 1.1485, 1.0520),
    (0.01, 1.0013, 0.9914, 1.0139, 1.0039),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("step", "vc", "naive"), TABLE)
def test_the_table(step, vc, naive):
    assert round(stationary(TARGET, step, "fixed(8,3)", "vc").std, 5) == vc
    assert round(stationary(TARGET, step, "fixed(8,3)", "naive").std, 5) == naive


@pytest.mark.parametrize("step", [0.5, 0.2, 0.1])
@pytest.mark.parametrize(("friction", "inverse_mass"), [(2.0, 1.0), (1.0, 0.5)])
def test_full_precision_is_a_linear_recursion(step, friction, inverse_mass):
    """Also the whole covariance of (x, w), and the decay that its eigenvalues say."""
    rolling = chain(TARGET, step, None, "full", friction, inverse_mass)
    x, w = np.meshgrid(rolling.points, rolling.displacements, indexing="ij")
    exact = covariance(step, friction, inverse_mass)
    found = [[(rolling.law * a * b).sum() for a in (x, w)] for b in (x, w)]
    assert np.allclose(found, exact, atol=1e-10)
    pull, m = inverse_mass * step**2, 1 - friction * step
    decay = np.abs(np.linalg.eigvals([[1 - pull, m], [-pull, m]])).max()
    assert spectral_gap(rolling) == pytest.approx(1 - decay, rel=1e-6)


def test_where_noise_exceeds_what_rounding_has_correction_is_full_precision():
    """The second branch never acts at step 0.2: 2γη·uη² is twice Δ²/4."""
    assert stationary(TARGET, 0.2, "fixed(8,3)", "vc").std == pytest.approx(math.sqrt(covariance(0.2)[0, 0]), rel=1e-9)
    fine, coarse = (stationary(Mixture(), 0.2, fmt, kind) for fmt, kind in ((None, "full"), ("fixed(8,3)", "vc")))
    assert coarse.std == pytest.approx(fine.std, rel=1e-4)


@pytest.mark.parametrize("target", [TARGET, Mixture()], ids=["one mode", "two modes"])
@pytest.mark.parametrize("accumulator", ["vc", "naive"])
@pytest.mark.parametrize("step", [0.3, 0.05])
def test_the_law_stays_and_adds_up(target, accumulator, step):
    rolling = chain(target, step, "fixed(7,3)", accumulator)
    law = rolling.law.ravel()
    assert np.allclose(rolling.matrix.sum(axis=1), 1, atol=1e-12) and law.min() >= 0
    assert np.abs(rolling.matrix.T @ law - law).sum() < 1e-10
    assert 0 < spectral_gap(rolling) < 1


@pytest.mark.parametrize("accumulator", ["vc", "naive"])
@pytest.mark.parametrize("step", [0.2, 0.1])
def test_the_sampler_has_the_exact_law(accumulator, step):
    """50,000 independent balls after 12 times the relaxation time; the other accumulator's law is refused."""
    steps = math.ceil(12 / spectral_gap(chain(TARGET, step, "fixed(8,3)", accumulator)))
    start = torch.randn(50_000, generator=generator(1))
    end = momentum.run(start, steps, TARGET, step, "fixed(8,3)", accumulator, keep_every=steps, generator=generator(2))
    counts = np.bincount((end[0] * 8).long().numpy() + 128, minlength=256)
    assert_law(counts, stationary(TARGET, step, "fixed(8,3)", accumulator).probabilities)
    other = {"vc": "naive", "naive": "vc"}[accumulator]
    with pytest.raises(AssertionError):
        assert_law(counts, stationary(TARGET, step, "fixed(8,3)", other).probabilities)


def test_one_step_of_the_sampler_has_the_row_of_the_matrix():
    """From x = 1, w = 3 gaps: the displacement is drawn on the grid, the position is a sum."""
    step, n = 0.1, 400_000
    rolling = chain(TARGET, step, "fixed(8,3)", "vc")
    x, w = torch.ones(n), torch.full((n,), 0.375)
    end, moved = sghmc.step(x, w, x, step**2, "fixed(8,3)", "vc", momentum=0.8, generator=generator(3))
    assert torch.equal(end - x, moved)
    state = np.searchsorted(rolling.points, 1.0), np.searchsorted(rolling.displacements, 0.375)
    row = rolling.matrix[[state[0] * len(rolling.displacements) + state[1]]].toarray().reshape(rolling.law.shape)
    assert_law(np.bincount((end * 8).long().numpy() + 128, minlength=256), row.sum(axis=1))


def test_at_the_end_of_the_range_the_ball_stops():
    x = torch.full((1000,), 15.0)
    end, moved = sghmc.step(x, torch.full((1000,), 10.0), 0 * x, 0.01, "fixed(8,3)", "vc", generator=generator())
    assert (end == 15.875).all() and (moved == 0.875).all()


@pytest.mark.parametrize(("step", "right", "loose", "released", "both"), CHENG)
def test_what_the_released_code_costs(step, right, loose, released, both):
    found = [
        math.sqrt(cheng.covariance(step, correlated=c, sign=s)[0, 0])
        for c, s in ((True, -1), (False, -1), (True, 1), (False, 1))
    ]
    assert [round(std, 4) for std in found] == [right, loose, released, both]


@pytest.mark.parametrize("accumulator", ["full", "vc"])
@pytest.mark.parametrize("correlated", [True, False])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_step_of_chengs_has_that_law(accumulator, correlated, sign):
    """In a fine format, where the first branch of Q^vc always acts."""
    fmt, n, step = None if accumulator == "full" else "fixed(16,10)", 200_000, 0.5
    exact = cheng.covariance(step, correlated=correlated, sign=sign)
    random = generator(4)
    draws = torch.randn(n, 2, generator=random).double() @ torch.linalg.cholesky(torch.tensor(exact)).T
    ball = cheng.Ball(*draws.float().T)
    for _ in range(2):
        settings = {"correlated": correlated, "sign": sign, "generator": random}
        ball = cheng.step(ball, ball.position, step, fmt, accumulator, **settings)
    pairs = torch.stack(ball).double()
    for i in range(2):
        for j in range(2):
            spread = math.sqrt(exact[i, i] * exact[j, j] + exact[i, j] ** 2)
            assert_mean(pairs[i] * pairs[j], exact[i, j], spread)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"step": 0.6}, r"momentum 1 - γη is negative: take smaller steps"),
        ({"step": 0.0}, "step is 0.0"),
        ({"friction": -1.0}, "friction is -1.0"),
        ({"inverse_mass": math.nan}, "inverse_mass is nan"),
        ({"accumulator": "both"}, "'both'"),
        ({"fmt": None}, "weight format is full"),
        ({"fmt": "block(8,0)"}, "clamped fixed-point format"),
        ({"fmt": "fixed(24,10)"}, "is the limit"),
        ({"inverse_mass": 3000.0}, "standard deviation of 5.48.*whole range of fixed"),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(ValueError, match=says):
        stationary(**{"target": TARGET, "step": 0.1, "fmt": "fixed(8,3)", "accumulator": "vc"} | arguments)
    if "fmt" not in arguments:
        given = {"step": 0.1, "weight": "fixed(8,3)", "accumulator": "vc"} | arguments
        with pytest.raises(ValueError, match=says):
            momentum.run(torch.zeros(3), 2, TARGET, **given)
