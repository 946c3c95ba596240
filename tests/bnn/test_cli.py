"""The three commands, called as the command line calls them."""

import argparse
import json
import re

import pytest

from lpsgld.bnn import cli
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import DatasetError
from lpsgld.bnn.devices import DeviceError
from lpsgld.bnn.judging import records
from lpsgld.bnn.training.recipes import RECIPES, RecipeError
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.files import FileError
from lpsgld.storage import StorageError
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


def test_the_next_character_is_told_in_bits(tmp_path, capsys):
    """2 to the bits is the perplexity; before anything is learned, it is about the number of characters."""
    run, quick = tmp_path / "run", ["--set", "epochs=2", "--set", "samples=2", "--set", "width=8", "--subset", 40, 16]
    assert call("train", "prose", "--out", run, "--quiet", "--device", "cpu", *quick) == 0
    assert call("evaluate", run, "--quiet", "--device", "cpu", "--json", tmp_path / "scores.json") == 0
    shown = capsys.readouterr().out
    (perplexity,), (bits,) = (
        re.findall(rf"^{name} +([\d.]+)", shown, re.M) for name in ("perplexity", "bits a character")
    )
    assert float(perplexity) == pytest.approx(2 ** float(bits), rel=2e-3) and 5 < float(perplexity) < 78
    assert "of the characters." in shown and records.read(tmp_path / "scores.json").label == "prose"
    assert call("recipes") == 0
    assert re.search(r"^prose +prose +sghmc +by name +full", capsys.readouterr().out, re.M)


def test_a_recipe_file_can_be_trained(tmp_path, capsys):
    assert call("recipes", "train_fixed", "--json") == 0
    (tmp_path / "mine.json").write_text(capsys.readouterr().out)
    assert call("train", tmp_path / "mine.json", "--out", tmp_path / "run", "--quiet", *QUICK) == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_recipe_file_may_be_of_any_encoding_of_unicode(tmp_path, encoding):
    recipe = RECIPES["train_fixed"].override(dataset="folder:Übung")
    (tmp_path / "mine.json").write_text(json.dumps(recipe.to_dict(), ensure_ascii=False), encoding)
    assert cli._recipe(str(tmp_path / "mine.json")) == recipe


def test_a_run_may_use_a_part_of_the_images_and_goes_on_with_the_same_part(tmp_path, capsys):
    run = tmp_path / "run"
    for _ in range(2):
        assert call("train", "train_bfp", "--out", run, "--quiet", *QUICK, "--subset", 100, 50) == 0
    trained_on = Run.open(run).dataset
    assert (trained_on["train"], trained_on["test"]) == (100, 50)
    with pytest.raises(RunError, match="the data of digits are not those that it began with"):
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


def test_a_result_does_not_replace_a_strangers_file_and_is_refused_before_the_evaluation(tmp_path, monkeypatch):
    call("train", "train_bfp", "--out", tmp_path / "run", "--quiet", *QUICK)
    monkeypatch.setattr(cli.ensemble, "evaluate", lambda *a, **k: pytest.fail("evaluated"))
    (tmp_path / "thesis.json").write_text("[]")
    for path in (
        tmp_path / "thesis.json",
        tmp_path / "run" / "recipe.json",
        tmp_path / "run" / "metrics.jsonl",
        tmp_path,
    ):
        with pytest.raises(StorageError, match="It stays as it is"):
            call("evaluate", tmp_path / "run", "--quiet", "--json", path)
    assert (tmp_path / "thesis.json").read_text() == "[]" and Run.open(tmp_path / "run").finished


def test_home_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert call("train", "train_bfp", "--out", "~/run", "--quiet", *QUICK) == 0
    assert call("evaluate", "~/run", "--quiet", "--json", "~/result.json") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run", "result.json"}


@pytest.mark.parametrize("limit", ["nan", "-1", "-inf", "soon", ""])
@pytest.mark.parametrize("command", ["train", "reproduce"])
def test_a_time_limit_that_is_none_is_a_mistake_of_usage(tmp_path, command, limit, capsys):
    given = ["train_bfp"] if command == "train" else ["--record", tmp_path / "recorded"]
    with pytest.raises(SystemExit, match="2"):
        call(command, *given, "--out", tmp_path / "run", f"--time-limit={limit}")
    assert "argument --time-limit" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


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
        (["evaluate", "x" * 300], RunError, "cannot read xxx.*File name too long"),
        (["evaluate", "a\0b"], FileError, "cannot be a path"),
        (["train", "train_bfp", "--out", "~no-such-user-here/x"], FileError, "cannot be a path"),
        (["train", "train_bfp", "--out", "x", "--device", "mps"], DeviceError, 'computes on "cpu", "cuda"'),
    ],
)
def test_mistakes_are_among_the_errors_that_become_one_line(arguments, error, message):
    assert issubclass(error, Mistake)
    with pytest.raises(error, match=message):
        call(*arguments)
