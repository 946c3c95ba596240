"""The views of notebook 02: all corners of their controls, and their steps against rounding itself."""

import numpy as np
import pytest
import torch

from lpsgld import formats, quantize
from lpsgld.lab.views import rounding as views
from tests.checks import assert_law, assert_mean
from tests.lab.checking import check_view


@pytest.mark.parametrize("view", [views.one, views.sums, views.dither, views.wave], ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kind", [views.SAME, views.NOISE])
@pytest.mark.parametrize("increment", [0.08, 0.56, 1.3])
def test_a_step_of_the_accumulator_is_what_quantize_draws(increment, kind, degree):
    generator = torch.Generator().manual_seed(1)
    n = 50_000
    noise = torch.randn(n, dtype=torch.float64, generator=generator)
    added = increment * (noise if kind == views.NOISE else torch.ones_like(noise))
    fmt = formats.parse("fixed(10,3)")
    after = quantize(1.0 + views.GAP * added, fmt, ("nearest", "stochastic")[degree], generator)
    steps = ((after - 1.0) / views.GAP).int().numpy()
    law = views.step_law(increment, kind, degree)
    assert np.array_equal(law.points, np.arange(-12, 13)) and law.probabilities.sum() == pytest.approx(1)
    assert_law(np.bincount(steps + 12, minlength=25), law.probabilities)


def test_the_moments_of_a_small_step():
    """Stochastic rounding of a small constant: f(1 - f); of small noise: s √(2/π) gaps, as the notebook derives."""
    constant, noise = views.step_law(0.08, views.SAME, 1), views.step_law(0.05, views.NOISE, 1)
    assert (constant.mean, constant.std**2) == pytest.approx((0.08, 0.08 * 0.92))
    assert noise.mean == pytest.approx(0, abs=1e-12) and noise.std**2 == pytest.approx(0.05 * np.sqrt(2 / np.pi))
    stays, runs = views.step_law(0.4, views.SAME, 0), views.step_law(0.6, views.SAME, 0)
    assert (stays.mean, stays.std, runs.mean, runs.std) == (0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("kind", [views.SAME, views.NOISE])
def test_walks_have_the_mean_and_the_spread_that_are_drawn_over_them(kind):
    law = views.step_law(0.08, kind, 1)
    ends, std = views.walks(0.08, kind, 1, seed=5)[:, -1], np.sqrt(views.STEPS) * law.std
    assert_mean(ends, views.STEPS * law.mean, std)
    relative_error = 1 / np.sqrt(2 * views.CHAINS)  # of a standard deviation; five of them: 6e-7
    assert ends.std() == pytest.approx(std, rel=5 * relative_error)


def test_walks_start_anew_from_the_seed():
    first, again, other = (views.walks(0.08, views.SAME, 1, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
