"""The training loop: it learns, repeats itself, survives being killed, and says what went wrong."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

import lpsgld
from lpsgld import storage
from lpsgld.bnn import devices
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import DatasetError
from lpsgld.bnn.judging import ensemble
from lpsgld.bnn.training import loop, runs
from lpsgld.bnn.training.recipes import RECIPES, RecipeError
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.bnn.training.stepping import Stepper
from lpsgld.files import FileError
from lpsgld.storage import StorageError

RESNET = RECIPES["train_bfp"].override(dataset="digits", model="resnet10", width=4, epochs=4, samples=2)


def train(recipe, out, dataset, **options) -> Run:
    return loop.train(recipe, out, dataset=dataset, progress=False, device="cpu", **options)


def sample_bytes(run: Run) -> list[bytes]:
    return [path.read_bytes() for path in run.samples]


def without_times(run: Run) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.history]


# ---- what comes out --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_8_bit_resnet_learns_digits(tmp_path):
    """Chance is 10 %; width 8 comes to 97 % in 10 epochs."""
    recipe = RESNET.override(width=8, epochs=8)
    run = train(recipe, tmp_path, datasets.load("digits"))
    assert run.history[-1]["test_error"] < 0.1
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"] / 4


def test_a_run_leaves_what_it_promises(finished, digits):
    assert finished.finished
    assert sorted(os.listdir(finished.path)) == [".lock", "metrics.jsonl", "recipe.json", "samples"]
    assert [path.name for path in finished.samples] == [f"{epoch:04d}.safetensors" for epoch in (4, 5, 6)]
    assert [row["epoch"] for row in finished.history] == [1, 2, 3, 4, 5, 6]
    assert [row["sampled"] for row in finished.history] == [False] * 3 + [True] * 3
    assert finished.history[0]["step_size"] == 0.5 and finished.history[-1]["step_size"] == pytest.approx(0.005)
    assert finished.dataset["fingerprint"] == digits.fingerprint and finished.dataset["train"] == 500
    about = {"lpsgld", "torch", "python", "platform", "device", "started", "compiled", "tf32"}
    assert about == set(finished.provenance) and not finished.provenance["compiled"]
    assert Run.open(finished.path) == finished


def test_samples_lie_on_their_grid_and_hold_the_recipe(finished):
    sample = storage.load_sample(finished.samples[0])
    assert sample.recipe == finished.recipe.to_dict()
    weight = sample.state["hidden.weight"]
    assert torch.equal(lpsgld.quantize(weight, sample.weight, "nearest"), weight)


def test_buffers_travel_with_the_sample(tmp_path, digits):
    run = train(RESNET.override(epochs=1, samples=1), tmp_path, digits)
    state = storage.load_sample(run.samples[0]).state
    assert state["bn1.num_batches_tracked"] == 4 and state["bn1.running_var"].min() > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"weight": "fixed(8,8)", "accumulator": "full"},
        {"weight": "full", "grad": "full", "accumulator": "full", "temperature": 0.0},
        {"sampler": "sghmc", "lr": 0.05},
        {"sampler": "sghmc", "lr": 0.05, "accumulator": "full"},
    ],
)
def test_other_formats_and_samplers_train_too(tmp_path, digits, small, fields):
    run = train(small.override(epochs=3, samples=1, **fields), tmp_path, digits)
    assert run.history[-1]["test_error"] < 0.5


def test_a_last_batch_of_one_image_is_left_out_where_batchnorm_is(tmp_path, digits):
    run = train(RESNET.override(epochs=1, samples=1, batch_size=499), tmp_path, digits)
    assert storage.load_sample(run.samples[0]).state["bn1.num_batches_tracked"] == 1


@pytest.mark.parametrize(("images", "batch_size", "steps"), [(33, 32, 2), (5, 1, 5), (1, 128, 1), (4, 2**70, 1)])
def test_without_batchnorm_every_image_is_used(digits, small, images, batch_size, steps):
    stepper = Stepper(small.override(batch_size=batch_size), digits.subset(images, 1), torch.device("cpu"))
    batches = stepper.batches()
    assert torch.cat(batches).sort().values.tolist() == list(range(images))
    assert len(batches) == stepper.steps == steps


@pytest.mark.parametrize(("images", "batch_size"), [(1, 128), (9, 1)])
def test_batchnorm_over_single_images_is_refused_before_the_folder_is_taken(tmp_path, digits, images, batch_size):
    with pytest.raises(RecipeError, match="the BatchNorm of a resnet10 has no variance: take a batch_size of 2"):
        train(RESNET.override(batch_size=batch_size), tmp_path, digits.subset(images, 9))
    assert os.listdir(tmp_path) == [".lock"]


# ---- the same again --------------------------------------------------------------------------------------------


def test_same_seed_same_bits_other_seed_or_chain_other_bits(tmp_path, digits, small, finished):
    again = train(small, tmp_path / "again", digits)
    assert sample_bytes(again) == sample_bytes(finished) and without_times(again) == without_times(finished)
    seed = train(small.override(seed=1), tmp_path / "seed", digits)
    chain = train(small, tmp_path / "chain", digits, chain=1)
    losses = {run.history[-1]["train_loss"] for run in (finished, seed, chain)}
    assert len(losses) == 3


def test_the_callers_random_numbers_are_left_alone(tmp_path, digits, small):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(small.override(epochs=1, samples=1), tmp_path, digits)
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_is_returned_at_once(finished, digits, small, monkeypatch):
    monkeypatch.setattr(loop, "_Trainer", lambda *a: pytest.fail("trained again"))
    assert train(small, finished.path, digits) == finished


@pytest.fixture(scope="module", params=["sgld full", "sgld naive", "sgld vc", "sghmc full", "sghmc vc"])
def uninterrupted(request, digits, tmp_path_factory) -> Run:
    sampler, accumulator = request.param.split()
    recipe = RESNET.override(sampler=sampler, accumulator=accumulator, samples=3)
    return train(recipe, tmp_path_factory.mktemp("whole") / accumulator, digits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "write", "call"),
    [(runs, "write_history", 4), (loop, "save_tensors", 3)],
    ids=["history", "checkpoint"],
)
def test_an_interrupted_run_ends_in_the_same_bits(tmp_path, digits, monkeypatch, uninterrupted, module, write, call):
    """Stopped within what epoch 3 saves: before its metrics, or before its checkpoint."""
    original, calls = getattr(module, write), []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, write, stop)
        with pytest.raises(KeyboardInterrupt):
            train(uninterrupted.recipe, tmp_path, digits)
    assert len(Run.open(tmp_path).history) == (2 if write == "write_history" else 3)
    resumed = train(uninterrupted.recipe, tmp_path, digits)
    assert sample_bytes(resumed) == sample_bytes(uninterrupted)
    assert without_times(resumed) == without_times(uninterrupted)
    assert not runs.checkpoint_path(tmp_path).exists()


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "switch",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.autocast("cpu", torch.float16),
        torch.no_grad,
        torch.inference_mode,
        lambda: default_dtype(torch.float64),
    ],
    ids=["bfloat16", "float16", "no_grad", "inference_mode", "float64"],
)
def test_switches_of_the_caller_change_no_bit(tmp_path, digits, small, finished, switch):
    with switch():
        run = train(small, tmp_path, digits)
        told = ensemble.evaluate(run, digits, device="cpu", progress=False)
    assert sample_bytes(run) == sample_bytes(finished)
    expected = ensemble.evaluate(finished, digits, device="cpu", progress=False)
    assert torch.equal(told.probabilities, expected.probabilities) and told.curve == expected.curve


def test_a_run_that_goes_on_with_other_threads_says_so_and_remembers(tmp_path, digits, small, capsys):
    train(small, tmp_path, digits, time_limit=0)
    train(small, tmp_path, digits, time_limit=0)
    assert capsys.readouterr().err == ""
    torch.set_num_threads(2)
    try:
        run = train(small, tmp_path, digits)
    finally:
        torch.set_num_threads(1)
    assert [row["threads"] for row in run.history] == [1, 1, 2, 2, 2, 2]
    said = capsys.readouterr().err
    assert said.count("computed on 1 threads of a CPU, the next one is on 2 threads of a CPU: the bits will be") == 1


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from lpsgld.bnn.data import datasets
from lpsgld.bnn.training import loop
from lpsgld.bnn.training.recipes import Recipe
digits = datasets.load("digits")
loop.train(Recipe.from_json(sys.argv[1]), sys.argv[2], dataset=digits, progress=False, device="cpu")
"""


