"""Training: one loop for every recipe, from data to a folder of posterior samples.

The randomness of an epoch is a function of the recipe's seed, the chain and the epoch's number alone. So a killed run,
which goes on from the checkpoint of its last whole epoch, ends in the same bits, on one kind of device and with one
version of torch; on a CPU also with one number of threads, since sums that threads share are added up in another order.
Each epoch tells its number of threads (metrics.jsonl), and a run that goes on with another number says so.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lpsgld import metrics
from lpsgld.bnn import own
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Data, DatasetError
from lpsgld.bnn.devices import device_name, pick_device, plain_torch, provenance, seeded
from lpsgld.bnn.network.prediction import predict
from lpsgld.bnn.network.quantizing import unreached
from lpsgld.bnn.training import compiling, probe, runs
from lpsgld.bnn.training.compiling import Choice
from lpsgld.bnn.training.recipes import Recipe, RecipeError
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.bnn.training.stepping import Stepper
from lpsgld.files import user_path
from lpsgld.formats import FormatError
from lpsgld.rounding import Quantizer
from lpsgld.samplers.optimizer import NonFiniteGradient
from lpsgld.storage import save_sample, save_tensors
from lpsgld.text import Mistake, typed

_REFRESH = 0.5  # seconds between two readings of the running loss
_LOOKS = 4  # last steps of an epoch in which branches are looked at


class TrainingDiverged(Mistake, FloatingPointError):
    """A gradient or the loss became NaN or infinite. What was saved before that epoch is untouched."""


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    model: str | Callable[..., nn.Module] | None = None,
    dataset: Data | None = None,
    loss: str | Callable[[Tensor, Tensor], Tensor] | None = None,
    subset: tuple[int, int] | None = None,
    device: str = "auto",
    progress: bool = True,
    cache: str | Path | None = None,
    chain: int = 0,
    compile: Choice = "auto",
    tf32: Choice = "auto",
    time_limit: float | None = None,
) -> Run:
    """Train a network as the recipe says and keep its posterior samples in the folder `out`.

    A folder that holds the same run goes on where it stopped, and a finished one is returned at once; a new one becomes
    the run's when its first epoch is done. dataset: the recipe's own, if None (cache: see `datasets.load`); also your
    `Tensors`. model, loss: instead of the recipe's, functions of yours, see `Recipe.network` and
    `Recipe.loss_function`, or their names; the run's recipe tells these names, so that it goes on with no other.
    subset: use only so many training and test inputs of the dataset, see `Data.subset`. chain: number of an independent
    chain of the same recipe. compile, tf32: see `compiling`; what they come to is shown, and kept in the run's
    provenance. time_limit: seconds, after which no further epoch is begun, nor one that would not end before: the run
    is then returned unfinished. Whatever torch's global switches say, a run computes without autocast, in float32.

    Raises TrainingDiverged; RecipeError if the recipe does not fit the data or the memory, or for a function that
    returns something else or has no name of its own; CompileError if compile is True and cannot be; RunError if the
    folder holds another run, a damaged one or other files, or is in use; FileError if it cannot be written;
    DatasetError; ValueError for a time limit or a chain that is none.
    """
    where = pick_device(device)
    out = user_path(out)
    functions = {"model": model, "loss": loss}
    given = {what: own.name_of(what, of, RecipeError) for what, of in functions.items() if of is not None}
    recipe = recipe.override(**given)
    if time_limit is not None and not time_limit >= 0:
        raise ValueError(f"time_limit is {time_limit}, but must be seconds ≥ 0, or None")
    chain = typed("chain", "int", chain)
    if chain < 0:
        raise ValueError(f"chain is {chain}, but chains are numbered from 0")
    deadline = time.monotonic() + (math.inf if time_limit is None else time_limit)
    with plain_torch(where):
        if dataset is None:
            dataset = datasets.load(recipe.dataset, cache)
        if subset is not None:
            dataset = dataset.subset(*subset)
        _require_labels(dataset)
        wanted = Run(out, recipe, chain, runs.describe(dataset), provenance={}, history=[])
        with runs.held(wanted) as run:
            if run is None or not run.finished:
                program, products = compiling.compiled(compile, where), compiling.tf32(tf32, recipe, where)
                about = provenance(where) | {"compiled": program.on, "tf32": products.on}
                run = run or dataclasses.replace(wanted, provenance=about)
                if progress:
                    said = f"{recipe.dataset} on {device_name(where)}: {program.why}; {products.why}"
                    tqdm.write(said, file=sys.stderr)
                with compiling.convolutions(products.on), _recipe_blamed(recipe, dataset):
                    trainer = _Trainer(run, dataset, where, program.on)
                    if progress and own.is_name(recipe.model):
                        tqdm.write(_rounded(trainer.model), file=sys.stderr)
                    trainer.run_epochs(progress, deadline)
            if run.finished:
                runs.remove_checkpoint(run)
    return run


def _rounded(model: nn.Module) -> str:
    """One line: how many sites of a network that is not ours are rounded, and what no Quantizer sees."""
    sites = sum(isinstance(part, Quantizer) for part in model.modules())
    missed = [f"{name or 'the network'} {what}" for name, what in unreached(model).items()] if sites else []
    rest = f"; not rounded: {'; '.join(missed)}" if missed else ""
    return f"activations and errors are rounded at {sites} sites of {type(model).__name__}{rest}"


@contextmanager
def _recipe_blamed(recipe: Recipe, dataset: Data) -> Iterator[None]:
    """What only the network itself can tell of a recipe becomes a RecipeError: its block axes, its size in memory."""
    try:
        yield
    except FormatError as error:
        raise RecipeError(f"a number format of the recipe does not fit the network: {error}") from error
    except Mistake:
        raise
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search("allocate|out of memory|overflow", str(error)):
            raise
        raise RecipeError(
            f"a {recipe.model} of width {recipe.width} with batches of {recipe.batch_size} {dataset.noun}s does not "
            "fit into memory here: take a smaller width or batch_size, or --subset"
        ) from error


def _require_labels(dataset: Data) -> None:
    for inputs, labels in (dataset.parts[:2], dataset.parts[2:]):
        if labels.dtype != torch.int64 or labels.dim() not in (1, 2) or not 0 < len(labels) == len(inputs):
            raise DatasetError(
                f"{dataset.name} has {len(inputs)} inputs and labels of type {labels.dtype} and shape "
                f"{tuple(labels.shape)}: there must be int64 labels [N] or [N, L] for N inputs"
            )
        if labels.min() < 0 or labels.max() >= len(dataset.classes):
            raise DatasetError(
                f"{dataset.name} names {len(dataset.classes)} classes, but has labels from {labels.min()} to "
                f"{labels.max()}: they must be from 0 to {len(dataset.classes) - 1}"
            )


class _Trainer:
    """A network, its optimizer and its data while they are trained."""

    def __init__(self, run: Run, dataset: Data, device: torch.device, compile: bool = False):
        self.run, self.recipe, self.dataset, self.device = run, run.recipe, dataset, device
        self.schedule = self.recipe.schedule_function()
        with self._seeded(0):
            self.stepper = Stepper(self.recipe, dataset, device, compile)
        self.model, self.optimizer = self.stepper.model, self.stepper.optimizer
        self.watched = {layer.weight: f"{name}.weight" for name, layer in probe.layers(self.model).items()}
        self._restore()
        runs.require_no_strangers(run)
        self.threads = torch.get_num_threads() if device.type == "cpu" else 0
        before = run.history[-1].get("threads", self.threads) if run.history else self.threads
        if before != self.threads:
            then, now = (f"{n} threads of a CPU" if n else "a GPU" for n in (before, self.threads))
            note = f"the last epoch was computed on {then}, the next one is on {now}: the bits will be others"
            tqdm.write(f"{run.path}: {note}", file=sys.stderr)

    def run_epochs(self, progress: bool, deadline: float = math.inf) -> None:
        """Train until the recipe's last epoch, or until the next would end after the deadline (`time.monotonic`)."""
        steps = self.stepper.steps
        epochs_done = len(self.run.history)
        done, total = epochs_done * steps, self.recipe.epochs * steps
        with tqdm(total=total, initial=done, unit="step", disable=not progress, desc=self.recipe.dataset) as bar:
            for epoch in range(epochs_done + 1, self.recipe.epochs + 1):
                started = time.monotonic()
                with self._seeded(epoch):
                    row = {"epoch": epoch} | self._train_epoch(epoch, bar) | self._test()
                seconds = round(time.monotonic() - started, 3)
                row |= {"sampled": self.recipe.is_sampled(epoch), "seconds": seconds, "threads": self.threads}
                self._keep(row)
                now = time.monotonic()
                if now + (now - started) > deadline:
                    return

    def _train_epoch(self, epoch: int, bar: tqdm) -> dict[str, Any]:
        try:
            sums, seen, step_size, shares, noise = self._steps(epoch, bar)
            self.optimizer.raise_if_nonfinite()
        except NonFiniteGradient as error:
            raise self._diverged(epoch, str(error)) from error
        if not bool(sums[0].isfinite()):
            raise self._diverged(epoch, "the training loss is not finite.")
        loss, accuracy = (value / seen for value in sums.tolist())
        self._show(bar, epoch, step_size, loss, accuracy)
        row = {"train_loss": loss, "train_error": 1 - accuracy, "step_size": step_size}
        row |= {"branches": probe.told(shares)} if shares else {}
        return row | ({} if noise is None else {"gradient_variance": float(f"{noise.item():.4g}")})

    def _steps(self, epoch: int, bar: tqdm) -> tuple[Tensor, int, float, dict[str, Tensor], Tensor | None]:
        """All steps of an epoch, without waiting for an accelerator. Returns the sums of losses and hits, the number of
        inputs, the last step size, and what was looked at, which must not change the run: the mean of
        `probe.branch_shares` over the last steps, and `probe.gradient_variance` if there are two batches."""
        self.model.train()
        batches = self.stepper.batches()
        sums, seen, read, looks = torch.zeros(2, device=self.device), 0, 0.0, []
        # reading the loss would make the host wait for an accelerator: there it is shown once an epoch
        live = not bar.disable and self.device.type == "cpu"
        for step, batch in enumerate(batches):
            multiplier = self.schedule((epoch - 1 + step / len(batches)) / self.recipe.epochs)
            loss, hits = self.stepper.gradient(batch, multiplier)
            if step >= len(batches) - _LOOKS:
                with self._seeded(epoch, 1):
                    looks.append(probe.branch_shares(self.optimizer, self.watched))
            self.stepper.move()
            sums += torch.stack([loss * len(batch), hits])
            seen += len(batch)
            bar.update()
            if live and time.perf_counter() - read > _REFRESH:
                read = time.perf_counter()
                self._show(bar, epoch, self.recipe.lr * multiplier, *(value / seen for value in sums.tolist()))
        noise = None
        if len(batches) > 1:
            with self._seeded(epoch, 2):
                look = partial(self.stepper.gradient, multiplier=multiplier)
                noise = probe.gradient_variance(look, self.model, *batches[:2])
        return sums, seen, self.recipe.lr * multiplier, probe.averaged(looks), noise

    def _show(self, bar: tqdm, epoch: int, step_size: float, loss: float, accuracy: float) -> None:
        shown = {"loss": f"{loss:.3f}", "accuracy": f"{accuracy:.1%}", "step_size": f"{step_size:.2g}"}
        bar.set_postfix({"epoch": f"{epoch}/{self.recipe.epochs}"} | shown, refresh=False)

    def _test(self) -> dict[str, float]:
        _, _, inputs, labels = self.dataset.parts
        probabilities = predict(self.model, self.dataset, inputs)
        return {"test_nll": metrics.nll(probabilities, labels), "test_error": metrics.error(probabilities, labels)}

    def _keep(self, row: dict[str, Any]) -> None:
        """Save an epoch: sample, then metrics, then checkpoint, so that each is complete where the next exists."""
        if not (self.run.path / "recipe.json").exists():
            runs.create(self.run)
        about = runs.identity(self.run) | {"epoch": row["epoch"]}
        if row["sampled"]:
            save_sample(runs.sample_path(self.run.path, row["epoch"]), self.model, self._stored(), **about)
        self.run.history.append(row)
        runs.write_history(self.run)
        if not self.run.finished:
            tensors = dict(self.stepper.state())
            about |= {"steps": self.optimizer.param_groups[0]["steps"], "history": json.dumps(self.run.history)}
            save_tensors(runs.checkpoint_path(self.run.path), "checkpoint", tensors, about)

    def _stored(self) -> str | Mapping[str, str]:
        """The format of all weights, or of each by name if they differ: frozen ones are stored as they are."""
        of_each = self.optimizer.weights(self.model)
        alike = len(set(of_each.values())) == 1 and len(of_each) == len(list(self.model.parameters()))
        return next(iter(of_each.values())) if alike else of_each

    def _restore(self) -> None:
        """Go on from the checkpoint, which knows the history, too: the file of that may be a line ahead, or damaged."""
        path, told = runs.checkpoint_path(self.run.path), self.run.history
        if not path.exists():
            if len(told) > 1:
                raise RunError(
                    f"{self.run.path} cannot go on: metrics.jsonl tells of {len(told)} epochs, but there is no "
                    f"{path.name}. Put it back, or train in another folder"
                )
            told.clear()  # the first epoch was killed before its checkpoint: it is done again
            return
        tensors, about = runs.load_checkpoint(self.run)
        held = dict(self.stepper.state())
        if {name: t.shape for name, t in held.items()} != {name: t.shape for name, t in tensors.items()}:
            raise RunError(f"{path} is of another network or optimizer. Start in a new folder")
        kept = json.loads(about["history"]) if "history" in about else told[: about["epoch"]]
        both = min(len(kept), len(told))
        ahead = len(told) > len(kept) + 1
        if ahead or len(kept) != about["epoch"] or json.dumps(kept[:both]) != json.dumps(told[:both]):
            raise RunError(
                f"{self.run.path}: metrics.jsonl and {path.name} tell of different epochs. Put its own file back"
            )
        told[:] = kept
        with torch.no_grad():
            for name, tensor in held.items():
                tensor.copy_(tensors[name])
        for group in self.optimizer.param_groups:
            group["steps"] = about["steps"]

    def _diverged(self, epoch: int, reason: str) -> TrainingDiverged:
        kept = len(self.run.samples)
        return TrainingDiverged(
            f"training diverged in epoch {epoch}: {reason} The recipe's lr is {self.recipe.lr}. "
            f"{kept} samples and {len(self.run.history)} epochs stay in {self.run.path}"
        )

    def _seeded(self, *key: int):
        return seeded(self.device, self.recipe.seed, self.run.chain, *key)
