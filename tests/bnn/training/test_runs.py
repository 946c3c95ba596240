"""A run's folder: strangers' files stay, and whatever is read is of this run."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from lpsgld import storage
from lpsgld.bnn.judging import ensemble
from lpsgld.bnn.studies import shifts
from lpsgld.bnn.training import loop, probe, runs
from lpsgld.bnn.training.runs import Run, RunError


def train(recipe, out, dataset, **options) -> Run:
    return loop.train(recipe, out, dataset=dataset, progress=False, device="cpu", **options)


def everything(folder: Path) -> dict[str, bytes | None]:
    """Every file below, the lock aside."""
    found = sorted(path for path in folder.rglob("*") if path.name != ".lock")
    return {str(path): path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A finished run to do harm to."""
    return shutil.copytree(finished.path, tmp_path / "run")


@pytest.fixture(scope="module")
def other(digits, finished, tmp_path_factory) -> Run:
    """The same recipe with another seed."""
    return train(finished.recipe.override(seed=1), tmp_path_factory.mktemp("other") / "run", digits)


@pytest.fixture
def stopped(digits, small, tmp_path, monkeypatch):
    """A function that trains some epochs of a recipe into a folder, and is killed there."""

    def until(epochs: int, out: Path = tmp_path / "stopped", recipe=small) -> Path:
        saved = []

        def save(*arguments):
            storage.save_tensors(*arguments)
            saved.append(arguments)
            if len(saved) == epochs:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(loop, "save_tensors", save)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, out, digits)
        return out

    return until


def test_a_run_from_before_a_field_was_there_is_one_with_its_default(copied, finished, digits):
    """Recipes, samples and records of an older lpsgld know no sampler."""
    about = json.loads((copied / "recipe.json").read_text("utf-8"))
    for field in ("sampler", "momentum"):
        del about["recipe"][field]
    (copied / "recipe.json").write_text(json.dumps(about), "utf-8")
    assert Run.open(copied).recipe == finished.recipe
    assert runs.differences(about | {"images": digits.fingerprint}, runs.identity(finished)) == ""
    with pytest.raises(RunError, match="sampler is 'sgld' there and 'sghmc' here"):
        train(finished.recipe.override(sampler="sghmc"), copied, digits)


@pytest.mark.parametrize(("all_inputs", "sites"), [(False, "residual"), (True, "all")])
def test_a_file_from_before_there_were_sites_is_of_the_network_of_then(finished, all_inputs, sites):
    """It rounded the residual stream, too: no file of it is taken for one of the paper's network."""
    here = runs.identity(finished)
    then = {name: value for name, value in here["recipe"].items() if name != "sites"} | {"all_inputs": all_inputs}
    assert runs.differences(here | {"recipe": then}, here) == f"sites is '{sites}' there and 'paper' here"
    harsher = here | {"recipe": here["recipe"] | {"sites": sites}}
    assert runs.differences(here | {"recipe": then}, harsher) == ""


def test_a_run_from_before_there_were_sites_is_refused(copied, digits, small):
    about = json.loads((copied / "recipe.json").read_text("utf-8"))
    del about["recipe"]["sites"]
    (copied / "recipe.json").write_text(
        json.dumps(about | {"recipe": about["recipe"] | {"all_inputs": False}}), "utf-8"
    )
    with pytest.raises(RunError, match="there is no field 'all_inputs'"):
        train(small, copied, digits)


# ---- strangers' files ------------------------------------------------------------------------------------------------

STRANGERS = (".notes.tmp", "sub/.draft.tmp", "a/.recipe.json.12.tmp", ".recipe.json.tmp", ".metrics.jsonl.old.tmp")


