"""Recorded results: what is written is what the evaluation says, comes back, and tells nothing of the machine."""

import dataclasses
import json
import math
import os

import pytest
import torch

from lpsgld import metrics
from lpsgld.bnn.judging import ensemble, records
from lpsgld.storage import StorageError


@pytest.fixture(scope="module")
def evaluation(finished, digits):
    return ensemble.evaluate(finished, digits, progress=False, device="cpu")


@pytest.fixture(scope="module")
def record(finished, evaluation):
    return records.make(finished, evaluation, label="a part of the digits", commit="abc123")


@pytest.fixture
def file(tmp_path, record):
    records.write(tmp_path / "small.json", record)
    return tmp_path / "small.json"


def test_a_record_comes_back_whole(file, record):
    assert records.read(file) == record
    assert file.stat().st_size < 20_000
    assert max(map(len, file.read_text().splitlines())) < 1000  # a line a row: `diff` can compare two records


def test_it_says_what_was_computed(record, finished):
    assert record.recipe == finished.recipe and record.rounding == "stochastic"
    assert record.label == "a part of the digits"
    for name, value in finished.dataset.items():
        assert record.dataset[name] == (pytest.approx(value, rel=1e-5) if name in ("mean", "std") else value)
    (chain,) = record.chains
    assert chain["provenance"] == finished.provenance and (chain["chain"], chain["seed"]) == (0, finished.recipe.seed)
    assert record.seconds == pytest.approx(sum(row["seconds"] for row in finished.history), rel=1e-5)
    for kept, row in zip(record.history, finished.history, strict=True):
        assert kept["branches"] == row["branches"]
        flat = {name for name in row if name != "branches"}
        assert {name: kept[name] for name in flat} == pytest.approx({name: row[name] for name in flat}, rel=1e-5)


def test_two_results_are_compared_image_by_image(finished, evaluation, record):
    """The ensemble beside its own last sample."""
    alone = records.make(finished, dataclasses.replace(evaluation, probabilities=evaluation.last))
    found = records.compare(alone, record)
    for score, difference in found.items():
        both = [metrics.summary(p, evaluation.labels)[score] for p in (evaluation.last, evaluation.probabilities)]
        assert difference.value == pytest.approx(both[0] - both[1], abs=5e-4)  # float16 in the file
    assert found["error"].images == len(evaluation.labels)


OTHER = {"fingerprint": "x", "test": 360}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"outcomes": []}, "each image of a part of the digits was not recorded"),
        ({"dataset": OTHER}, "not the same test"),
    ],
)
def test_results_on_other_images_are_not_compared(record, other, told):
    with pytest.raises(StorageError, match=told):
        records.compare(record, dataclasses.replace(record, **other))


def test_comparable_are_the_most_that_saw_the_same_images(record):
    there = {name: dataclasses.replace(record, dataset=OTHER) for name in ("b", "c")}
    results = {"a": record, **there, "d": record, "e": dataclasses.replace(record, outcomes=[]), "f": record}
    assert list(records.comparable(results)) == ["a", "d", "f"]
    assert list(records.comparable(there | {"a": record})) == ["b", "c"]
    assert records.comparable({"e": results["e"]}) == {}


def test_a_large_test_set_leaves_no_outcomes(finished, evaluation, record, monkeypatch):
    assert record.outcomes
    monkeypatch.setattr(records, "_MOST_OUTCOMES", len(evaluation.labels) - 1)
    assert records.make(finished, evaluation).outcomes == []


def test_branches_are_kept_for_some_epochs(finished, evaluation):
    long = dataclasses.replace(finished, history=[finished.history[0] | {"epoch": e} for e in range(1, 246)])
    history = records.make(long, evaluation).history
    with_branches = [row["epoch"] for row in history if "branches" in row]
    assert len(history) == 245 and 20 <= len(with_branches) <= 25 and with_branches[-1] == 245


def test_its_numbers_are_those_of_the_evaluation(record, evaluation):
    assert record.scores["samples"] == 3 and record.scores["chains"] == 1
    for who, probabilities in (("ensemble", evaluation.probabilities), ("last_sample", evaluation.last)):
        assert record.scores[who] == pytest.approx(metrics.summary(probabilities, evaluation.labels), rel=1e-5)
        expected = metrics.reliability(probabilities, evaluation.labels)
        for kept, exact in zip(record.diagram(who), expected, strict=True):
            torch.testing.assert_close(kept.double(), exact.double(), rtol=1e-5, atol=0, equal_nan=True)
        assert record.abstention[who]["accuracy"][-1] == pytest.approx(1 - record.scores[who]["error"], rel=1e-5)
    assert [row["samples"] for row in record.curve] == [1, 2, 3]
    assert record.curve[-1] == pytest.approx({"samples": 3} | record.scores["ensemble"])


def test_every_image_is_in_the_histogram_of_entropy(record, evaluation):
    edges, right, wrong = (torch.tensor(record.entropy[name]) for name in ("edges", "right", "wrong"))
    assert edges[-1].item() == pytest.approx(math.log(10), rel=1e-5)
    errors = (evaluation.probabilities.argmax(1) != evaluation.labels).sum()
    assert wrong.sum() == errors and right.sum() == len(evaluation.labels) - errors
    beyond = (evaluation.entropy > edges[10].item()).sum()
    assert (right + wrong)[10:].sum() == beyond