@pytest.mark.slow
def test_kill_9_in_mid_epoch_loses_only_that_epoch(tmp_path):
    recipe = RESNET.override(accumulator="full", epochs=4, samples=3)
    whole = train(recipe, tmp_path / "whole", datasets.load("digits"))
    script = [sys.executable, "-c", textwrap.dedent(SCRIPT), recipe.to_json(), str(tmp_path / "cut")]
    with subprocess.Popen(script) as process:
        try:
            deadline = time.monotonic() + 120
            while _epochs_saved(tmp_path / "cut") < 2:
                assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
                time.sleep(0.02)
        finally:
            process.kill()
    kept = Run.open(tmp_path / "cut")
    assert 2 <= len(kept.history) < 4
    first = kept.samples[0].stat().st_mtime_ns
    resumed = train(recipe, tmp_path / "cut", datasets.load("digits"))
    assert resumed.samples[0].stat().st_mtime_ns == first  # epoch 2 was not trained again
    assert sample_bytes(resumed) == sample_bytes(whole) and without_times(resumed) == without_times(whole)


def _epochs_saved(path) -> int:
    checkpoint = runs.checkpoint_path(path)
    return storage.load_tensors(checkpoint, "checkpoint")[1]["epoch"] if checkpoint.exists() else 0