@pytest.mark.parametrize("name", [*STRANGERS, "metrics.jsonl", "checkpoint.safetensors", "samples/.x.tmp", ".lock"])
def test_a_folder_of_strangers_is_refused_and_left_alone(tmp_path, digits, small, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(RunError, match="no run folder, but holds"):
        train(small, tmp_path, digits)
    assert everything(tmp_path) == before
    assert (tmp_path / ".lock").exists() == (name == ".lock"), "a lock was left in a stranger's folder"


def test_a_strangers_recipe_is_refused_and_left_alone(tmp_path, digits, small):
    (tmp_path / "recipe.json").write_text('{"flour": 500}')
    with pytest.raises(RunError, match="damaged training run: chain is missing .in recipe.json.*Put this run's own"):
        train(small, tmp_path, digits)
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.json"}


def test_a_links_target_is_no_leftover(tmp_path, digits, small):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.json.12.tmp").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="holds .recipe.json.12.tmp"):
        train(small, tmp_path / "run", digits)
    assert (tmp_path / "run" / ".recipe.json.12.tmp").is_symlink()


def test_in_a_runs_own_folder_only_its_own_leftovers_go(copied, digits, small):
    own = [copied / ".metrics.jsonl.12.tmp", copied / "samples" / ".0004.safetensors.12.tmp"]
    theirs = [copied / name for name in (*STRANGERS, "notes.txt", "samples/.0004.tmp", "samples/.metrics.tmp")]
    (copied / ".x.tmp").mkdir()
    for path in own + theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert train(small, copied, digits).finished
    assert [path.exists() for path in own] == [False, False] and all(path.exists() for path in theirs)
    assert (copied / ".x.tmp").is_dir()


@pytest.mark.parametrize("content", ["notes", "other"])
def test_a_strangers_file_is_not_overwritten_by_a_sample(stopped, digits, small, other, content):
    run = stopped(3)
    path = runs.sample_path(run, 4)
    path.parent.mkdir()
    path.write_bytes(b"notes" if content == "notes" else other.samples[0].read_bytes())
    before = everything(run)
    with pytest.raises(RunError, match="0004.safetensors.*(move it away|seed is 1 there and 0 here)"):
        train(small, run, digits)
    assert everything(run) == before


def test_the_checkpoint_of_another_run_is_not_removed(stopped, copied, tmp_path, digits, small):
    foreign = runs.checkpoint_path(stopped(1, tmp_path / "seed", small.override(seed=1)))
    shutil.copy(foreign, copied)
    assert train(small, copied, digits).finished
    assert runs.checkpoint_path(copied).read_bytes() == foreign.read_bytes()


# ---- samples ---------------------------------------------------------------------------------------------------------


def in_another_run(fields: dict, chain: int, images: int, small, digits, folder: Path) -> Path:
    run = train(small.override(**fields), folder, digits.subset(images, 200), chain=chain)
    return run.samples[-1]


@pytest.mark.parametrize(
    ("fields", "chain", "images", "said"),
    [
        ({"seed": 1}, 0, 500, "seed is 1 there and 0 here"),
        ({"lr": 0.25, "temperature": 0.1}, 0, 500, "lr is 0.25 there and 0.5 here; temperature is 0.1 there"),
        ({}, 1, 500, "it is chain 1 there and 0 here"),
        ({}, 0, 400, "the data of digits are not those that it began with"),
    ],
)
def test_a_sample_of_another_run_is_refused(copied, digits, small, tmp_path, fields, chain, images, said):
    shutil.copy(in_another_run(fields, chain, images, small, digits, tmp_path / "other"), copied / "samples")
    before = everything(copied)
    with pytest.raises(RunError, match=f"0006.safetensors is not of this run: {said}.*Put this run's own file"):
        ensemble.evaluate(copied, digits, device="cpu", progress=False)
    assert everything(copied) == before


def test_a_sample_of_another_epoch_is_refused_whoever_reads_it(copied, digits):
    run = Run.open(copied)
    shutil.copy(run.samples[0], run.samples[2])
    for read in (
        lambda: ensemble.evaluate(run, digits, device="cpu", progress=False),
        lambda: probe.numbers(run, digits, device="cpu"),
        lambda: shifts.members(run, digits, {("noisy", 0.0): digits.test_images}, device="cpu"),
    ):
        with pytest.raises(RunError, match="it is epoch 4 there and 6 here"):
            read()


def test_a_network_that_somebody_else_saved_is_refused(copied, digits):
    storage.save_sample(copied / "samples" / "0006.safetensors", torch.nn.Linear(2, 2), None, {})
    with pytest.raises(RunError, match="0006.safetensors is not of this run: dataset is 'cifar10' there"):
        ensemble.evaluate(copied, digits, device="cpu", progress=False)


def test_a_lost_sample_is_told_by_all_who_open_the_run(copied, digits, small):
    (copied / "samples" / "0005.safetensors").unlink()
    for call in (lambda: Run.open(copied), lambda: train(small, copied, digits)):
        with pytest.raises(RunError, match="there is no .*0005.safetensors"):
            call()


def test_samples_of_an_older_version_are_judged_by_what_they_tell(finished, other):
    sample = storage.load_sample(finished.samples[0])
    assert runs.differences({"recipe": sample.recipe}, runs.identity(finished)) == ""
    assert "seed is 0 there and 1 here" in runs.differences({"recipe": sample.recipe}, runs.identity(other))


# ---- chains ----------------------------------------------------------------------------------------------------------


def test_a_chain_counts_once(finished, digits, tmp_path):
    for chain in range(2):
        shutil.copytree(finished.path, tmp_path / f"chain-{chain}")
    with pytest.raises(RunError, match=r"chain-1 and .*chain-0 are the same chain \(seed 0, chain 0\)"):
        runs.open_all(tmp_path)
    with pytest.raises(RunError, match="the same chain"):
        ensemble.evaluate([finished, finished], digits, device="cpu")
    with pytest.raises(RunError, match="there is no run"):
        ensemble.evaluate([], digits, device="cpu")


def test_chains_of_one_recipe_may_have_other_seeds_but_nothing_else(finished, other, digits, small, tmp_path):
    shutil.copytree(finished.path, tmp_path / "chain-0")
    shutil.copytree(other.path, tmp_path / "chain-1")
    (tmp_path / "chain-notes.txt").write_text("")
    assert [run.recipe.seed for run in runs.open_all(tmp_path)] == [0, 1]
    train(small.override(temperature=0.0), tmp_path / "chain-2", digits)
    with pytest.raises(RunError, match="chain-2 is no chain beside .*chain-0: temperature is 0.0 there and 0.001 here"):
        runs.open_all(tmp_path)


# ---- the checkpoint and the history ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"seed": 1}, "seed is 1 there"), ({"lr": 0.25}, "lr is 0.25 there"), ({"width": 8}, "width is 8 there")],
)
def test_a_checkpoint_of_another_run_is_refused(stopped, digits, small, tmp_path, fields, said):
    run = stopped(1)
    shutil.copy(runs.checkpoint_path(stopped(1, tmp_path / "other", small.override(**fields))), run)
    before = everything(run)
    with pytest.raises(RunError, match=f"checkpoint.safetensors is not of this run: {said}"):
        train(small, run, digits)
    assert everything(run) == before


