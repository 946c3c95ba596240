"""The views of notebook 12: all corners of their controls, and what they draw against the library's laws."""

import math

import numpy as np
import pytest
import torch

from lpsgld.bnn.studies.rolling import Mixed
from lpsgld.lab.views import momentum as views
from lpsgld.toy import momentum
from tests.lab.checking import check_view


@pytest.mark.parametrize("view", [views.ball, views.law, views.race, views.accept], ids=lambda view: view.name)
def test_all_corners(view):
    check_view(view)


def test_correlations_are_those_of_many_balls():
    """Of 20,000 that start from the law: a correlation is known to 0.007, and 5 standard errors are allowed."""
    law, n = momentum.covariance(0.2, 0.3), 20_000
    generator = torch.Generator().manual_seed(1)
    start = math.sqrt(law[0, 0]) * torch.randn(n, generator=generator)
    settled = momentum.run(start, 100, views.TARGET, 0.2, None, "full", 0.3, generator=generator)
    drawn = [float(np.corrcoef(settled[-21], settled[-21 + k])[0, 1]) for k in (1, 5, 20)]
    assert views.correlations(0.2, 0.3)[[1, 5, 20]] == pytest.approx(drawn, abs=0.035)


def test_the_law_that_is_drawn_is_the_exact_one():
    _, artists = views.law.build(**views.law.parameters(step=0.05))
    exact = momentum.stationary(views.TARGET, 0.05, "fixed(8,3)", "vc")
    assert artists["vc"].get_data().values == pytest.approx(exact.probabilities * 8)
    assert artists["vc here"].get_ydata() == pytest.approx([1.22414], abs=1e-5)
    assert artists["condition"].get_xdata() == [1 / 16, 1 / 16]


def test_at_the_same_relaxation_time_the_naive_ball_is_the_worse_and_the_corrected_the_better():
    ball, walk = (
        {a: told(size, 3, a) for a in ("naive", "vc")} for told, size in ((views.rolled, 0.15), (views.walked, 0.1))
    )
    assert ball["vc"].relaxation == pytest.approx(walk["vc"].relaxation, rel=0.03)
    assert ball["naive"].distance > 2 * walk["naive"].distance and ball["vc"].distance < 0.85 * walk["vc"].distance


def test_two_roundings_run_out_of_room_earlier_than_one():
    assert views.two_roundings(0.1, 4_000, 0) > 1.2 > views.ball_law(0.1, 3, "vc").std
    assert views.two_roundings(0.1, 100, 0) == views.two_roundings(0.1, 100, 0)


@pytest.mark.parametrize("sampler", ["walk", "ball"])
def test_the_banana_is_the_same_from_the_same_seed(sampler):
    first, again, other = (views.on_the_banana(sampler, "vc", 0.02, 8, 100, seed) for seed in (0, 0, 1))
    assert first == again != other and first.worth > 0 and first.uncertainty > 0


def test_the_error_on_the_banana_is_as_uncertain_as_it_says():
    """Of 40 runs with 64 chains each, errors are as far apart as each says, and more chains say less uncertainty. The
    standard deviation of 40 numbers is known to 11 percent; half and twice are more than four standard errors off."""
    runs = [views.on_the_banana("ball", "vc", 0.1, 64, 200, seed) for seed in range(40)]
    apart, said = np.std([run.error for run in runs], ddof=1), np.mean([run.uncertainty for run in runs])
    assert 0.5 < apart / said < 2
    many = views.on_the_banana("ball", "vc", 0.1, 64 * 16, 200, 41)
    assert 3 < said / many.uncertainty < 5.5
    assert abs(many.error - np.mean([run.error for run in runs])) < 5 * said / 40**0.5 + 5 * many.uncertainty


def test_the_pictures_of_samples_have_a_curve_for_each():
    found = {
        (s, a, z): views.Explored(100 * z, 0.1, 0.01) for s in ("walk", "ball") for a in ("naive", "vc") for z in (1, 2)
    }
    curves = [line for line in views.banana(found).axes[0].lines if not line.get_label().startswith("_")]
    assert [list(line.get_xdata()) for line in curves] == [[100, 200]] * 4
    assert all(list(line.get_ydata()) == pytest.approx([10, 10]) for line in curves)
    mixed = Mixed(np.array([1.2, 1.1]), np.array([30.0, 20.0]), 0.1, 1024)
    figure = views.agreement(dict.fromkeys(views.NETWORKS, mixed))
    assert [len(ax.lines) for ax in figure.axes] == [4, 4]
    assert list(figure.axes[1].lines[0].get_xdata()) == [20, 30]
