"""The folder of a training run: what a chain leaves behind, and how it is found again.

    recipe.json              recipe, chain, dataset (sizes, fingerprint), provenance (versions, device, start)
    metrics.jsonl            one line an epoch
    samples/0196.safetensors one posterior sample, named by its epoch
    checkpoint.safetensors   where a killed run goes on; removed when it is finished
    .lock                    held while a process writes here

Several chains lie side by side as chain-0, chain-1, ... in one folder.

A folder becomes a run's with its first whole epoch. Every file tells which run it is of: recipe, chain and data, a
sample and the checkpoint also their epoch; a line of metrics.jsonl ends in a digest of all this and of the lines so
far. Whatever is read is compared, and a file that disagrees is refused and left alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from torch import Tensor

from lpsgld import storage
from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.training.recipes import CROSS_ENTROPY, Recipe
from lpsgld.files import FileError, user_path, write_atomically
from lpsgld.storage import Sample, StorageError
from lpsgld.text import Mistake, parse_json, typed

_DESCRIBED = {  # what `describe` tells of a dataset, and the types of it
    "name": "str",
    "train": "int",
    "test": "int",
    "classes": "list[str]",
    "fingerprint": "str",
}
_OF_IMAGES = {"image_shape": "list[int]", "mean": "list[float]", "std": "list[float]"}
_OF_TENSORS = {"input_shape": "list[int]", "vocabulary": "str"}
_LOSSES = ("train_loss", "train_error", "test_nll", "test_error", "step_size", "seconds")
_ROW = {"epoch": "int", "sampled": "bool"} | dict.fromkeys(_LOSSES, "float")
_TEMPORARY = re.compile(
    r"\.(recipe\.json|metrics\.jsonl|(checkpoint|\d{4,})\.safetensors)\.\d+\.tmp"
)  # ours, half-written
_OWN = "Put this run's own file in its place, or train in another folder"


class RunError(Mistake, RuntimeError):
    """A run folder that is missing, damaged, in use, or of another recipe."""


@dataclass(frozen=True)
class Run:
    """A training run on disk.

    history: one dict an epoch, with epoch, train_loss, train_error, test_nll, test_error, step_size (of the
    epoch's last step), sampled, seconds, threads (of a CPU; 0 on a GPU), gradient_variance (see `probe`, of two or more
    batches) and, unless weights are in full precision, branches (of `probe.told`, mean over its last steps). dataset:
    name, sizes, classes, fingerprint, and what `Data.about` tells: image_shape, mean, std, or input_shape, vocabulary.
    """

    path: Path
    recipe: Recipe
    chain: int
    dataset: dict[str, Any]
    provenance: dict[str, Any]
    history: list[dict[str, Any]]

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in a folder, finished or not. Raises RunError if there is none, or a damaged one."""
        path = user_path(path)
        file = path / "recipe.json"
        try:
            about = parse_json(file.read_bytes())
            _require_fields(about, {"chain": "int"}, "recipe", "dataset", "provenance")
            require_described(about["dataset"])
            if about["chain"] < 0 or len(about["dataset"].get("image_shape", [0] * 3)) != 3:
                raise ValueError("a chain is numbered from 0, and an image has a shape of three numbers")
            run = cls(
                path, Recipe.from_dict(about["recipe"]), about["chain"], about["dataset"], about["provenance"], []
            )
            file = path / "metrics.jsonl"
            run.history.extend(_rows(run, file.read_text("utf-8")))
        except FileNotFoundError:
            raise RunError(f"{path} holds no training run: there is no {file.name}") from None
        except OSError as error:
            raise RunError(f"cannot read {file}: {error.strerror}") from None
        except ValueError as error:
            raise RunError(f"{path} holds a damaged training run: {error} (in {file.name}). {_OWN}") from None
        for sample in run.samples:
            if not sample.exists():
                raise RunError(f"{path} holds a damaged training run: there is no {sample}. {_OWN}")
        return run

    @property
    def samples(self) -> list[Path]:
        """The files of the posterior samples kept so far, oldest first."""
        kept = [row["epoch"] for row in self.history if row["sampled"]]
        return [sample_path(self.path, epoch) for epoch in kept]

    @property
    def finished(self) -> bool:
        return len(self.history) == self.recipe.epochs


def open_all(path: str | Path) -> list[Run]:
    """The run in a folder, or its chains if it holds several, in their order.

    Raises RunError if there is none, or if the chains are not of one posterior, see `require_chains`.
    """
    path = user_path(path)
    try:
        if (path / "recipe.json").exists():
            return [Run.open(path)]
        folders = [folder for folder in path.glob("chain-*") if folder.name[6:].isdecimal() and folder.is_dir()]
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from None
    if not folders:
        raise RunError(
            f"{path} holds no training run (recipe.json) and no chains (chain-0, chain-1, ...): "
            "give a folder of `lpsgld train`"
        )
    chains = [Run.open(folder) for folder in sorted(folders, key=lambda folder: int(folder.name[6:]))]
    require_chains(chains)
    return chains


