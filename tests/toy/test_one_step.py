"""One rounding and one step: closed forms against each other, rounding itself, and the exact matrices."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from lpsgld import vc_quantize
from lpsgld.toy.exact import transition
from lpsgld.toy.one_step import (
    Landing,
    dithered,
    landing,
    mean_error,
    rounding_variance,
    spline,
    squared_error,
    std_of_squares,
    step_variance,
)
from lpsgld.toy.targets import Gaussian
from tests.checks import assert_law

EIGHT, GAP = "fixed(8,3)", 2.0**-3
POSITIONS = np.array([0.0, 0.1, 0.3, 0.45, 0.8])
DEGREES = [0, 1, 2]

# ---- one rounding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", DEGREES)
def test_a_spline_is_a_law_with_these_moments(degree):
    points = np.arange(-3, 5)
    law = spline(degree, POSITIONS[:, None] - points)
    error = points - POSITIONS[:, None]
    assert np.allclose(law.sum(axis=1), 1)
    assert np.allclose((law * error).sum(axis=1), mean_error(degree, POSITIONS))
    assert np.allclose((law * error**2).sum(axis=1), squared_error(degree, POSITIONS))
    variance_of_squares = (law * error**4).sum(axis=1) - squared_error(degree, POSITIONS) ** 2
    assert np.allclose(std_of_squares(degree, POSITIONS) ** 2, variance_of_squares)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("position", POSITIONS)
def test_rounding_draws_the_spline(degree, position):
    x = torch.full((20_000,), (2 + position) * GAP, dtype=torch.float64)
    drawn = dithered(x, EIGHT, degree, torch.Generator().manual_seed(3)) / GAP - 2
    counts = np.bincount(drawn.int().numpy() + 1, minlength=4)
    assert_law(counts, spline(degree, position - np.arange(-1, 3)))


# ---- one step --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("std", [0.05, 0.4, 1.3])
@pytest.mark.parametrize("degree", DEGREES)
def test_a_landing_is_the_spline_smeared_by_a_gaussian(degree, std):
    """Against the midpoint rule, whose error at the corners of the splines is of the order of its steps."""
    codes, x = np.arange(-12, 13), np.linspace(-12, 12, 240_001)
    smeared = [spline(degree, x - code) @ norm.pdf(x, 0.3, std) * (x[1] - x[0]) for code in codes]
    assert np.allclose(Landing.of(degree, std).probabilities(0.3, codes), smeared, atol=1e-3 if degree == 0 else 1e-7)


@pytest.mark.parametrize("degree", [1, 2])
def test_a_landing_without_noise_is_the_spline(degree):
    codes = np.arange(-3, 5)
    for position in POSITIONS:
        assert np.allclose(Landing.of(degree, 0.0).probabilities(position, codes), spline(degree, position - codes))


@pytest.mark.parametrize("ratio", [0.05, 0.7, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("position", [0.0, 0.05, 0.5, 0.95])
@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_a_step_keeps_the_mean_and_has_its_variance(accumulator, position, ratio):
    codes = np.arange(-12, 14)
    law = landing(accumulator, ratio / 4).probabilities(position, codes)
    assert law.min() > -1e-12 and law.sum() == pytest.approx(1)
    assert law @ codes == pytest.approx(position, abs=1e-12)
    assert law @ (codes - position) ** 2 == pytest.approx(float(step_variance(accumulator, position, ratio / 4)))


def test_a_corrected_step_without_variance_rounds_stochastically():
    codes = np.arange(-3, 5)
    assert np.allclose(landing("vc", 0.0).probabilities(0.3, codes), spline(1, 0.3 - codes))
    assert float(step_variance("vc", 0.3, 0.0)) == pytest.approx(0.21)


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_a_corrected_step_is_what_vc_quantize_draws(ratio):
    codes = np.arange(-8, 10)
    drawn = vc_quantize(torch.full((500_000,), 0.25 / 8), ratio / 256, EIGHT, torch.Generator().manual_seed(0))
    counts = np.bincount((drawn * 8).int().numpy() + 8, minlength=len(codes))
    assert_law(counts, np.maximum(landing("vc", ratio / 4).probabilities(0.25, codes), 0))


@pytest.mark.parametrize(("accumulator", "alpha"), [("naive", 0.01), ("vc", 0.01), ("vc", 1e-3)])
def test_a_step_is_a_row_of_the_transition_matrix(accumulator, alpha):
    points, matrix = transition(Gaussian(), alpha, EIGHT, accumulator)
    row = int(np.flatnonzero(points == 1.0)[0])
    law = landing(accumulator, 2 * alpha * 64).probabilities(8 * (1 - alpha), np.arange(-30, 31))
    assert np.allclose(matrix[row, 128 - 30 : 128 + 31], law, atol=1e-12)


@pytest.mark.parametrize("position", [0.0, 0.3, 1.5])
@pytest.mark.parametrize("displacement", [0.01, 0.0999, 0.1001, 0.3, 2.0])
def test_rounding_variance_by_quadrature(displacement, position):
    delta = position + np.linspace(-12, 12, 200_001) * displacement
    inside = delta - np.floor(delta)
    weights = np.exp(-0.5 * ((delta - position) / displacement) ** 2)
    expected = (weights @ (inside * (1 - inside))) / weights.sum()
    assert float(rounding_variance(displacement, position)) == pytest.approx(expected, rel=1e-5)