# ---- what goes wrong -------------------------------------------------------------------------------------------


def test_divergence_stops_with_the_step_and_keeps_what_was_saved(tmp_path, digits, monkeypatch):
    recipe = RESNET.override(samples=4)
    gradient, calls = Stepper.gradient, []

    def poisoned(self, *arguments, **named):
        calls.append(arguments)
        if len(calls) == 14:  # 4 steps an epoch and 2 looks after them: the second step of epoch 3
            next(self.model.parameters()).data[0, 0, 0, 0] = float("nan")
        return gradient(self, *arguments, **named)

    monkeypatch.setattr(Stepper, "gradient", poisoned)
    message = r"epoch 3: step 10: the gradient of \S+ is not finite.*lr is 0.5.*2 samples and 2 epochs stay in"
    with pytest.raises(loop.TrainingDiverged, match=message):
        train(recipe, tmp_path, digits)
    kept = Run.open(tmp_path)
    assert len(kept.history) == 2 and not kept.finished
    assert all(storage.load_sample(path) for path in kept.samples)


def test_another_recipe_or_dataset_is_refused(finished, digits, small):
    with pytest.raises(RunError, match="lr is 0.5 there and 0.1 here.*Give another folder"):
        train(small.override(lr=0.1), finished.path, digits)
    with pytest.raises(RunError, match="chain 0 there and 2 here"):
        train(small, finished.path, digits, chain=2)
    with pytest.raises(RunError, match="data of digits are not those"):
        train(small, finished.path, digits.subset(400, 100))


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, digits, small):
    (tmp_path / "metrics.jsonl").write_text("")  # killed before recipe.json
    (tmp_path / ".recipe.json.123.tmp").write_text("{")
    assert train(small, tmp_path, digits).finished
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"weight": "block(8,1)"}, "does not fit the network: hidden.bias: block axis 1"),
        ({"grad": "block(8,1)"}, "does not fit the network: hidden.bias: block axis 1"),
        ({"activation": "block(8,3)"}, "does not fit the network: block axis 3"),
        ({"error": "mxfp4(block=16,axis=5)"}, "does not fit the network: .* run along axis 5"),
        ({"width": 10**12}, "width is 1000000000000, but no network is as wide"),
        ({"width": 2**31 - 1, "model": "resnet10"}, "a resnet10 of width 2147483647 .* does not fit into memory"),
    ],
)
def test_a_recipe_that_does_not_fit_does_not_take_the_folder(tmp_path, digits, small, fields, said):
    with pytest.raises(RecipeError, match=said):
        train(small.override(**fields), tmp_path, digits)
    assert train(small, tmp_path, digits).finished


def test_a_first_epoch_that_diverges_does_not_take_the_folder(tmp_path, digits, small):
    full = dict.fromkeys(("weight", "grad", "activation", "error", "accumulator"), "full")
    with pytest.raises(loop.TrainingDiverged, match="epoch 1.*0 samples and 0 epochs"):
        train(small.override(lr=1e30, **full), tmp_path, digits)
    assert train(small, tmp_path, digits).finished


