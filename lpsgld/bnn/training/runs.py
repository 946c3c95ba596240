"""The folder of a training run: what a chain leaves behind, and how it is found again.

    recipe.json              recipe, chain, dataset (sizes, fingerprint), provenance (versions, device, start)
    metrics.jsonl            one line an epoch
    samples/0196.safetensors one posterior sample, named by its epoch
    checkpoint.safetensors   where a killed run goes on; removed when it is finished
    .lock                    held while a process writes here

Several chains lie side by side as chain-0, chain-1, ... in one folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.files import FileError, write_atomically
from lpsgld.text import Mistake


class RunError(Mistake, RuntimeError):
    """A run folder that is missing, damaged, in use, or of another recipe."""


@dataclass(frozen=True)
class Run:
    """A training run on disk.

    history: one dict an epoch, with epoch, train_loss, train_error, test_nll, test_error, step_size (of the
    epoch's last step), sampled, seconds, and, unless weights are in full precision, branches (of `probe.told`
    in its last step). dataset: name, sizes, image_shape, classes, mean, std, fingerprint.
    """

    path: Path
    recipe: Recipe
    chain: int
    dataset: dict[str, Any]
    provenance: dict[str, Any]
    history: list[dict[str, Any]]

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in a folder, finished or not. Raises RunError if there is none."""
        path = Path(path)
        try:
            about = json.loads((path / "recipe.json").read_text())
            lines = (path / "metrics.jsonl").read_text().splitlines()
            history = [json.loads(line) for line in lines]
            recipe = Recipe.from_dict(about["recipe"])
            return cls(path, recipe, about["chain"], about["dataset"], about["provenance"], history)
        except FileNotFoundError as error:
            raise RunError(f"{path} holds no training run: there is no {Path(error.filename).name}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} holds a damaged training run: {error}") from None

    @property
    def samples(self) -> list[Path]:
        """The files of the posterior samples kept so far, oldest first."""
        kept = [row["epoch"] for row in self.history if row["sampled"]]
        return [sample_path(self.path, epoch) for epoch in kept]

    @property
    def finished(self) -> bool:
        return len(self.history) == self.recipe.epochs


def open_all(path: str | Path) -> list[Run]:
    """The run in a folder, or its chains if it holds several, in their order. Raises RunError if there is none."""
    path = Path(path)
    if (path / "recipe.json").exists():
        return [Run.open(path)]
    chains = sorted(path.glob("chain-*"), key=lambda folder: (len(folder.name), folder.name))
    if not chains:
        raise RunError(f"{path} holds no training run (recipe.json) and no chains (chain-0, chain-1, ...)")
    return [Run.open(folder) for folder in chains]


def found(wanted: Run) -> Run | None:
    """The run in the folder of the one that is wanted, to be continued; None if there is none.

    Raises RunError, with what differs, if it has another recipe, chain or images.
    """
    if not (wanted.path / "recipe.json").exists():
        return None
    run = Run.open(wanted.path)
    different = run.recipe.differences(wanted.recipe)
    problems = [f"{name} is {old!r} there and {new!r} here" for name, (old, new) in different.items()]
    if run.chain != wanted.chain:
        problems.append(f"it is chain {run.chain} there and {wanted.chain} here")
    if run.dataset["fingerprint"] != wanted.dataset["fingerprint"]:
        problems.append(f"the images of {wanted.dataset['name']} are not those that it began with")
    if problems:
        raise RunError(f"{run.path} holds another run: {'; '.join(problems)}. Give another folder, or remove this one")
    return run


def create(run: Run) -> Run:
    """Write a new run into its folder. Raises RunError if that holds other files."""
    ours = {".lock", "metrics.jsonl"}  # what is there if the process was killed right here
    strangers = sorted({p.name for p in run.path.iterdir()} - ours) if run.path.exists() else []
    if strangers:
        raise RunError(f"{run.path} is no run folder, but holds {strangers[0]}: give an empty or a new folder")
    write_history(run)
    about = {name: getattr(run, name) for name in ("chain", "dataset", "provenance")}
    about = {"recipe": run.recipe.to_dict()} | about
    write_atomically(run.path / "recipe.json", json.dumps(about, indent=2) + "\n")
    return run


def describe(dataset: Dataset) -> dict[str, Any]:
    """What a run remembers of its dataset."""
    return {
        "name": dataset.name,
        "train": len(dataset.train_labels),
        "test": len(dataset.test_labels),
        "image_shape": list(dataset.image_shape),
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "fingerprint": dataset.fingerprint,
    }


def write_history(run: Run) -> None:
    """Write metrics.jsonl anew, all or nothing."""
    lines = "".join(json.dumps(row) + "\n" for row in run.history)
    write_atomically(run.path / "metrics.jsonl", lines)


def sample_path(path: Path, epoch: int) -> Path:
    return path / "samples" / f"{epoch:04d}.safetensors"


def checkpoint_path(path: Path) -> Path:
    return path / "checkpoint.safetensors"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the operating system frees even if the process is killed.

    Half-written files that a killed process left are removed. Raises RunError if another process holds the lock,
    FileError if the folder cannot be written.
    """
    lock = filelock.FileLock(path / ".lock", timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise RunError(f"another process is writing into {path}: wait for it, or give another folder") from None
    except OSError as error:
        raise FileError(f"cannot write into {path}: {error.strerror or error}. Choose another folder") from error
    try:
        for leftover in path.rglob(".*.tmp"):
            leftover.unlink()
        yield
    finally:
        lock.release()
