"""The views of notebook 04: all corners of their controls, and what they draw against the library's laws."""

import numpy as np
import pytest

from lpsgld.lab.views import accumulators as views
from lpsgld.toy import theory
from lpsgld.toy.distances import wasserstein2, wasserstein2_smooth
from lpsgld.toy.exact import stationary
from tests.lab.checking import check_view

VIEWS = [views.one_path, views.cost, views.law, views.mixing]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_all_corners(view):
    report = check_view(view)
    assert report.median < 2.0, "a slider lags: 0.1 s is the goal, 2 s leaves room for a busy machine"


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_control_moves_something(view):
    """One step of each control from its default changes a number of the readout or the picture's data."""
    _, artists = view.build(**view.parameters())
    for control in view.controls:
        values = list(control.values)
        other = values[values.index(control.default) - 1]
        before = view.update(artists, **view.parameters())
        assert view.update(artists, **view.parameters(**{control.name: other})) != before


def test_a_naive_path_stays_on_its_grid_and_a_full_one_does_not():
    naive, full = (views.path(1e-3, 2, accumulator, 0) / 0.25 for accumulator in ("naive", "full"))
    assert np.array_equal(naive, np.rint(naive)) and len(naive) == views.STEPS + 1
    assert not np.array_equal(full, np.rint(full))
    assert not np.array_equal(naive, views.path(1e-3, 2, "naive", 1) / 0.25)


def test_the_curves_of_the_law_are_the_exact_ones():
    assert views.naive_stds(3)[views.ALPHAS.index(1e-3)] == views.exact_law(1e-3, 3, "naive").std
    assert views.exact_law(1e-2, 3, "full").std == pytest.approx(theory.full_std(1e-2, 2.0**-3), rel=1e-5)
    for alpha in (1e-3, 1e-1):
        assert views.exact_law(alpha, 4, "naive").std == pytest.approx(views.predicted_std(alpha, 2.0**-4), rel=1e-3)


def test_hot_density_is_normalised_and_the_target_at_temperature_one():
    target = views.two_modes(1.5)
    theta = np.linspace(-8, 8, 641)
    assert np.allclose(views.hot_density(target, 1.0), target.density(theta), atol=1e-6)
    assert views.hot_density(target, 5.0).sum() * (theta[1] - theta[0]) == pytest.approx(1)


def test_relaxation_times_fall_with_the_step_size_and_naive_is_quicker():
    naive, full = views.crossing_times(1.25, 2)
    assert (np.diff(full) < 0).all() and (naive < full).all()
    assert np.allclose(full[:3] * views.MIXING_ALPHAS[:3], full[0] * 1e-4, rtol=0.01)  # one time in units of 1/α


def test_floors_by_brute_force():
    """At a small step the full accumulator is near its floor; no step of a sweep beats the naive best."""
    law = stationary(views.COIN, 1e-4, views.fmt(1), "full")
    assert wasserstein2_smooth(law, views.COIN) == pytest.approx(views.full_floor(1), abs=2e-4)
    best, step = views.naive_best(2)
    sweep = [stationary(views.COIN, alpha, views.fmt(2), "naive") for alpha in (0.02, 0.05, 0.1)]
    assert views.grid_floor(2) < best < min(wasserstein2(law, views.COIN) for law in sweep) + 1e-4
    assert 0.02 < step < 0.2