@pytest.mark.parametrize("kept", [0, 1])
def test_lost_lines_of_the_history_come_back_from_the_checkpoint(stopped, digits, small, finished, kept):
    run = stopped(2)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:kept]))
    again = train(small, run, digits)
    assert again.finished and Run.open(run).finished
    assert [row["train_loss"] for row in again.history] == [row["train_loss"] for row in finished.history]
    assert [p.read_bytes() for p in again.samples] == [p.read_bytes() for p in finished.samples]


def test_without_a_checkpoint_only_the_first_epoch_is_done_again(stopped, digits, small, tmp_path):
    run = stopped(2)
    runs.checkpoint_path(run).unlink()
    with pytest.raises(RunError, match="metrics.jsonl tells of 2 epochs, but there is no checkpoint.safetensors"):
        train(small, run, digits)
    early = stopped(1, tmp_path / "early")
    runs.checkpoint_path(early).unlink()
    assert train(small, early, digits).finished


def test_an_older_checkpoint_is_refused(stopped, digits, small, tmp_path):
    old = runs.checkpoint_path(stopped(1, tmp_path / "old")).read_bytes()
    run = stopped(3)
    runs.checkpoint_path(run).write_bytes(old)
    before = everything(run)
    with pytest.raises(RunError, match="metrics.jsonl and checkpoint.safetensors tell of different epochs"):
        train(small, run, digits)
    assert everything(run) == before


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_a_finished_run_that_lost_lines_is_refused_and_not_trained_again(copied, digits, small, kept):
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copied / "metrics.jsonl").write_text("".join(lines[:kept]))
    before = everything(copied)
    with pytest.raises(RunError, match=r"metrics.jsonl tells of .*\d epochs"):
        train(small, copied, digits)
    assert everything(copied) == before