def test_no_path_of_the_machine_gets_in(tmp_path, finished, evaluation, digits):
    """A folder's dataset is named by its path."""
    name = f"folder:{tmp_path}/images.tar.xz"
    run = dataclasses.replace(
        finished, recipe=finished.recipe.override(dataset=name), dataset=finished.dataset | {"name": name}
    )
    other = dataclasses.replace(digits, name=name, test_images=255 - digits.test_images)
    records.write(tmp_path / "result.json", records.make(run, evaluation, dataset=other))
    text = (tmp_path / "result.json").read_text()
    assert str(tmp_path) not in text and "/" not in text.replace("\\/", "")
    back = records.read(tmp_path / "result.json")
    assert back.label == back.recipe.dataset == back.dataset["name"] == "folder:images.tar.xz"


def test_images_other_than_those_trained_on_are_told(finished, evaluation, digits):
    other = dataclasses.replace(digits, name="folder:x/inverted", test_images=255 - digits.test_images)
    told = records.make(finished, evaluation, dataset=other).dataset
    assert told["fingerprint"] == other.fingerprint != digits.fingerprint
    assert told["trained_on"] == {"name": "digits", "train": 500, "fingerprint": digits.fingerprint}
    same = dataclasses.replace(digits, name="folder:elsewhere")
    assert "trained_on" not in records.make(finished, evaluation, dataset=same).dataset


def test_chains_are_kept_apart(finished, evaluation):
    second = dataclasses.replace(finished, chain=1)
    both = records.make([finished, second], evaluation)
    assert [chain["chain"] for chain in both.chains] == [0, 1]
    again = dataclasses.replace(finished, recipe=finished.recipe.override(seed=7))
    seeds = [chain["seed"] for chain in records.make([finished, again], evaluation).chains]
    assert seeds == [finished.recipe.seed, 7]
    assert both.seconds == pytest.approx(2 * sum(row["seconds"] for row in finished.history), rel=1e-5)


def test_an_empty_bin_survives(tmp_path, record):
    empty = [math.isnan(value) for value in record.diagram("ensemble").confidence.tolist()]
    assert any(empty), "no network of these is ever less than 1/10 sure"
    assert [value is None for value in record.reliability["ensemble"]["confidence"]] == empty


def test_all_records_of_a_folder(tmp_path, record):
    assert records.read_all(tmp_path / "missing") == {}
    for name in ("b", "a"):
        records.write(tmp_path / f"{name}.json", record)
    (tmp_path / "README.md").write_text("not a record")
    assert list(records.read_all(tmp_path)) == ["a", "b"]
    (tmp_path / "sweep.json").write_text("{}")
    assert list(records.read_all(tmp_path, "?.json")) == ["a", "b"]


def changed(text: str, **fields) -> str:
    body = json.loads(text)
    return json.dumps(body | fields)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-30], "truncated, or no JSON"),
        (lambda text: "[1, 2]", "no result that `lpsgld evaluate RUN --json FILE` wrote"),
        (lambda text: '{"error": 0.1}', "no result that"),
        (lambda text: changed(text, version=99), "version 99, but version 1 is needed: evaluate again"),
        (lambda text: changed(text, label="ImageNet"), "changed after it was written"),
        (lambda text: text.encode("utf-16").decode("latin1"), "truncated, or no JSON"),
    ],
)
def test_foreign_and_damaged_files(file, damage, message):
    file.write_text(damage(file.read_text()))
    with pytest.raises(StorageError, match=message):
        records.read(file)


@pytest.mark.parametrize("content", [b"my thesis", b'{"a": 1}', b"[]", b"[" * 100_000, b"\x89PNG", b"9" * 5000, b""])
def test_a_file_that_is_no_record_is_not_replaced(tmp_path, record, content):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="results.json.*It stays as it is: give another file"):
        records.write(path, record)
    assert path.read_bytes() == content
    with pytest.raises(StorageError, match="results.json"):
        records.read(path)


def test_a_record_may_be_replaced_but_not_a_damaged_one(file, record):
    records.write(file, dataclasses.replace(record, label="once more"))
    assert records.read(file).label == "once more"
    file.write_text(changed(file.read_text(), version=0))
    records.write(file, record)
    file.write_bytes(file.read_bytes()[:-30])
    before = file.read_bytes()
    with pytest.raises(StorageError, match="is truncated, .*It stays as it is"):
        records.write(file, record)
    assert file.read_bytes() == before


def test_a_pipe_is_not_read_and_not_replaced(tmp_path, record):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="pipe is a device or a pipe. It stays as it is"):
        records.write(tmp_path / "pipe", record)
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_is_no_file_for_a_record(tmp_path, record):
    with pytest.raises(StorageError, match="Is a directory"):
        records.write(tmp_path, record)


@pytest.mark.parametrize(("field", "value"), [("chains", None), ("scores", 5), ("curve", {}), ("label", None)])
def test_fields_of_other_types_are_those_of_another_lpsgld(file, field, value):
    body = json.loads(file.read_text()) | {field: value}
    del body["sha256"]
    file.write_text(json.dumps(body | {"sha256": records._digest(body)}))
    with pytest.raises(StorageError, match=f"of another lpsgld: {field} is no"):
        records.read(file)


def test_a_record_of_images_that_nobody_knows(file):
    body = json.loads(file.read_text())
    del body["sha256"], body["dataset"]["fingerprint"]
    file.write_text(json.dumps(body | {"sha256": records._digest(body)}))
    with pytest.raises(StorageError, match="of another lpsgld: fingerprint is missing"):
        records.read(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(StorageError, match="cannot read the result .*nothing.json: No such file"):
        records.read(tmp_path / "nothing.json")


def test_a_record_of_another_lpsgld(file):
    body = json.loads(file.read_text())
    body["recipe"]["preconditioner"] = 0.9
    del body["sha256"]
    file.write_text(json.dumps(body | {"sha256": records._digest(body)}))
    with pytest.raises(StorageError, match="of another lpsgld: there is no field 'preconditioner'"):
        records.read(file)
