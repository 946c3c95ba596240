"""The view and the map of notebook 00."""

from pathlib import Path

import numpy as np
import pytest

from lpsgld.lab.views import start_here as views
from tests.lab.checking import check_view

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_all_corners():
    check_view(views.story)


@pytest.mark.parametrize("accumulator", views.ACCUMULATORS)
@pytest.mark.parametrize("alpha", [5e-5, 5e-3])
def test_the_curve_that_is_drawn_has_the_mass_and_the_spread_of_the_law(alpha, accumulator):
    heights, edges = views._curve(alpha, accumulator)
    middles, mass = (edges[1:] + edges[:-1]) / 2, heights * np.diff(edges)
    assert mass.sum() == pytest.approx(1)
    # the full law is thinned to 300 bins, whose width adds a variance of width²/12
    assert np.sqrt(mass @ middles**2) == pytest.approx(views.law(alpha, accumulator).std, rel=2e-3)


def test_the_naive_law_grows_as_the_step_falls_and_the_others_stay():
    spreads = {name: [views.law(alpha, name).std for alpha in views.ALPHAS] for name in views.ACCUMULATORS}
    assert spreads["naive"] == sorted(spreads["naive"], reverse=True)
    assert np.allclose([spreads["vc"], spreads["full"]], 1.0, atol=2e-3)


def test_the_strip_has_a_picture_for_each_step_size():
    titles = [ax.get_title(loc="left") for ax in views.strip((5e-3, 5e-5)).axes]
    assert titles == ["step size 0.005", "step size 0.00005"]


def test_the_map_links_what_lies_in_the_folder_and_marks_the_rest(tmp_path):
    (tmp_path / "02_rounding.ipynb").touch()
    rows = views.notebook_map(tmp_path).splitlines()[2:]
    assert len(rows) == len(views.PLAN)
    assert [row for row in rows if "](" in row] == [
        "| [02_rounding](02_rounding.ipynb) | What does rounding do to a mean, and to a variance? |"
    ]
    assert sum("not in this folder yet" in row for row in rows) == len(views.PLAN) - 1


def test_every_notebook_of_the_project_is_on_the_map():
    assert {path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")} <= views.PLAN.keys()


def test_the_map_is_of_the_folder_that_the_notebook_runs_in(tmp_path, monkeypatch, shown):
    (tmp_path / "00_start_here.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    views.show_map()
    markdown = shown[0][0]["text/markdown"]
    assert "[00_start_here](00_start_here.ipynb)" in markdown and markdown.count("](") == 1