def require_chains(chains: Sequence[Run]) -> None:
    """Raises RunError unless these are different chains of one recipe (but for its seed) on the same images."""
    if not chains:
        raise RunError("there is no run: give one, or several chains of a recipe")
    seen: dict[tuple[int, int], Run] = {}
    for run in chains:
        first = chains[0]
        alike = identity(run) | {"chain": first.chain}
        alike["recipe"] = alike["recipe"] | {"seed": first.recipe.seed}
        if problems := differences(alike, identity(first)):
            raise RunError(f"{run.path} is no chain beside {first.path}: {problems}. Evaluate each by itself")
        same = seen.setdefault((run.recipe.seed, run.chain), run)
        if same is not run or chains.count(run) > 1:
            raise RunError(
                f"{run.path} and {same.path} are the same chain (seed {run.recipe.seed}, chain {run.chain}), whose "
                "samples would count twice: move one of them away"
            )


# ---- which run a file is of --------------------------------------------------------------------------------------


def identity(run: Run) -> dict[str, Any]:
    """What a run is: "recipe", "chain" and "images" (the fingerprint of any data), as its files tell it."""
    return {"recipe": run.recipe.to_dict(), "chain": run.chain, "images": run.dataset["fingerprint"]}


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In what a file's `identity` (and perhaps its epoch) is not the one that is expected; empty, if in nothing.

    What a file of an older lpsgld does not tell is taken for right.
    """
    theirs = Recipe().to_dict() | there["recipe"]
    if "all_inputs" in theirs:  # what was told before there were `sites`, when residual streams were always rounded
        theirs["sites"] = "all" if theirs["all_inputs"] else "residual"
    named = [(f"{name} is", theirs[name], value) for name, value in here["recipe"].items()]
    named += [(f"it is {what}", there.get(what, here[what]), here[what]) for what in ("chain", "epoch") if what in here]
    told = [f"{what} {old!r} there and {new!r} here" for what, old, new in named if old != new]
    if there.get("images", here["images"]) != here["images"]:
        told.append(f"the data of {here['recipe']['dataset']} are not those that it began with")
    return "; ".join(told[:4])


def load_sample(run: Run, path: Path) -> Sample:
    """One of the run's samples. Raises StorageError for a damaged file, RunError for one of another run or epoch."""
    sample = storage.load_sample(path)
    _require_own(path, {"recipe": sample.recipe} | sample.origin, identity(run) | {"epoch": int(path.stem)})
    return sample


