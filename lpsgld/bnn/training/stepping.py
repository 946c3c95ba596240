"""What moves while a chain is trained, and the step that moves it.

The same code runs eagerly and compiled, on the CPU and on an accelerator. There, nothing in a step makes the host wait
for the device: what is counted stays on the device until an epoch is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpsgld.bnn.data import arrays
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.training.recipes import SAMPLERS, Recipe, RecipeError
from lpsgld.samplers.optimizer import LowPrecisionOptimizer


class Stepper:
    """A network with fresh weights, its optimizer, and its training images, on one device.

    compile: with `torch.compile`, one program for augmentation, network and loss (its backward pass included) and one
    for the optimizer. There is a program for each size of a batch: two, if the last batch of an epoch is smaller. It
    is not padded to the others' size, since BatchNorm's statistics would count the padding. Nor can it have a single
    image there, which has no variance: such a batch is left out. Raises RecipeError if no other is left.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, device: torch.device, compile: bool = False):
        self.recipe, self.device, self.compiled = recipe, device, compile
        self._pad, self._flip = dataset.pad, dataset.flip
        self._mean, self._std = (torch.tensor(v, device=device) for v in (dataset.mean, dataset.std))
        self.images, self.labels = dataset.train_images.to(device), dataset.train_labels.to(device)
        self.model = recipe.build_model(dataset.image_shape, len(dataset.classes)).to(device)
        self.optimizer = make_optimizer(recipe, self.model, len(self.labels), compile)
        normed = any(isinstance(module, nn.BatchNorm2d) for module in self.model.modules())
        self._size, self._fewest = min(recipe.batch_size, len(self.labels)), 2 if normed else 1
        if self._size < self._fewest:
            raise RecipeError(
                f"batches have a single image, over which the BatchNorm of a {recipe.model} has no variance: take a "
                "batch_size of 2 or more, and as many images"
            )
        self._step_sizes = [group["lr"] for group in self.optimizer.param_groups]
        self._loss = torch.compile(self._eager_loss, fullgraph=True, dynamic=False) if compile else self._eager_loss

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(len(self.labels), self._size)
        return whole + (rest >= self._fewest)

    def batches(self) -> list[Tensor]:
        """Indices of the images of each batch of an epoch, in random order; the last batch may be smaller."""
        order = torch.randperm(len(self.labels), device=self.device)
        return list(order.split(self._size)[: self.steps])

    def gradient(self, batch: Tensor, multiplier: float = 1.0) -> tuple[Tensor, Tensor]:
        """Look at a batch: everything that decides the next `move` is there then, and nothing has moved.

        Gradients are those of the batch's mean loss, the step size of each parameter group is its own times the
        multiplier (of a schedule). Returns the loss and the number of hits, as tensors.
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
        """Every tensor that training changes: parameters, buffers, and the optimizer's own (θ, displacements)."""
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            yield f"model/{name}", tensor
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                yield f"optimizer/{index}/{name}", tensor

    def _eager_loss(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        labels = self.labels[batch]
        images = arrays.augment(self.images[batch], pad=self._pad, flip=self._flip)
        logits = self.model(arrays.normalize(images, self._mean, self._std))
        return F.cross_entropy(logits, labels), (logits.detach().argmax(1) == labels).sum()


def make_optimizer(recipe: Recipe, model: nn.Module, num_data: int, compile: bool = False) -> LowPrecisionOptimizer:
    """The recipe's optimizer for that network. It rounds the weights onto their grid."""
    sampler = SAMPLERS[recipe.sampler]
    settings = {name: getattr(recipe, name) for name in ("lr", *sampler.setting.names()) if name != "num_data"}
    return sampler(model.named_parameters(), num_data=num_data, compile=compile, **settings)
