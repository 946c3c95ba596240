"""Seconds an epoch of the three scripts' recipes, compiled against eager."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from benchmarks.timing import Row, interleaved
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.training import compiling
from lpsgld.bnn.training.recipes import RECIPES, Recipe
from lpsgld.bnn.training.stepping import Stepper

GOALS = {"train_fixed": "2 s", "train_bfp": "2.5 s", "train_bfp_cyclic": "2.5 s"}  # on an H100


def rows(
    dataset: Dataset,
    width: int,
    repetitions: int,
    device: torch.device,
    compiled: bool,
    tf32: compiling.Choice = "auto",
) -> Iterator[Row]:
    """One row a recipe: all steps over the training images, without the test after them."""
    for name, goal in GOALS.items():
        recipe = RECIPES[name].override(width=width)
        cases = {"eager": _epoch(recipe, dataset, device, False)}
        if compiled:
            cases["compiled"] = _epoch(recipe, dataset, device, True)
        products = compiling.tf32(tf32, recipe, device)
        with compiling.convolutions(products.on):
            best = interleaved(cases, repetitions)
        what = f"epoch, {name}, {len(dataset.train_labels)} images, width {width}" + ", TF32" * products.on
        ours, other = (best["compiled"], best["eager"]) if compiled else (best["eager"], None)
        goal = f"at most {goal}" if device.type == "cuda" and len(dataset.train_labels) == 50_000 else ""
        yield Row(what, torch.get_num_threads(), ours, other, "eager" if compiled else "(ours is eager)", goal)


def images(name: str, limit: int | None) -> Dataset:
    """A dataset of `datasets.load`, or "random": noise of CIFAR-10's shape and number, which takes as long."""
    if name == "random":
        count = limit or 50_000
        train = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
        labels = torch.randint(10, (count,))
        mean, std, classes = (0.5,) * 3, (0.25,) * 3, tuple("0123456789")
        return Dataset(name, train, labels, train[:1], labels[:1], classes, mean, std, pad=4, flip=True)
    loaded = datasets.load(name)
    return loaded if limit is None else loaded.subset(limit, 1)


def _epoch(recipe: Recipe, dataset: Dataset, device: torch.device, compiled: bool) -> Callable[[], None]:
    stepper = Stepper(recipe, dataset, device, compiled)

    def epoch() -> None:
        for batch in stepper.batches():
            stepper.gradient(batch)
            stepper.move()

    return epoch
