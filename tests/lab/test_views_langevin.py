"""The views of notebook 03: all corners of their controls, and their chains against exact moments."""

import math

import numpy as np
import pytest

from lpsgld.lab.views import langevin as views
from lpsgld.toy import theory
from lpsgld.toy.targets import Gaussian
from tests.lab.checking import check_view

VIEWS = [views.descent, views.bias, views.batches, views.memory, views.modes, views.plane]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_control_moves_something(view):
    """One step of each control from its default changes the numbers beside the picture."""
    _, artists = view.build(**view.parameters())
    for control in view.controls:
        values = list(control.values)
        other = values[values.index(control.default) - 1]
        before = view.update(artists, **view.parameters())
        assert view.update(artists, **view.parameters(**{control.name: other})) != before


def test_chains_without_noise_descend():
    states = views.langevin([2.0, -1.0], 10, Gaussian(), 0.1, 0, temperature=0.0)
    assert states.shape == (11, 2)
    assert np.allclose(states, 0.9 ** np.arange(11)[:, None] * [2.0, -1.0], atol=1e-12)


@pytest.mark.parametrize("alpha", views.BIAS_ALPHAS)
def test_the_exact_law_has_the_variance_of_the_formula(alpha):
    assert views.exact_law(alpha).std == pytest.approx(theory.sgld_std(alpha), rel=1e-9)


def test_mini_batches_have_the_noise_that_the_law_expects():
    """4000 independent chains: the variance within five standard errors."""
    last = views.batch_chains(30, 0.05, 150, 4000, 0)
    exact = theory.sgld_std(0.05, views.batch_noise(30)) ** 2
    assert last.var() == pytest.approx(exact, rel=5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("target", ["banana", "correlated"])
def test_planar_chains_reach_their_target(target):
    """200 independent chains after 1000 steps: means and variances within five standard errors, plus 3 % of bias."""
    last = views.plane_chains(target, 0.01, 0)[-1]
    covariance = views.PLANE[target].covariance
    for axis in range(2):
        std = math.sqrt(covariance[axis, axis])
        assert abs(last[:, axis].mean()) < 5 * std / math.sqrt(200)
        fourth = ((last[:, axis] / last[:, axis].std()) ** 4).mean()
        assert last[:, axis].var() / std**2 == pytest.approx(1, abs=5 * math.sqrt((fourth - 1) / 200) + 0.03)


def test_crossing_takes_longer_the_farther_the_modes():
    """For a single Gaussian of variance 1/4 + a², at a = 0, the time would be 1/(4 α)."""
    times = [views.crossing_time(distance) for distance in (0.01, 0.5, 1.0, 1.5)]
    assert times[0] == pytest.approx(1 / (4 * views.MODES_ALPHA), rel=0.01)
    assert np.all(np.diff(times) > 0)
