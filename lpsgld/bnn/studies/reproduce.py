"""The paper's table: its rows trained one after the other, each recorded as soon as it is done.

What a call leaves undone the next one does, so that hours of training fit into any number of short sessions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.judging import ensemble, records
from lpsgld.bnn.training import loop
from lpsgld.bnn.training.recipes import RECIPES, Recipe
from lpsgld.bnn.training.runs import Run
from lpsgld.files import FileError, user_path
from lpsgld.storage import StorageError

# the ones that tell most come first
ROWS = (
    "sgld_block_vc",  # train_bfp
    "sgld_fixed_full",  # train_fixed
    "sgld_block_vc_cyclical",  # train_bfp_cyclic
    "sgld_fixed_vc",
    "sgld_fixed_naive",
    "sgld_block_naive",
    "sgld_block_vc_released",
    "sgld_block_full",
    "sgd_block_full",
    "sgd_block_naive",
    "sgd_fixed_full",
    "sgd_fixed_naive",
    "sgld_float32",
    "sgd_float32",
)


def reproduce(
    out: Path,
    record: Path,
    rows: Sequence[str] | None = None,
    fields: Mapping[str, Any] | None = None,
    *,
    time_limit: float | None = None,
    label: str | None = None,
    commit: str | None = None,
    subset: tuple[int, int] | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> bool:
    """Train the rows into `out`/ROW and write their results to `record`/ROW.json. Returns whether all are recorded.

    rows: of ROWS; all, if None. fields: override those of every recipe; `samples` follows `epochs`, unless it is given.
    A row whose result is there, of the same recipe and images, is not looked at again. time_limit: seconds, after which
    the call returns at an epoch's end. label, commit: see `records.make`. options: others of `loop.train`. Raises what
    `train` and `ensemble.evaluate` raise; StorageError for a result that is damaged, or of another run.
    """
    out, record = user_path(out), user_path(record)
    deadline = time.monotonic() + (math.inf if time_limit is None else time_limit)
    recipes = {row: _recipe(row, fields or {}) for row in rows or ROWS}
    dataset = datasets.load(next(iter(recipes.values())).dataset, cache)
    if subset is not None:
        dataset = dataset.subset(*subset)
    try:  # before hours of training
        record.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write into {record}: {error.strerror}. Choose another folder") from error
    missing = [row for row in recipes if not _is_recorded(record / f"{row}.json", recipes[row], dataset)]
    where = dict(dataset=dataset, device=device, progress=progress)
    for number, row in enumerate(missing):
        left = deadline - time.monotonic()
        if number > 0 and left <= 0:  # one epoch a call at least
            return False
        waiting = (out / row / "recipe.json").exists() and Run.open(out / row).finished
        run = loop.train(recipes[row], out / row, time_limit=max(left, 0), **where, **options)
        if not run.finished or (not waiting and time.monotonic() + _evaluation_seconds(run) > deadline):
            tqdm.write(f"{row}: {len(run.history)} of {run.recipe.epochs} epochs, not yet evaluated")
            return False
        evaluation = ensemble.evaluate(run, **where)
        records.write(record / f"{row}.json", records.make(run, evaluation, label=label, commit=commit))
        scores = evaluation.summary()["ensemble"]
        tqdm.write(f"{row}: error {scores['error']:.2%}, ECE {scores['ece']:.2%}, in {record / row}.json")
    return True


def _recipe(row: str, fields: Mapping[str, Any]) -> Recipe:
    recipe = RECIPES[f"cifar10_{row}"]
    fewer = {"samples": min(recipe.samples, fields["epochs"])} if "epochs" in fields else {}
    return recipe.override(**(fewer | fields))


def _is_recorded(path: Path, recipe: Recipe, dataset: Dataset) -> bool:
    """Whether a row's result is there. Raises StorageError for a file that is none, or one of another run."""
    if not path.exists():
        return False
    try:
        records.require_of(records.read(path), recipe, dataset)
    except StorageError as error:
        raise StorageError(f"{path}: {error}. Move it away, or give another folder for the results") from None
    return True


def _evaluation_seconds(run: Run) -> float:
    """No less than what its evaluation takes: every epoch, too, has predicted the test images once."""
    return len(run.samples) * run.history[-1]["seconds"]
