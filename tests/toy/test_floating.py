"""Exact laws on grids with unequal gaps, against those with one gap, closed forms and the rounding itself."""

import math

import numpy as np
import pytest
import torch

from lpsgld import quantize, vc_quantize
from lpsgld.toy.exact import floating, stationary
from lpsgld.toy.targets import Gaussian
from lpsgld.toy.theory import saturated_share

WITHIN = Gaussian(1.5, 0.05)  # nine standard deviations from the ends of an octave


@pytest.mark.parametrize("rounding", ["naive", "vc"])
@pytest.mark.parametrize("alpha", [1e-4, 1e-5, 3e-6])
def test_within_an_octave_bfloat16_is_a_ruler(alpha, rounding):
    law = floating.law(WITHIN, alpha, "bfloat16", rounding, 1.0, 2 - 2.0**-7)
    ruler = stationary(WITHIN, alpha, "fixed(9,7)", rounding)
    assert law.std == pytest.approx(ruler.std, rel=1e-6) and law.mean == pytest.approx(ruler.mean, rel=1e-6)


@pytest.mark.parametrize("rounding", ["naive", "nearest", "vc"])
@pytest.mark.parametrize("alpha", [1e-4, 1e-6])
def test_a_step_has_the_mean_and_variance_of_its_rounding(alpha, rounding):
    """Stochastic rounding and Q^vc keep the mean; Q^vc has the variance 2α where that is at least v0."""
    target = Gaussian(1.0, 0.1)
    points, matrix = floating.transition(target, alpha, "bfloat16", rounding, 0.25, 2.5)
    assert np.allclose(matrix.sum(1), 1)
    inside = (points > 0.6) & (points < 1.6)
    wanted = (points - alpha * target.gradient(points))[inside]
    mean = (matrix @ points)[inside]
    variance = (matrix @ points**2)[inside] - mean**2
    if rounding != "nearest":
        assert np.allclose(mean, wanted, atol=1e-9)
    if rounding == "vc" and 2 * alpha > 2.0**-16:
        assert np.allclose(variance, 2 * alpha, rtol=1e-6)
    if rounding == "naive":
        assert (variance > 2 * alpha).all()


@pytest.mark.parametrize("rounding", ["naive", "nearest", "vc"])
def test_a_row_is_what_rounding_draws(rounding):
    """Frequencies of 200,000 draws from one point next to a border of octaves, within five standard errors."""
    target, alpha, draws = Gaussian(1.0, 0.1), 1e-5, 200_000
    points, matrix = floating.transition(target, alpha, "bfloat16", rounding, 0.25, 2.5)
    start = int(np.searchsorted(points, 1 - 2.0**-7))
    mean = torch.full((draws,), points[start] - alpha * target.gradient(points[start]), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    if rounding == "vc":
        drawn = vc_quantize(mean, 2 * alpha, "bfloat16", generator)
    else:
        moved = mean + math.sqrt(2 * alpha) * torch.randn(draws, dtype=torch.float64, generator=generator)
        drawn = quantize(moved, "bfloat16", "nearest" if rounding == "nearest" else "stochastic", generator)
    found = np.bincount(np.searchsorted(points, drawn.numpy()), minlength=len(points)) / draws
    assert (np.abs(found - matrix[start]) <= 5 * np.sqrt(matrix[start] / draws) + 5 / draws).all()


def test_after_some_steps_a_law_is_between_its_start_and_its_end():
    early, late, end = (floating.law(WITHIN, 1e-4, "bfloat16", "vc", 1, 1.99, steps) for steps in (4, 4096, None))
    # an AR(1) chain: after k steps its variance is the stationary one less (1 - α/s²)^(2k) of it
    expected = end.std * math.sqrt(1 - (1 - 1e-4 / WITHIN.std**2) ** 8)
    assert early.std == pytest.approx(expected, rel=1e-6) and late.std == pytest.approx(end.std, rel=1e-6)


@pytest.mark.parametrize(("top", "block"), [(1.5, 2), (1.5, 32), (1.75, 8)])
def test_the_share_that_saturates(top, block):
    x = torch.randn(200_000, block, generator=torch.Generator().manual_seed(1)).double()
    over = (x.abs() > top * 2.0 ** x.abs().amax(1, keepdim=True).log2().floor()).double().mean(1)
    error = over.std().item() / math.sqrt(len(x))
    assert saturated_share(top, block) == pytest.approx(over.mean().item(), abs=5 * error)


def test_what_reaches_to_the_end_of_its_octave_never_saturates():
    assert saturated_share(2.0, 16) == pytest.approx(0)


def test_a_law_beyond_the_memory_is_refused():
    with pytest.raises(ValueError, match="33,089 x 33,089 numbers"):
        floating.law(Gaussian(), 0.01, "bfloat16", "naive", -5, 5)