def test_labels_without_a_class_are_refused(tmp_path, digits, small):
    with pytest.raises(DatasetError, match="digits names 2 classes, but has labels from 0 to 9"):
        train(small, tmp_path / "run", dataclasses.replace(digits, classes=("a", "b")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("chain", [-1, 1.5, True, "1"])
def test_a_chain_is_a_whole_number_from_0_up(tmp_path, digits, small, chain):
    with pytest.raises(ValueError, match="chain is"):
        train(small, tmp_path / "run", digits, chain=chain)
    assert not (tmp_path / "run").exists()
    recipe = small.override(epochs=1, samples=1)
    assert Run.open(train(recipe, tmp_path / "run", digits, chain=np.int64(1)).path).chain == 1


def test_an_error_that_is_told_already_is_not_taken_for_a_want_of_memory(tmp_path, digits, small, monkeypatch):
    def refuse(run):
        raise RunError(f"{run.path} is refused")

    monkeypatch.setattr(runs, "require_no_strangers", refuse)
    with pytest.raises(RunError, match="overflow is refused"):
        train(small, tmp_path / "overflow", digits)


@pytest.mark.parametrize("limit", [float("nan"), -1])
def test_a_time_limit_is_a_number_of_seconds(tmp_path, digits, small, limit):
    with pytest.raises(ValueError, match="time_limit is .*, but must be seconds"):
        train(small, tmp_path, digits, time_limit=limit)


def test_a_folder_with_other_files_is_refused(tmp_path, digits, small):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="no run folder, but holds thesis.tex"):
        train(small, tmp_path, digits)


@pytest.mark.slow
def test_two_processes_cannot_write_into_one_folder(tmp_path, digits, small):
    holder = "import sys, time; from pathlib import Path; from lpsgld.bnn.training import runs\n"
    holder += "with runs.locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is writing"):
            train(small, tmp_path, digits)
    finally:
        process.kill()
        process.communicate()
    train(small.override(epochs=1, samples=1), tmp_path, digits)  # a killed process holds no lock


def test_a_full_disk_is_named_and_the_run_goes_on_later(tmp_path, digits, small, monkeypatch):
    import errno

    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match="the disk of .* is full"):
            train(small, tmp_path, digits)
    assert train(small, tmp_path, digits).finished


def test_a_folder_that_cannot_be_made_is_named(tmp_path, digits, small):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write into .*file.run.*Choose another folder"):
        train(small, tmp_path / "file" / "run", digits)


def test_a_damaged_checkpoint_is_refused(tmp_path, digits, monkeypatch):
    original = loop.save_tensors

    def stop_after_first(*arguments):
        original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_tensors", stop_after_first)
        with pytest.raises(KeyboardInterrupt):
            train(RESNET, tmp_path, digits)
    path = runs.checkpoint_path(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="checkpoint.safetensors is truncated"):
        train(RESNET, tmp_path, digits)


def test_a_folder_without_a_run_is_named(tmp_path, finished):
    with pytest.raises(RunError, match="holds no training run: there is no recipe.json"):
        Run.open(tmp_path)
    with pytest.raises(RunError, match="no training run .* and no chains"):
        runs.open_all(tmp_path)
    about = json.loads((finished.path / "recipe.json").read_text())
    about["recipe"]["lrr"] = 1
    (tmp_path / "recipe.json").write_text(json.dumps(about))
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(RunError, match="damaged training run: there is no field 'lrr'"):
        Run.open(tmp_path)


@pytest.mark.parametrize(("name", "message"), [("gpu", "there is no device 'gpu'"), ("cuda:99", "CUDA devices here")])
def test_a_missing_device_is_named(name, message):
    with pytest.raises(devices.DeviceError, match=message):
        devices.pick_device(name)


@pytest.mark.parametrize("name", ["mps", "xpu", "meta", "hpu", "xla", "vulkan", "cpu:7", torch.device("meta")])
def test_other_kinds_of_devices_are_refused_at_once(name):
    with pytest.raises(devices.DeviceError, match=f'\'{name}\', but lpsgld computes on "cpu", "cuda"'):
        devices.pick_device(name)
    assert devices.pick_device("cpu:0").type == devices.pick_device(torch.device("cpu")).type == "cpu"


@pytest.mark.parametrize("name", [None, [], 1.5, ""])
def test_what_is_no_name_of_a_device(name):
    with pytest.raises(devices.DeviceError, match="there is no device"):
        devices.pick_device(name)


def test_progress_shows_loss_accuracy_and_step_size(tmp_path, digits, small, capsys):
    loop.train(small.override(epochs=1, samples=1), tmp_path, dataset=digits, device="cpu")
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("digits", "epoch=1/1", "loss=", "accuracy=", "step_size=", "step/s"))
