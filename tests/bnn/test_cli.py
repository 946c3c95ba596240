"""The three commands, called as the command line calls them."""

import argparse
import json

import pytest

from lpsgld.bnn import cli
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import DatasetError
from lpsgld.bnn.judging import records
from lpsgld.bnn.training.recipes import RECIPES, RecipeError
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.text import Mistake

QUICK = ["--dataset", "digits", "--set", "model=mlp", "--set", "width=8", "--set", "epochs=2", "--set", "samples=2"]


def call(command: str, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    getattr(cli, f"add_{command}_arguments")(parser)
    return getattr(cli, f"{command}_command")(parser.parse_args([str(a) for a in arguments]))


def test_train_then_evaluate(tmp_path, capsys):
    run, result = tmp_path / "run", tmp_path / "scores.json"
    assert call("train", "train_bfp", "--out", run, "--quiet", *QUICK) == 0
    shown = capsys.readouterr().out
    assert "2 epochs, posterior samples: 2" in shown and f"lpsgld evaluate {run}" in shown
    assert call("evaluate", run, "--quiet", "--rounding", "nearest", "--json", result, "--label", "all digits") == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("ensemble of 2", "last sample", "NLL", "ECE (15 bins)", "paper's 9 bins"))
    record = records.read(result)
    assert (record.recipe.width, record.rounding, record.label, len(record.curve)) == (8, "nearest", "all digits", 2)
    assert f"{record.scores['ensemble']['error']:.2%}" in table


def test_a_recipe_file_can_be_trained(tmp_path, capsys):
    assert call("recipes", "train_fixed", "--json") == 0
    (tmp_path / "mine.json").write_text(capsys.readouterr().out)
    assert call("train", tmp_path / "mine.json", "--out", tmp_path / "run", "--quiet", *QUICK) == 0


def test_a_run_may_use_a_part_of_the_images_and_goes_on_with_the_same_part(tmp_path, capsys):
    run = tmp_path / "run"
    for _ in range(2):
        assert call("train", "train_bfp", "--out", run, "--quiet", *QUICK, "--subset", 100, 50) == 0
    trained_on = Run.open(run).dataset
    assert (trained_on["train"], trained_on["test"]) == (100, 50)
    with pytest.raises(RunError, match="the images of digits are not those that it began with"):
        call("train", "train_bfp", "--out", run, "--quiet", *QUICK)
    with pytest.raises(DatasetError, match="2000 training images were asked for, but digits has 1437"):
        call("train", "train_bfp", "--out", tmp_path / "other", "--quiet", *QUICK, "--subset", 2000, 50)


def test_a_record_tells_the_test_images_that_were_scored(tmp_path):
    """Trained on a part, scored on all."""
    run, result = tmp_path / "run", tmp_path / "scores.json"
    assert call("train", "train_bfp", "--out", run, "--quiet", *QUICK, "--subset", 100, 50) == 0
    assert call("evaluate", run, "--quiet", "--json", result) == 0
    record = records.read(result)
    assert record.dataset["test"] == sum(record.entropy["right"]) + sum(record.entropy["wrong"]) == 360
    assert record.dataset["fingerprint"] == datasets.load("digits").fingerprint
    assert record.dataset["trained_on"]["fingerprint"] == Run.open(run).dataset["fingerprint"]


def test_recipes_are_listed(capsys):
    assert call("recipes") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in RECIPES)
    assert call("recipes", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == set(RECIPES)
    assert call("recipes", "train_bfp") == 0
    assert capsys.readouterr().out == str(RECIPES["train_bfp"]) + "\n"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["train", "train_bpf", "--out", "x"], RecipeError, 'Did you mean "train_bfp"'),
        (["train", "missing.json", "--out", "x"], RecipeError, "cannot read the recipe missing.json"),
        (["train", "train_bfp", "--out", "x", "--set", "lr"], RecipeError, "write field=value"),
        (["evaluate", "nowhere"], RunError, "nowhere holds no training run"),
    ],
)
def test_mistakes_are_among_the_errors_that_become_one_line(arguments, error, message):
    assert issubclass(error, Mistake)
    with pytest.raises(error, match=message):
        call(*arguments)
