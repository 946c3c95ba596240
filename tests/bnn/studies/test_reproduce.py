"""The table's rows, trained and recorded over several calls."""

import dataclasses

import pytest

from lpsgld.bnn.data import datasets
from lpsgld.bnn.judging import ensemble, records
from lpsgld.bnn.studies import reproduce
from lpsgld.bnn.training import loop
from lpsgld.bnn.training.recipes import RECIPES, RecipeError
from lpsgld.bnn.training.runs import Run
from lpsgld.files import FileError
from lpsgld.storage import StorageError

SMALL = dict(dataset="digits", model="mlp", width=8, epochs=7)
DIGITS = datasets.load("digits").subset(200, 50)
ROWS = ("sgld_block_vc", "sgld_block_vc_cyclical", "sgd_float32")


def table(tmp_path, rows=ROWS, fields=SMALL, **options) -> bool:
    small = dict(subset=(200, 50), device="cpu", progress=False)
    return reproduce.reproduce(tmp_path / "runs", tmp_path / "recorded", rows, fields, **(small | options))


def test_the_rows_are_recipes_of_both_datasets_and_the_scripts_come_first():
    assert {f"{d}_{row}" for d in ("cifar10", "cifar100") for row in reproduce.ROWS} == {
        name for name in RECIPES if name.startswith("cifar")
    }
    scripts = [RECIPES[name] for name in ("train_bfp", "train_fixed", "train_bfp_cyclic")]
    assert [reproduce._recipe(row, {}) for row in reproduce.ROWS[:3]] == scripts


def test_every_row_is_trained_and_recorded_with_its_provenance(tmp_path, capsys):
    assert table(tmp_path, label="digits, small", commit="abc")
    results = records.read_all(tmp_path / "recorded")
    assert set(results) == set(ROWS)
    assert [len(results[row].curve) for row in ROWS] == [7, 7, 1]  # samples follow epochs
    first = results["sgld_block_vc"]
    assert (first.label, first.commit, first.recipe.seed) == ("digits, small", "abc", 0) and first.seconds > 0
    assert first.chains[0]["provenance"]["compiled"] is False
    shown = capsys.readouterr().out
    assert all(f"{row}: error" in shown for row in ROWS)


def test_what_is_recorded_is_not_trained_again(tmp_path, monkeypatch):
    assert table(tmp_path, ROWS[:1])
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("trained again"))
    assert table(tmp_path, ROWS[:1])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda text: text[:-30], "is truncated, or no JSON"),
        (lambda text: "", "is truncated, or no JSON"),
        (lambda text: '{"x": 1}', "no result that"),
        (lambda text: text.replace('"epoch": 1', '"epoch": 9'), "changed after it was written"),
    ],
    ids=["cut", "empty", "foreign", "edited"],
)
def test_a_result_that_is_damaged_does_not_count(tmp_path, harm, said):
    assert table(tmp_path, ROWS[2:])
    path = tmp_path / "recorded" / f"{ROWS[2]}.json"
    path.write_text(harm(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"{said}.*Move it away"):
        table(tmp_path, ROWS[2:])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "subset", "said"),
    [
        ({"epochs": 14}, (200, 50), "epochs is 7 there and 14 here"),
        ({"seed": 1}, (200, 50), "seed is 0 there and 1 here"),
        ({"lr": 0.1}, (200, 50), "lr is 0.5 there and 0.1 here"),
        ({}, (100, 50), "the data of digits are not those"),
    ],
)
def test_a_result_of_other_settings_does_not_count(tmp_path, fields, subset, said):
    assert table(tmp_path, ROWS[2:])
    with pytest.raises(StorageError, match=f"{ROWS[2]}.json: the result is of another run: {said}.*Move it away"):
        table(tmp_path, ROWS[2:], SMALL | fields, subset=subset)


def test_a_result_of_another_row_or_of_an_unfinished_run_does_not_count(tmp_path):
    assert table(tmp_path, ROWS[:1])
    (tmp_path / "recorded" / f"{ROWS[0]}.json").rename(tmp_path / "recorded" / f"{ROWS[2]}.json")
    with pytest.raises(StorageError, match="the result is of another run: temperature is 0.001 there and 0.0 here"):
        table(tmp_path, ROWS[2:])
    short = tmp_path / "short"
    assert not table(short, ROWS[2:], time_limit=0)
    run = Run.open(short / "runs" / ROWS[2])
    assert not run.finished
    finished = loop.train(run.recipe, tmp_path / "whole", subset=(200, 50), progress=False, device="cpu")
    made = records.make(finished, ensemble.evaluate(finished, DIGITS, device="cpu", progress=False))
    cut = [made.chains[0] | {"history": made.history[:3]}]
    records.write(short / "recorded" / f"{ROWS[2]}.json", dataclasses.replace(made, chains=cut))
    with pytest.raises(StorageError, match="it was recorded after 3 of 7 epochs"):
        table(short, ROWS[2:])


def test_samples_may_be_given(tmp_path):
    assert table(tmp_path, ROWS[:1], SMALL | {"samples": 2})
    assert len(records.read(tmp_path / "recorded" / f"{ROWS[0]}.json").curve) == 2


def test_a_folder_for_results_that_cannot_be_made_is_told_before_training(tmp_path):
    (tmp_path / "recorded").write_text("")
    with pytest.raises(FileError, match="cannot write into .*recorded"):
        table(tmp_path, ROWS[2:])
    assert not (tmp_path / "runs").exists()


def test_short_calls_come_to_the_same_results_as_a_long_one(tmp_path):
    calls = 0
    while not table(tmp_path / "short", ROWS[:2], time_limit=1e-3):
        calls += 1
        assert calls < 40
    assert calls >= 14  # an epoch each
    assert table(tmp_path / "long", ROWS[:2])
    for row in ROWS[:2]:
        short, long = (records.read(tmp_path / how / "recorded" / f"{row}.json") for how in ("short", "long"))
        assert short.scores == long.scores and short.curve == long.curve


def test_a_run_that_ends_close_to_the_limit_is_evaluated_in_the_next_call(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "_evaluation_seconds", lambda run: 1e9)
    assert not table(tmp_path, ROWS[:1], time_limit=100)
    assert Run.open(tmp_path / "runs" / ROWS[0]).finished
    assert table(tmp_path, ROWS[:1], time_limit=100)


def test_epochs_that_do_not_fit_the_cycles_are_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(RecipeError, match="must be a multiple of cycles, 7"):
        table(tmp_path, fields=SMALL | {"epochs": 3})
    assert not (tmp_path / "runs").exists()
