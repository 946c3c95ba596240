"""Targets of several dimensions: densities, gradients, and chains against the exact covariance."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import solve_discrete_lyapunov

from lpsgld.toy import chains, momentum
from lpsgld.toy.exact import covariance, stationary
from lpsgld.toy.targets import Banana, Gaussian, MultivariateGaussian
from tests.checks import FALSE_ALARM

FLAT = MultivariateGaussian([0, 0], [[1, 0.8], [0.8, 1]])
_MIXED = np.array([[1.0, 0.4, -0.3], [0.0, 0.8, 0.5], [0.0, 0.0, 0.6]])
SPACE = MultivariateGaussian([0.5, -1.0, 2.0], _MIXED @ _MIXED.T)  # variances from 0.36 to 1.25
ALPHA = 0.1
MANY = 20_000


def assert_gaussian_moments(states: torch.Tensor, mean, cov) -> None:
    """Independent draws [N, d] have this mean and this covariance, in all their entries.

    In whitened coordinates z, means and the products z_i z_j are sums of N independent terms whose mean is known and
    whose variances are 1, and 2 for i = j: by the central limit theorem a false alarm has a probability of about
    1e-7 for each of the d + d(d + 1)/2 numbers.
    """
    z = np.linalg.solve(np.linalg.cholesky(cov), (states.double().numpy() - mean).T)
    n, eye = z.shape[1], np.eye(len(mean))
    allowed = stats.norm.isf(FALSE_ALARM / 2)
    assert (np.abs(z.sum(1)) / math.sqrt(n) < allowed).all()
    products = (z @ z.T - n * eye) / np.sqrt(n * (1 + eye))
    assert (np.abs(products) < allowed).all(), products


@pytest.mark.parametrize("target", [FLAT, Banana()], ids=["correlated", "banana"])
def test_density_covariance_and_gradient_belong_together(target):
    axis = np.linspace(-18, 18, 1201)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    mass = target.density(x) * (axis[1] - axis[0]) ** 2
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    second = np.einsum("xy,xyi,xyj->ij", mass, x, x)
    assert np.allclose(second, target.covariance, atol=1e-4)
    points = np.random.default_rng(0).normal(size=(20, 2))
    h = 1e-5 * np.eye(2)
    log = lambda at: np.log(target.density(at))  # noqa: E731
    slope = np.stack([(log(points - h[i]) - log(points + h[i])) / 2e-5 for i in range(2)], -1)
    assert np.allclose(target.gradient(points), slope, atol=1e-6)
    assert np.allclose(target.gradient(torch.from_numpy(points)).numpy(), target.gradient(points), rtol=1e-12)


def test_a_gaussian_in_space_is_scipys():
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    known = stats.multivariate_normal(SPACE.mean, SPACE.covariance)
    assert np.allclose(SPACE.density(x), known.pdf(x), rtol=1e-12)
    assert np.allclose(SPACE.gradient(x) @ SPACE.covariance, x - SPACE.mean, atol=1e-12)
    assert SPACE.gradient(torch.from_numpy(x).float()).dtype == torch.float32


# ---- exact covariances -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "temperature"), [(0.0, 1.0), (0.7, 1.0), (0.3, 0.2)])
def test_the_covariance_solves_lyapunovs_equation(noise, temperature):
    turn = np.eye(3) - ALPHA * SPACE.precision
    driven = (2 * ALPHA * temperature + ALPHA**2 * noise**2) * np.eye(3)
    assert np.allclose(covariance(SPACE, ALPHA, noise, temperature), solve_discrete_lyapunov(turn, driven), rtol=1e-10)


def test_on_one_axis_the_covariance_is_that_of_the_law_on_the_line():
    line = stationary(Gaussian(0.5, 0.7), ALPHA, None, "full", gradient_noise=0.4)
    assert covariance(MultivariateGaussian([0.5], [[0.49]]), ALPHA, 0.4)[0, 0] == pytest.approx(line.std**2, rel=1e-6)


def test_small_steps_have_the_targets_own_covariance():
    assert np.allclose(covariance(SPACE, 1e-9), SPACE.covariance, rtol=1e-7)


# ---- chains ----------------------------------------------------------------------------------------------------------


def drawn(weight, accumulator, **settings) -> torch.Tensor:
    """The last states [20000, 3] of independent chains that start at one point; (1 - α/1.9)^300 of it is left: 1e-7."""
    generator = torch.Generator().manual_seed(0)
    start = torch.tensor([3.0, 3.0, -3.0]).repeat(MANY, 1)
    settings |= {"keep_every": 300, "generator": generator}
    return chains.run(start, 300, SPACE, ALPHA, weight, accumulator, **settings)[-1]


@pytest.mark.parametrize(
    ("weight", "accumulator", "noise", "temperature"),
    [(None, "full", 0.0, 1.0), (None, "full", 0.7, 0.5), ("fixed(8,1)", "vc", 0.0, 1.0)],
    ids=["full precision", "noisy and cold", "variance-corrected"],
)
def test_chains_have_the_exact_mean_and_covariance(weight, accumulator, noise, temperature):
    """On the grid of gap 1/2, too, where 2α = 0.2 is above Δ²/4 = 0.0625."""
    states = drawn(weight, accumulator, gradient_noise=noise, temperature=temperature)
    assert_gaussian_moments(states, SPACE.mean, covariance(SPACE, ALPHA, noise, temperature))


def test_naive_rounding_on_that_grid_is_told_from_it():
    with pytest.raises(AssertionError):
        assert_gaussian_moments(drawn("fixed(8,1)", "naive"), SPACE.mean, covariance(SPACE, ALPHA))


def test_balls_roll_in_space():
    """In full precision each axis of the isotropic Gaussian is the known recursion on the line."""
    isotropic = MultivariateGaussian([0, 0, 0], np.eye(3))
    generator = torch.Generator().manual_seed(0)
    states = momentum.run(torch.ones(MANY, 3), 300, isotropic, 0.2, None, "full", keep_every=300, generator=generator)
    assert_gaussian_moments(states[-1], np.zeros(3), momentum.covariance(0.2)[0, 0] * np.eye(3))


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "cov", "says"),
    [
        ([0, 0], np.eye(3), r"mean has shape \(2,\) and the covariance \(3, 3\), but must be \[d\] and \[d, d\]"),
        (0.0, [[1.0]], r"mean has shape \(\)"),
        ([], np.zeros((0, 0)), r"mean has shape \(0,\)"),
        ([0, math.nan], np.eye(2), "must be finite"),
        ([0, 0], [[1, math.inf], [math.inf, 1]], "must be finite"),
        ([0, 0], [[1, 0.5], [0.4, 1]], r"not symmetric: entry \[0, 1\] is 0.5, but \[1, 0\] is 0.4"),
        ([0, 0], [[1, 2], [2, 1]], "not positive definite: its smallest eigenvalue is -1"),
        ([0, 0], [[1, 1], [1, 1]], "not positive definite"),
    ],
)
def test_what_is_no_gaussian_is_told(mean, cov, says):
    with pytest.raises(ValueError, match=says):
        MultivariateGaussian(mean, cov)


@pytest.mark.parametrize("target", [SPACE, Banana()], ids=["gaussian", "banana"])
@pytest.mark.parametrize("start", [torch.zeros(5, 4), torch.zeros(())], ids=["four axes", "none"])
def test_points_of_another_dimension_are_told(target, start):
    with pytest.raises(ValueError, match=r"points have shape \(.*\), but those of this target must be \[..., [23]\]"):
        chains.run(start, 1, target, ALPHA, None, "full")


def test_other_mistakes_are_told():
    with pytest.raises(ValueError, match="alpha is 0.5, but only below 0.2"):
        covariance(MultivariateGaussian([0, 0], np.diag([1, 0.1])), 0.5)
    with pytest.raises(ValueError, match="gradient_noise is -1"):
        covariance(SPACE, ALPHA, -1)
    with pytest.raises(ValueError, match="width=0.0"):
        Banana(width=0.0)
