"""What moves while a chain is trained, and the step that moves it.

The same code runs eagerly and compiled, on the CPU and on an accelerator. There, nothing in a step makes the host wait
for the device: what is counted stays on the device until an epoch is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.network import models
from lpsgld.bnn.training.recipes import CROSS_ENTROPY, SAMPLERS, Recipe, RecipeError
from lpsgld.samplers.optimizer import LowPrecisionOptimizer


class Stepper:
    """A network with fresh weights, its optimizer, and its training inputs, on one device.

    compile: with `torch.compile`, one program for augmentation, network and loss (its backward pass included) and one
    for the optimizer. There is a program for each size of a batch: two, if the last batch of an epoch is smaller. It
    is not padded to the others' size, since BatchNorm's statistics would count the padding. Nor can it have a single
    input there, which has no variance: such a batch is left out. Raises RecipeError if no other is left, and for a
    network or a loss of the user's own that does not fit.
    """

    def __init__(self, recipe: Recipe, dataset: Data, device: torch.device, compile: bool = False):
        self.recipe, self.device, self.compiled = recipe, device, compile
        self._prepared, self._classes = dataset.preparation(device), len(dataset.classes)
        self.inputs, self.labels = (part.to(device) for part in dataset.parts[:2])
        self.model = recipe.network(dataset).to(device)
        self.optimizer = make_optimizer(recipe, self.model, self.labels.numel(), compile)
        normed = any(isinstance(module, _BatchNorm) for module in self.model.modules())
        self._size, self._fewest = min(recipe.batch_size, len(self.labels)), 2 if normed else 1
        if self._size < self._fewest:
            raise RecipeError(
                f"batches have a single {dataset.noun}, over which the BatchNorm of a {recipe.model} has no variance: "
                f"take a batch_size of 2 or more, and as many {dataset.noun}s"
            )
        self._mean_loss = recipe.loss_function()
        self._step_sizes = [group["lr"] for group in self.optimizer.param_groups]
        whole = recipe.model in models.MODELS and recipe.loss == CROSS_ENTROPY  # others may do what no program can
        self._loss = torch.compile(self._eager_loss, fullgraph=whole, dynamic=False) if compile else self._eager_loss

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(len(self.labels), self._size)
        return whole + (rest >= self._fewest)

    def batches(self) -> list[Tensor]:
        """Indices of the inputs of each batch of an epoch, in random order; the last batch may be smaller."""
        order = torch.randperm(len(self.labels), device=self.device)
        return list(order.split(self._size)[: self.steps])

    def gradient(self, batch: Tensor, multiplier: float = 1.0) -> tuple[Tensor, Tensor]:
        """Look at a batch: everything that decides the next `move` is there then, and nothing has moved.

        Gradients are those of the batch's mean loss, the step size of each parameter group is its own times the
        multiplier (of a schedule). Returns the loss and the number of hits, as tensors; of an input with several
        labels, a share may be hit.
        """
        loss, hits = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        for group, lr in zip(self.optimizer.param_groups, self._step_sizes, strict=True):
            group["lr"] = lr * multiplier
        return loss.detach(), hits

    def move(self) -> None:
        """One step of the chain, as the last look at a batch has decided. Raises NonFiniteGradient (on a CPU)."""
        self.optimizer.step()

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that training changes, once: parameters, buffers, and the optimizer's own (θ, displacements)."""
        seen = set()
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            if tensor not in seen:  # some are tied
                seen.add(tensor)
                yield f"model/{name}", tensor
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                yield f"optimizer/{index}/{name}", tensor

    def _eager_loss(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        labels = self.labels[batch]
        logits = self.model(self._prepared(self.inputs[batch]))
        self._require_fit(logits, labels)
        loss = self._mean_loss(logits, labels)
        if not isinstance(loss, Tensor) or loss.dim() > 0:
            told = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise RecipeError(f"loss {self.recipe.loss!r} returned {told}, but must return one number: a mean loss")
        hits = (logits.detach().argmax(-1) == labels).sum()
        return loss, hits if labels.dim() == 1 else hits / labels[0].numel()

    def _require_fit(self, logits: Any, labels: Tensor) -> None:
        """Raises RecipeError for what is no logits of these labels."""
        shape = (*labels.shape, self._classes)
        if not isinstance(logits, Tensor) or logits.shape != shape:
            told = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise RecipeError(
                f"model {self.recipe.model!r} returned {told} for a batch of {len(labels)}, but must return logits of "
                f"shape {tuple(shape)}: a number for each label and class"
            )


def make_optimizer(recipe: Recipe, model: nn.Module, num_data: int, compile: bool = False) -> LowPrecisionOptimizer:
    """The recipe's optimizer for that network. It rounds the weights onto their grid. num_data: how many labels there
    are, of which the loss is the mean."""
    sampler = SAMPLERS[recipe.sampler]
    settings = {name: getattr(recipe, name) for name in ("lr", *sampler.setting.names()) if name != "num_data"}
    settings |= {field: recipe.by_name(field) for field in ("weight", "grad")}
    return sampler(model.named_parameters(), num_data=num_data, compile=compile, **settings)
