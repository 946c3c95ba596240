"""Recorded results as they are drawn and set beside the literature."""

import dataclasses

import pytest
import torch

from lpsgld.bnn.judging import ensemble, records
from lpsgld.bnn.training.recipes import RECIPES
from lpsgld.bnn.training.runs import Run
from lpsgld.lab.views.networks import recorded as views
from tests.lab.checking import check_view


def made_up(recipe: str, samples: int, label: str) -> records.Record:
    generator = torch.Generator().manual_seed(samples)
    labels = torch.randint(10, (400,), generator=generator)
    truth = torch.nn.functional.one_hot(labels, 10)
    members = (3 * truth + 2 * torch.randn(samples, 400, 10, generator=generator)).softmax(2)
    history = [{"epoch": e, "seconds": 30.0, "sampled": True} for e in range(1, samples + 1)]
    dataset = {"name": "folder:a.tar", "train": 50_000, "test": 400, "fingerprint": "0", "classes": [], "mean": [0.5]}
    small = RECIPES[recipe].override(width=16, epochs=samples, samples=samples, cycles=1, schedule="decay")
    run = Run(None, small, 0, dataset, {"device": "a made-up machine"}, history)
    return records.make(run, ensemble.combine(iter(members), labels), label=label)


@pytest.fixture(scope="module")
def results():
    return {
        "one": made_up("train_bfp", 4, "JPEG files"),
        "two": made_up("train_fixed", 6, "JPEG files"),
        "three": made_up("cifar10_sgd_float32", 1, "JPEG files"),
    }


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_corners_for_any_number_of_results(results, count):
    view = views.recorded(dict(list(results.items())[:count]))
    assert [control.name for control in view.controls] == (["result"] if count > 1 else []) + ["score"]
    check_view(view)


def test_long_names_are_shortened_beside_the_slider_where_that_is_unique(results):
    one, two, _ = results.values()
    control = views.recorded({"cifar10-jpeg-w16-train_bfp": one, "cifar10-w64-train_bfp": two}).controls[0]
    assert [control.text(name) for name in control.values] == ["w16-train_bfp", "w64-train_bfp"]
    control = views.recorded({"cifar10-a-b": one, "cifar100-a-b": two}).controls[0]
    assert [control.text(name) for name in control.values] == ["cifar10-a-b", "cifar100-a-b"]


def test_the_view_shows_the_record(results):
    view = views.recorded(results)
    _, artists = view.build(score="NLL", result="one")
    readout = view.update(artists, score="error", result="two")
    record = results["two"]
    assert readout["ECE"] == record.scores["ensemble"]["ece"]
    assert readout["ECE of the last alone"] == record.scores["last_sample"]["ece"]
    assert list(artists["curve"].get_ydata()) == [row["error"] for row in record.curve]
    told = record.diagram("ensemble")
    assert list(artists["ensemble"].get_xdata()) == told.confidence[told.count >= 5].tolist()
    wrong = artists["wrong"].get_data().values * sum(record.entropy["wrong"])
    assert wrong.round().tolist() == record.entropy["wrong"]
    assert artists["title"].get_text() == "two"


def test_it_says_what_was_measured_on_what(results):
    text = views.about(results["one"])
    for part in ("JPEG files: trained on 50,000 images, 400 test", "resnet18 of width 16, 4 epochs", "samples: 4",
                 "2.0 minutes on a made-up machine"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    ("sites", "words"), [("residual", "residual stream rounded too"), ("all", "rounded everywhere")]
)
def test_a_network_that_rounds_more_than_the_papers_says_so_and_stands_alone(results, sites, words):
    harsher = dataclasses.replace(results["one"], recipe=results["one"].recipe.override(sites=sites))
    assert f"resnet18 of width 16, {words}, 4 epochs" in views.about(harsher)
    assert words not in views.about(results["one"])
    lines = views.table({"mine": harsher}).splitlines()
    assert words in lines[-1] and len(lines) == 3, "nothing was published on it"


def test_of_several_chains_both_texts_say_how_many(results):
    two = dataclasses.replace(results["one"], scores=results["one"].scores | {"chains": 2, "samples": 8})
    assert "samples: 8 of 2 chains" in views.about(two) and "samples: 8 of 2 chains" in views.table({"two": two})


def test_the_table_sets_the_literature_beside_it(results):
    lines = views.table(results).splitlines()
    assert all(line.count("|") == 8 for line in lines)
    one = next(i for i, line in enumerate(lines) if "**one**" in line)
    scores = results["one"].scores
    assert f"{scores['ensemble']['error']:.2%} | {scores['ensemble']['ece_paper']:.2%}" in lines[one]
    assert "the paper (ICML 2022) [B]" in lines[one + 1] and "5.51 ± 0.01 % | 0.60 %" in lines[one + 1]
    assert "activations and errors in full precision" in lines[one + 2] and "5.34 %" in lines[one + 2]
    assert "4.71 ± 0.02 %" in lines[-1]
    assert "25.22 ± 0.18 %" in views.table(results, "cifar100")


def test_of_two_seeds_of_a_recipe_the_second_is_followed_by_the_literature(results):
    again = dataclasses.replace(results["one"], recipe=results["one"].recipe.override(seed=1))
    lines = views.table({"one": results["one"], "again": again}).splitlines()
    alone = views.table({"one": results["one"]}).splitlines()
    assert lines[:3] == alone[:3] and "**again**" in lines[3] and lines[4:] == alone[3:]


def test_a_recipe_that_nobody_published_stands_alone(results):
    changed = dataclasses.replace(results["one"], recipe=results["one"].recipe.override(lr=0.1))
    assert len(views.table({"mine": changed}).splitlines()) == 3
    assert len(views.overview({"mine": changed}).axes) == 2


def test_the_overview_has_the_published_points(results):
    figure = views.overview(results)
    error = figure.axes[0].lines[-1]
    assert sorted(error.get_xdata()) == pytest.approx(sorted([0.0551, 0.0534, 0.0545, 0.0512, 0.0521, 0.0471]))


def test_names_are_as_short_as_they_may_be(results):
    one, two, _ = results.values()
    view = views.recorded({"cifar10-jpeg-a_vc": one, "cifar10-jpeg-a_vc_seed1": two})
    assert [view.controls[0].text(name) for name in view.controls[0].values] == ["a_vc", "a_vc_seed1"]


def test_the_overviews_caption_says_what_was_measured_on_what(results):
    caption = views.caption(results)
    assert caption.startswith(views.overview.slide.caption) and caption.count("JPEG files: trained on 50,000") == 1


def test_no_results_are_said(capsys):
    views.show_table({})
    assert "No results are recorded yet" in capsys.readouterr().out
