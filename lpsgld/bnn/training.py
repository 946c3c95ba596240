"""Training: one loop for every recipe, from images to a folder of posterior samples.

The randomness of an epoch is a function of the recipe's seed, the chain and the epoch's number alone. So a killed run,
which goes on from the checkpoint of its last whole epoch, ends in the same bits (on one kind of device).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

import lpsgld
from lpsgld import formats
from lpsgld.bnn import datasets, metrics, runs
from lpsgld.bnn.datasets import Dataset
from lpsgld.bnn.devices import device_name, pick_device, seeded
from lpsgld.bnn.ensemble import predict
from lpsgld.bnn.recipes import Recipe
from lpsgld.bnn.runs import Run, RunError
from lpsgld.sgld import SGLD, NonFiniteGradient
from lpsgld.storage import load_tensors, save_sample, save_tensors

_REFRESH = 0.5  # seconds between readings of the running loss, each of which waits for the device


class TrainingDiverged(FloatingPointError):
    """A gradient or the loss became NaN or infinite. What was saved before that epoch is untouched."""


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    dataset: Dataset | None = None,
    subset: tuple[int, int] | None = None,
    device: str = "auto",
    progress: bool = True,
    cache: str | Path | None = None,
    chain: int = 0,
) -> Run:
    """Train a network as the recipe says and keep its posterior samples in the folder `out`.

    A folder that holds the same run goes on where it stopped, and a finished one is returned at once. dataset: the
    recipe's own, if None (cache: see `datasets.load`). subset: use only so many training and test images of it, see
    `Dataset.subset`. chain: number of an independent chain of the same recipe.

    Raises TrainingDiverged; RunError if the folder holds another run or is in use; StorageError if it cannot be
    written; DatasetError.
    """
    where = pick_device(device)
    out = Path(out)
    if dataset is None:
        dataset = datasets.load(recipe.dataset, cache)
    if subset is not None:
        dataset = dataset.subset(*subset)
    with runs.locked(out):
        if (out / "recipe.json").exists():
            run = Run.open(out)
            runs.require_same(run, recipe, chain, dataset)
        else:
            run = runs.create(out, recipe, chain, dataset, _provenance(where))
        if not run.finished:
            _Trainer(run, dataset, where).run_epochs(progress)
        runs.checkpoint_path(out).unlink(missing_ok=True)
    return run


class _Trainer:
    """A network, its optimizer and its data while they are trained."""

    def __init__(self, run: Run, dataset: Dataset, device: torch.device):
        self.run, self.recipe, self.dataset, self.device = run, run.recipe, dataset, device
        self.images, self.labels = dataset.train_images.to(device), dataset.train_labels.to(device)
        self.schedule = self.recipe.schedule_function()
        with self._seeded(epoch=0):
            self.model = self.recipe.build_model(dataset.image_shape, len(dataset.classes)).to(device)
            self.optimizer = make_optimizer(self.recipe, self.model, len(self.labels))
        self.epochs_done = 0
        if runs.checkpoint_path(run.path).exists():
            self._restore()
        del run.history[self.epochs_done :]  # an epoch that was killed before its checkpoint is done again

    def run_epochs(self, progress: bool) -> None:
        steps = len(self._batches(torch.arange(len(self.labels))))
        done, total = self.epochs_done * steps, self.recipe.epochs * steps
        with tqdm(total=total, initial=done, unit="step", disable=not progress, desc=self.recipe.dataset) as bar:
            for epoch in range(self.epochs_done + 1, self.recipe.epochs + 1):
                with self._seeded(epoch):
                    started = time.perf_counter()
                    row = {"epoch": epoch} | self._train_epoch(epoch, steps, bar) | self._test()
                    seconds = round(time.perf_counter() - started, 3)
                self._keep(row | {"sampled": self.recipe.is_sampled(epoch), "seconds": seconds})

    def _train_epoch(self, epoch: int, steps: int, bar: tqdm) -> dict[str, float]:
        self.model.train()
        loss_sum, correct = torch.zeros(2, device=self.device)
        seen, read = 0, 0.0
        order = torch.randperm(len(self.labels), device=self.device)
        for step, batch in enumerate(self._batches(order)):
            step_size = self.recipe.lr * self.schedule((epoch - 1 + step / steps) / self.recipe.epochs)
            batch_loss, hits = self._step(batch, step_size, epoch)
            loss_sum += batch_loss * len(batch)
            correct += hits
            seen += len(batch)
            bar.update()
            if not bar.disable and time.perf_counter() - read > _REFRESH:
                read = time.perf_counter()
                self._show(bar, epoch, step_size, loss_sum.item() / seen, correct.item() / seen)
        self._require_finite(epoch, loss_sum)
        loss, accuracy = loss_sum.item() / seen, correct.item() / seen
        self._show(bar, epoch, step_size, loss, accuracy)
        return {"train_loss": loss, "train_error": 1 - accuracy, "step_size": step_size}

    def _show(self, bar: tqdm, epoch: int, step_size: float, loss: float, accuracy: float) -> None:
        shown = {"loss": f"{loss:.3f}", "accuracy": f"{accuracy:.1%}", "step_size": f"{step_size:.2g}"}
        bar.set_postfix({"epoch": f"{epoch}/{self.recipe.epochs}"} | shown, refresh=False)

    def _step(self, batch: Tensor, step_size: float, epoch: int) -> tuple[Tensor, Tensor]:
        labels = self.labels[batch]
        logits = self.model(self.dataset.augment(self.images[batch]))
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.param_groups[0]["lr"] = step_size
        try:
            self.optimizer.step()
        except NonFiniteGradient as error:
            raise self._diverged(epoch, str(error)) from error
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _batches(self, order: Tensor) -> list[Tensor]:
        batches = order.split(self.recipe.batch_size)
        # BatchNorm has no variance over a single image
        return [batch for batch in batches if len(batch) > 1 or len(order) == 1]

    def _test(self) -> dict[str, float]:
        probabilities = predict(self.model, self.dataset, self.dataset.test_images)
        labels = self.dataset.test_labels
        return {"test_nll": metrics.nll(probabilities, labels), "test_error": metrics.error(probabilities, labels)}

    def _keep(self, row: dict[str, Any]) -> None:
        """Save an epoch: sample, then metrics, then checkpoint, so that each is complete where the next exists."""
        if row["sampled"]:
            path = runs.sample_path(self.run.path, row["epoch"])
            save_sample(path, self.model, formats.parse(self.recipe.weight), self.recipe.to_dict())
        self.run.history.append(row)
        runs.write_history(self.run)
        if not self.run.finished:
            tensors = dict(_flat_state(self.model, self.optimizer))
            steps = self.optimizer.param_groups[0]["steps"]
            about = {"epoch": row["epoch"], "steps": steps}
            save_tensors(runs.checkpoint_path(self.run.path), "checkpoint", tensors, about)

    def _restore(self) -> None:
        tensors, about = load_tensors(runs.checkpoint_path(self.run.path), "checkpoint")
        held = dict(_flat_state(self.model, self.optimizer))
        if held.keys() != tensors.keys():
            raise RunError(f"{self.run.path}: the checkpoint is of another network or optimizer. Start in a new folder")
        with torch.no_grad():
            for name, tensor in held.items():
                tensor.copy_(tensors[name])
        self.optimizer.param_groups[0]["steps"] = about["steps"]
        self.epochs_done = about["epoch"]

    def _require_finite(self, epoch: int, loss_sum: Tensor) -> None:
        try:
            self.optimizer.raise_if_nonfinite()
        except NonFiniteGradient as error:
            raise self._diverged(epoch, str(error)) from error
        if not bool(loss_sum.isfinite()):
            raise self._diverged(epoch, "the training loss is not finite.")

    def _diverged(self, epoch: int, reason: str) -> TrainingDiverged:
        kept = len(self.run.samples)
        return TrainingDiverged(
            f"training diverged in epoch {epoch}: {reason} The recipe's lr is {self.recipe.lr}. "
            f"{kept} samples and {len(self.run.history)} epochs stay in {self.run.path}"
        )

    def _seeded(self, epoch: int):
        return seeded(self.device, self.recipe.seed, self.run.chain, epoch)


def make_optimizer(recipe: Recipe, model: torch.nn.Module, num_data: int) -> SGLD:
    """The recipe's optimizer for that network. It rounds the weights onto their grid."""
    return SGLD(
        model.named_parameters(),
        recipe.lr,
        num_data=num_data,
        temperature=recipe.temperature,
        weight_decay=recipe.weight_decay,
        weight=formats.parse(recipe.weight),
        grad=formats.parse(recipe.grad),
        accumulator=recipe.accumulator,
    )


def _flat_state(model: torch.nn.Module, optimizer: SGLD) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that training changes: parameters, buffers, and the optimizer's own (θ in full precision)."""
    for name, tensor in model.state_dict(keep_vars=True).items():
        yield f"model/{name}", tensor
    for index, state in optimizer.state_dict()["state"].items():
        for name, tensor in state.items():
            yield f"optimizer/{index}/{name}", tensor


def _provenance(device: torch.device) -> dict[str, Any]:
    return {
        "lpsgld": lpsgld.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(device),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
