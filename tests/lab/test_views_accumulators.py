"""The views of notebook 04: all corners of their controls, and what they draw against the library's laws."""

import numpy as np
import pytest

from lpsgld.lab.views import accumulators as views
from lpsgld.toy import theory
from lpsgld.toy.distances import of_sampler, on_grid_floor
from lpsgld.toy.targets import Mixture
from tests.lab.checking import check_view

VIEWS = [views.one_path, views.cost, views.law, views.mixing]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


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
    naive, full = (views.paths(1e-3, 2, accumulator, 0) / 0.25 for accumulator in ("naive", "full"))
    assert np.array_equal(naive, np.rint(naive)) and naive.shape == (views.STEPS + 1, views.PATHS)
    assert not np.array_equal(full, np.rint(full))
    assert not np.array_equal(naive, views.paths(1e-3, 2, "naive", 1) / 0.25)


def test_the_curves_of_the_law_are_the_exact_ones():
    third = views.naive_stds(3)[views.ALPHAS.index(1e-3)]
    assert third == pytest.approx(theory.naive_std_at_any_step(1e-3, 2.0**-3), rel=1e-3)
    assert views.exact_law(1e-2, 3, "full").std == pytest.approx(theory.full_std(1e-2, 2.0**-3), rel=1e-5)
    for alpha in (1e-3, 1e-1):
        assert views.exact_law(alpha, 4, "naive").std == pytest.approx(
            theory.naive_std_at_any_step(alpha, 2.0**-4), rel=1e-3
        )


def test_hot_density_is_normalised_and_the_target_at_temperature_one():
    target = Mixture((-1.5, 1.5))
    theta = np.linspace(-8, 8, 641)
    assert np.allclose(views.hot_density(target, 1.0), target.density(theta), atol=1e-6)
    assert views.hot_density(target, 5.0).sum() * (theta[1] - theta[0]) == pytest.approx(1)


def test_relaxation_times_fall_with_the_step_size_and_naive_is_quicker():
    naive, full = views.crossing_times(1.25, 2)
    assert (np.diff(full) < 0).all() and (naive < full).all()
    assert np.allclose(full[:3] * views.MIXING_ALPHAS[:3], full[0] * 1e-4, rtol=0.01)  # one time in units of 1/α


def test_the_naive_best_by_brute_force():
    sweep = [of_sampler(views.COIN, alpha, views.fmt(2), "naive") for alpha in (0.02, 0.05, 0.1)]
    assert on_grid_floor(views.COIN, views.fmt(2)) < views.naive_best(2) < min(sweep) + 1e-4


def test_what_rounding_adds_is_in_the_unit_of_the_parameter():
    """Large steps are rounded by Δ²/6, small ones by 2Δ√(α/π)."""
    assert views.added_variance(10.0, 0.25) == pytest.approx(0.25**2 / 6)
    assert views.added_variance(1e-9, 0.25) == pytest.approx(0.5 * np.sqrt(1e-9 / np.pi), rel=1e-3)