def load_checkpoint(run: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The run's checkpoint. Raises StorageError for a damaged file, RunError for one of another run."""
    path = checkpoint_path(run.path)
    tensors, about = storage.load_tensors(path, "checkpoint")
    _require_own(path, identity(run) | about, identity(run))
    return tensors, about


def remove_checkpoint(run: Run) -> None:
    """Remove what a finished run needs no more, if it is its own."""
    try:
        load_checkpoint(run)
        checkpoint_path(run.path).unlink()
    except (StorageError, RunError):  # there is none, or it is not ours
        pass


def require_no_strangers(run: Run) -> None:
    """Raises RunError if a sample that training will write is there already, other than by a process killed since."""
    done = len(run.history)
    for epoch in filter(run.recipe.is_sampled, range(done + 1, run.recipe.epochs + 1)):
        path = sample_path(run.path, epoch)
        if epoch == done + 1 and path.exists():
            try:
                load_sample(run, path)
            except StorageError as error:
                raise RunError(f"{error}. Training would write this file: move it away") from None
        elif path.exists():
            raise RunError(
                f"{path} is there, but metrics.jsonl tells of no more than {done} epochs: lines of it are lost, or the "
                f"sample is of another run. {_OWN}"
            )


def _require_own(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if problems := differences(there, here):
        raise RunError(f"{path} is not of this run: {problems}. {_OWN}")


# ---- the folder of a run that is trained -----------------------------------------------------------------------------


def found(wanted: Run) -> Run | None:
    """The run in the folder of the one that is wanted, to be continued; None if there is none yet.

    Raises RunError, with what differs, if it has another recipe, chain or images, or if the folder is a stranger's.
    """
    if not (wanted.path / "recipe.json").exists():
        _require_free(wanted.path)
        return None
    run = Run.open(wanted.path)
    if problems := differences(identity(run), identity(wanted)):
        raise RunError(f"{run.path} holds another run: {problems}. Give another folder, or move this one away")
    return run


@contextmanager
def held(wanted: Run) -> Iterator[Run | None]:
    """Hold the folder's lock; gives what is `found` in it. What a killed process of ours left half-written is removed.

    Raises RunError and FileError as `found` and `locked` do, before anything in the folder is touched.
    """
    try:
        found(wanted)
    except OSError as error:
        raise FileError(f"cannot write into {wanted.path}: {error.strerror}. Choose another folder") from error
    with locked(wanted.path):
        run = found(wanted)
        for folder in (wanted.path, wanted.path / "samples"):
            for file in filter(_is_leftover, folder.glob(".*.tmp")):
                file.unlink()
        yield run


def _require_free(path: Path) -> None:
    """Raises RunError unless the folder is new, empty, or one where a run was killed in its first epoch."""
    for file in sorted(path.iterdir()) if path.exists() else ():
        empty = file.is_file() and not file.is_symlink() and file.stat().st_size == 0
        if not (_is_leftover(file) or (empty and file.name in (".lock", "metrics.jsonl"))):
            raise RunError(f"{path} is no run folder, but holds {file.name}: give an empty or a new folder")


def _is_leftover(file: Path) -> bool:
    return bool(_TEMPORARY.fullmatch(file.name)) and file.is_file() and not file.is_symlink()


def create(run: Run) -> Run:
    """Write a new run into its folder."""
    write_history(run)
    about = {name: getattr(run, name) for name in ("chain", "dataset", "provenance")}
    about = {"recipe": run.recipe.to_dict()} | about
    write_atomically(run.path / "recipe.json", json.dumps(about, indent=2) + "\n")
    return run


def describe(dataset: Data) -> dict[str, Any]:
    """What a run remembers of its dataset."""
    _, train_labels, _, test_labels = dataset.parts
    return {
        "name": dataset.name,
        "train": len(train_labels),
        "test": len(test_labels),
        "classes": list(dataset.classes),
        "fingerprint": dataset.fingerprint,
    } | dataset.about()


def require_described(dataset: Any) -> None:
    """Raises ValueError for what is no description of a dataset."""
    of_tensors = isinstance(dataset, dict) and "input_shape" in dataset
    _require_fields(dataset, _DESCRIBED | (_OF_TENSORS if of_tensors else _OF_IMAGES))


def write_history(run: Run) -> None:
    """Write metrics.jsonl anew, all or nothing."""
    checks = _checks(run, run.history)
    lines = [json.dumps(row | {"check": check}) + "\n" for row, check in zip(run.history, checks, strict=True)]
    write_atomically(run.path / "metrics.jsonl", "".join(lines))


def _rows(run: Run, text: str) -> Iterator[dict[str, Any]]:
    """The history in the text of a metrics.jsonl. Raises ValueError where it is not that of the run."""
    rows = [parse_json(line) for line in text.splitlines()]
    for epoch, row in enumerate(rows, start=1):
        _require_fields(row, _ROW)
        if row["epoch"] != epoch or row["sampled"] != run.recipe.is_sampled(epoch) or epoch > run.recipe.epochs:
            raise ValueError(f"line {epoch} is not that of epoch {epoch}")
    told = [row.pop("check", None) for row in rows]
    for row, old, new in zip(rows, told, _checks(run, rows), strict=True):
        if old not in (None, new):  # None: of an older lpsgld
            raise ValueError(f"line {row['epoch']} was changed, or is of another run")
        yield row


def _checks(run: Run, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A digest for each row of a history: of the run, and of all rows up to this one."""
    told = identity(run)
    if run.recipe.loss == CROSS_ENTROPY:  # as an older lpsgld told it, which knew no other
        told["recipe"].pop("loss")
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode())
        yield digest.hexdigest()[:16]


def _require_fields(given: Any, kinds: Mapping[str, str], *objects: str) -> None:
    """Raises ValueError unless `given` is an object that has these fields, of these types, and these objects."""
    if not isinstance(given, dict):
        raise ValueError("what should be an object of fields is none")
    for name in (*kinds, *objects):
        if name not in given:
            raise ValueError(f"{name} is missing")
        if name in kinds:
            typed(name, kinds[name], given[name])
        elif not isinstance(given[name], dict):
            raise ValueError(f"{name} should be an object of fields")


def sample_path(path: Path, epoch: int) -> Path:
    return path / "samples" / f"{epoch:04d}.safetensors"


def checkpoint_path(path: Path) -> Path:
    return path / "checkpoint.safetensors"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the operating system frees even if the process is killed.

    Raises RunError if another process holds it, FileError if the folder cannot be written.
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
        yield
    finally:
        lock.release()