HARM = {
    "reordered": lambda lines: lines[::-1],
    "first lost": lambda lines: lines[1:],
    "twice": lambda lines: [lines[0], *lines],
    "one too many": lambda lines: [*lines, lines[-1].replace('"epoch": 6', '"epoch": 7')],
    "edited": lambda lines: [lines[0].replace('"test_error": 0', '"test_error": 1'), *lines[1:]],
    "cut": lambda lines: [*lines[:-1], lines[-1][:30]],
    "no object": lambda lines: ["[1]\n", "2\n"],
    "no fields": lambda lines: ['{"epoch": 1, "sampled": false}\n', *lines[1:]],
    "no number": lambda lines: [lines[0].replace('"epoch": 1', '"epoch": "1"'), *lines[1:]],
    "deep": lambda lines: ["[" * 100_000],
    "blank": lambda lines: [*lines, "\n"],
    "another seed": None,
}


@pytest.mark.parametrize("harm", HARM)
def test_a_changed_history_is_refused_by_training_and_evaluation(copied, other, digits, small, harm):
    path = copied / "metrics.jsonl"
    if harm == "another seed":
        shutil.copy(other.path / "metrics.jsonl", path)
    else:
        path.write_text("".join(HARM[harm](path.read_text().splitlines(keepends=True))))
    before = everything(copied)
    with pytest.raises(RunError, match=r"damaged training run: .* \(in metrics.jsonl\). Put this run's own file"):
        train(small, copied, digits)
    with pytest.raises(RunError, match="metrics.jsonl"):
        ensemble.evaluate(copied, digits, device="cpu")
    assert everything(copied) == before


def test_a_history_of_an_older_version_has_no_digests(copied, finished):
    lines = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    assert all(len(row.pop("check")) == 16 for row in lines)
    (copied / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    assert Run.open(copied).history == finished.history


# ---- recipe.json -----------------------------------------------------------------------------------------------------


def test_a_run_from_before_there_were_losses_is_read(copied, finished):
    """Nor is its digest another one."""
    about = json.loads((copied / "recipe.json").read_text())
    assert about["recipe"].pop("loss") == "cross_entropy"
    (copied / "recipe.json").write_text(json.dumps(about))
    assert Run.open(copied).history == finished.history
    told = {"recipe": about["recipe"], "chain": 0, "images": about["dataset"]["fingerprint"]}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    row = json.loads((copied / "metrics.jsonl").read_text().splitlines()[0])
    check = row.pop("check")
    digest.update(json.dumps(row, sort_keys=True).encode())
    assert digest.hexdigest()[:16] == check


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("dataset", {}),
        ("dataset", []),
        ("dataset", None),
        ("chain", "0"),
        ("chain", True),
        ("chain", -1),
        ("provenance", None),
        ("recipe", []),
        ("dataset.fingerprint", 5),
        ("dataset.image_shape", [8]),
        ("dataset.classes", 10),
    ],
)
def test_a_damaged_recipe_json_is_told_in_one_line(copied, digits, small, part, value):
    about = json.loads((copied / "recipe.json").read_text())
    outer, _, inner = part.partition(".")
    (about[outer] if inner else about)[inner or outer] = value
    (copied / "recipe.json").write_text(json.dumps(about))
    for call in (lambda: train(small, copied, digits), lambda: runs.open_all(copied)):
        with pytest.raises(RunError, match="damaged training run: .*recipe"):
            call()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"chain": ' + b"9" * 5000])
def test_a_recipe_json_that_is_no_json_is_told_in_one_line(copied, content):
    (copied / "recipe.json").write_bytes(content)
    with pytest.raises(RunError, match="damaged training run: .*in recipe.json"):
        Run.open(copied)


@pytest.mark.parametrize(("part", "value"), [("lr", 0.25), ("seed", 7), ("chain", 3), ("fingerprint", "0" * 16)])
def test_a_changed_recipe_json_does_not_fit_its_own_files(copied, digits, part, value):
    about = json.loads((copied / "recipe.json").read_text())
    next(held for held in (about, about["recipe"], about["dataset"]) if part in held)[part] = value
    (copied / "recipe.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="metrics.jsonl"):
        ensemble.evaluate(copied, digits, device="cpu")


@pytest.mark.parametrize("file", ["recipe.json", "metrics.jsonl"])
def test_a_folder_in_the_place_of_a_file_is_told(copied, file):
    (copied / file).unlink()
    (copied / file).mkdir()
    with pytest.raises(RunError, match=f"cannot read .*{file}: Is a directory"):
        Run.open(copied)
