"""Several independent chains of one recipe, one a process, under `torchrun`.

    torchrun --nproc-per-node 2 -m lpsgld train train_bfp --dataset digits --out runs/two-chains

Rank r trains chain r into the folder OUT/chain-r; nothing is exchanged between the chains. `ensemble.evaluate` merges
the folder. A chain that fails does not stop the others.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.training.loop import train
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.files import user_path

_PATIENCE = timedelta(days=30)  # a chain waits at the end for the slowest one


def under_torchrun() -> bool:
    """Whether `torchrun` started this process."""
    return dist.is_torchelastic_launched()


def train_own_chain(
    recipe: Recipe,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    device: str = "auto",
    progress: bool = True,
    cache: str | Path | None = None,
    **options: Any,
) -> Run:
    """Train this process's chain, as `loop.train` does, into `out`/chain-RANK. Returns when all chains have ended.

    device: "auto" gives each process a GPU of its own where there are GPUs. Only rank 0 shows its progress.
    options: others of `train`. Raises RunError if `out` holds a single run or the environment is not torchrun's, and
    what `train` raises, in the process that it concerns.
    """
    out = user_path(out)
    if (out / "recipe.json").exists():
        raise RunError(f"{out} holds a single run, so no chains can be put there: give another folder")
    _join()
    try:
        rank = dist.get_rank()
        if dataset is None:
            dataset = _load_in_turn(recipe, cache)
        options |= {"device": _own_device(device), "progress": progress and rank == 0}
        try:
            run = train(recipe, out / f"chain-{rank}", dataset=dataset, chain=rank, **options)
        except Exception:
            dist.barrier()  # torchrun stops every process when one fails: let the others end first
            raise
        dist.barrier()
        return run
    finally:
        dist.destroy_process_group()


def _join() -> None:
    """Meet the other processes. Raises RunError if the environment does not say where, which torchrun does."""
    try:
        names = ("RANK", "WORLD_SIZE", "MASTER_PORT")
        rank, world, _ = (int(os.environ[name]) for name in names)
        if not 0 <= rank < world:  # torch would wait for the others for ever
            raise ValueError(f"RANK is {rank} of {world}")
        dist.init_process_group("gloo", timeout=_PATIENCE)
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise RunError(
            f"this process says that torchrun started it (TORCHELASTIC_RUN_ID is set), but the chains cannot meet: "
            f"{str(error).splitlines()[0]}. Start it with torchrun, or unset TORCHELASTIC_RUN_ID"
        ) from error


def _load_in_turn(recipe: Recipe, cache: str | Path | None) -> Dataset:
    """Rank 0 downloads and decodes, the others find the files in the cache."""
    if dist.get_rank() > 0:
        dist.barrier()
    try:
        return datasets.load(recipe.dataset, cache)
    finally:
        if dist.get_rank() == 0:
            dist.barrier()


def _own_device(device: str) -> str:
    if device == "auto" and torch.cuda.is_available():
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return device
