"""The views of notebook 02: all corners of their controls, and their closed forms against rounding itself."""

import numpy as np
import pytest
import torch

from lpsgld import formats, quantize
from lpsgld.lab.views import rounding as views
from tests.checks import assert_law, assert_mean
from tests.lab.checking import check_view

POSITIONS = np.array([0.0, 0.1, 0.3, 0.45, 0.8])
KINDS = [0, 1, 2]


@pytest.mark.parametrize("view", [views.one, views.sums, views.dither, views.wave], ids=lambda view: view.name)
def test_all_corners(view):
    report = check_view(view)
    assert report.median < 2.0, "a slider lags: 0.1 s is the goal, 2 s leaves room for a busy machine"


@pytest.mark.parametrize("uniforms", KINDS)
def test_a_spline_is_a_law_with_the_mean_and_the_squares_that_are_drawn(uniforms):
    points = np.arange(-3, 5)
    law = views.spline(uniforms, POSITIONS[:, None] - points)
    error = points - POSITIONS[:, None]
    assert np.allclose(law.sum(axis=1), 1)
    assert np.allclose((law * error).sum(axis=1), views.mean_error(uniforms, POSITIONS))
    assert np.allclose((law * error**2).sum(axis=1), views.squared_error(uniforms, POSITIONS))
    variance_of_squares = (law * error**4).sum(axis=1) - views.squared_error(uniforms, POSITIONS) ** 2
    assert np.allclose(views.error_of_squares(uniforms, POSITIONS) ** 2, variance_of_squares)


@pytest.mark.parametrize("uniforms", KINDS)
@pytest.mark.parametrize("position", POSITIONS)
def test_rounding_draws_the_spline(uniforms, position):
    x = torch.full((20_000,), (2 + position) * views.GAP, dtype=torch.float64)
    drawn = views.rounded(x, uniforms, torch.Generator().manual_seed(3)) / views.GAP - 2
    counts = np.bincount(drawn.int().numpy() + 1, minlength=4)
    assert_law(counts, views.spline(uniforms, position - np.arange(-1, 3)))


@pytest.mark.parametrize("uniforms", [0, 1])
@pytest.mark.parametrize("kind", [views.SAME, views.NOISE])
@pytest.mark.parametrize("increment", [0.08, 0.56, 1.3])
def test_a_step_of_the_accumulator_is_what_quantize_draws(increment, kind, uniforms):
    generator = torch.Generator().manual_seed(1)
    n = 50_000
    noise = torch.randn(n, dtype=torch.float64, generator=generator)
    added = increment * (noise if kind == views.NOISE else torch.ones_like(noise))
    fmt = formats.parse("fixed(10,3)")
    after = quantize(1.0 + views.GAP * added, fmt, ("nearest", "stochastic")[uniforms], generator)
    steps = ((after - 1.0) / views.GAP).int().numpy()
    law = views.step_law(increment, kind, uniforms)
    assert law.sum() == pytest.approx(1)
    # a Gaussian step may end outside -12..12 gaps, and rounding errors may leave 1e-17 where nothing can land
    assert_law(np.bincount(steps + 12, minlength=25), np.where(law < 1e-12, 0, law))


def test_the_moments_of_a_small_step():
    """Stochastic rounding of a small constant: f(1 - f); of small noise: s √(2/π) gaps, as the notebook derives."""
    assert views.step_moments(0.08, views.SAME, 1) == pytest.approx((0.08, 0.08 * 0.92))
    mean, variance = views.step_moments(0.05, views.NOISE, 1)
    assert mean == pytest.approx(0, abs=1e-12) and variance == pytest.approx(0.05 * np.sqrt(2 / np.pi))
    assert views.step_moments(0.4, views.SAME, 0) == (0.0, 0.0)
    assert views.step_moments(0.6, views.SAME, 0) == (1.0, 0.0)


@pytest.mark.parametrize("kind", [views.SAME, views.NOISE])
def test_walks_have_the_mean_and_the_spread_that_are_drawn_over_them(kind):
    mean, variance = views.step_moments(0.08, kind, 1)
    ends = views.walks(0.08, kind, 1, seed=5)[:, -1]
    assert_mean(ends, views.STEPS * mean, np.sqrt(views.STEPS * variance))
    relative_error = 1 / np.sqrt(2 * views.CHAINS)  # of a standard deviation; five of them: 6e-7
    assert ends.std() == pytest.approx(np.sqrt(views.STEPS * variance), rel=5 * relative_error)


def test_walks_start_anew_from_the_seed():
    first, again, other = (views.walks(0.08, views.SAME, 1, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
