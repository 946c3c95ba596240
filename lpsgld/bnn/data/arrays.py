"""Data in memory: images of 8 bits, or tensors of any kind, and the batches that a network sees.

Augmentation and normalisation run on whole batches, on the device that holds them. Where data come from is told in
`datasets.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lpsgld.text import Mistake


class DatasetError(Mistake, RuntimeError):
    """A dataset that is unknown, missing, unreachable or malformed."""


class Data:
    """What training and judging ask of a data set; a class says in `fields` where its four tensors are: training inputs
    and labels, test inputs and labels. unit: what one prediction is of, in a word."""

    fields: ClassVar[tuple[str, str, str, str]]
    name: str
    classes: tuple[str, ...]
    unit: str

    @property
    def parts(self) -> list[Tensor]:
        return [getattr(self, name) for name in self.fields]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.parts[0].shape[1:])

    @property
    def noun(self) -> str:
        """What one input is, in a word: what a prediction is of, or a sequence of such."""
        return self.unit if self.parts[1].dim() == 1 else "sequence"

    @property
    def words(self) -> int:
        """How many different numbers an input may hold, if it is of words; else 0."""
        return 0

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any input or label."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update(f"{tuple(part.shape)}".encode())
            digest.update(part.contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def about(self) -> dict[str, Any]:
        """What a network was made for, beside the classes, as JSON can hold it."""
        raise NotImplementedError

    def prepared(self, inputs: Tensor) -> Tensor:
        """A batch of inputs as the network sees it at test time."""
        return inputs

    def preparation(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The function that makes of a batch of training inputs, on that device, what the network sees."""
        return self.prepared

    def subset(self, train: int, test: int, seed: int = 0) -> Self:
        """A random part of the data set, the same for the same seed. Raises DatasetError if it has fewer inputs."""
        generator = torch.Generator().manual_seed(seed)
        parts = self.parts
        for what, first, size in (("training", 0, train), ("test", 2, test)):
            if not 1 <= size <= len(parts[first]):
                raise DatasetError(
                    f"{size} {what} {self.noun}s were asked for, but {self.name} has {len(parts[first])}"
                )
            keep = torch.randperm(len(parts[first]), generator=generator)[:size]
            parts[first : first + 2] = [part[keep] for part in parts[first : first + 2]]
        return dataclasses.replace(self, **dict(zip(self.fields, parts, strict=True)))


@dataclass(frozen=True, eq=False)
class Tensors(Data):
    """Inputs of any kind: numbers, or the words of texts as numbers.

    train_inputs, test_inputs: [N, ...], of any type. train_labels, test_labels: int64 [N], or [N, L] where there is
    something to predict at each of L places. classes: their names. vocabulary: of the words that inputs count from 0;
    none, if these are no words. unit: what one prediction is of, in a word.
    """

    fields = ("train_inputs", "train_labels", "test_inputs", "test_labels")

    name: str
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    vocabulary: tuple[str, ...] = ()
    unit: str = "input"

    @property
    def words(self) -> int:
        return len(self.vocabulary)

    def about(self) -> dict[str, Any]:
        """The words by 16 hex digits: the same numbers must mean the same words."""
        words = hashlib.sha256("\0".join(self.vocabulary).encode()).hexdigest()[:16] if self.vocabulary else ""
        return {"input_shape": list(self.shape), "vocabulary": words}


@dataclass(frozen=True, eq=False)
class Dataset(Data):
    """Images in memory, and what a network should know about them.

    train_images, test_images: uint8 [N, C, H, W]. train_labels, test_labels: int64 [N]. classes: their names.
    mean, std: of each channel on the scale [0, 1], for normalisation. pad, flip: how training images may be
    changed: shifted by up to `pad` pixels, mirrored left to right. unused: how many files of which kind lay beside
    those of the images.
    """

    fields = ("train_images", "train_labels", "test_images", "test_labels")
    unit = "image"

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pad: int = 0
    flip: bool = False
    unused: dict[str, int] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """One line: how many images there are, and how many files were not used."""
        images = f"{len(self.train_labels)} training and {len(self.test_labels)} test images"
        most = sorted(self.unused.items(), key=lambda kind: -kind[1])
        kinds = [f"{number} {kind}" for kind, number in most[:5]] + ["others"] * (len(most) > 5)
        total = sum(self.unused.values())
        rest = f"{total} file{'s' * (total != 1)} not used ({', '.join(kinds)})" if total else "every file is used"
        return f"{self.name}: {images} in {len(self.classes)} classes; {rest}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return tuple(self.train_images.shape[1:])

    def about(self) -> dict[str, Any]:
        return {"image_shape": list(self.image_shape), "mean": list(self.mean), "std": list(self.std)}

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 images as the network's input, see `normalize`."""
        return normalize(images, self.mean, self.std)

    def augment(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Training images shifted, mirrored (if this dataset allows it) and normalised, see `augment`."""
        return self.normalize(augment(images, generator, pad=self.pad, flip=self.flip))

    def prepared(self, inputs: Tensor) -> Tensor:
        return self.normalize(inputs)

    def preparation(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        mean, std = (torch.tensor(v, device=device) for v in (self.mean, self.std))
        pad, flip = self.pad, self.flip  # not the data set itself, which a compiled function would look into
        return lambda images: normalize(augment(images, pad=pad, flip=flip), mean, std)


def normalize(images: Tensor, mean: Tensor | tuple[float, ...], std: Tensor | tuple[float, ...]) -> Tensor:
    """(x/255 - mean)/std of uint8 images [N, C, H, W], in float32. Tensors on the images' device save a copy to it."""
    m, s = (torch.as_tensor(v, device=images.device).view(1, -1, 1, 1) for v in (mean, std))
    return images.float() * (1 / (255 * s)) - m / s


def augment(images: Tensor, generator: torch.Generator | None = None, *, pad: int = 4, flip: bool = True) -> Tensor:
    """Random crops of the zero-padded images, mirrored with probability 1/2: uint8 [N, C, H, W] to the same.

    Each image is shifted by -pad..pad pixels in both directions. generator: of the images' device.
    """
    count, _, height, width = images.shape
    device = images.device
    if pad:
        windows = F.pad(images, (pad,) * 4).unfold(2, height, 1).unfold(3, width, 1)
        down, right = torch.randint(2 * pad + 1, (2, count), device=device, generator=generator)
        images = windows[torch.arange(count, device=device), :, down, right]
    if flip:
        mirrored = torch.rand(count, device=device, generator=generator) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    return images


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 images, on the scale [0, 1]; a constant channel has 1.

    Exact, from the histogram of each channel, so that no float copy of the images is made.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        weight = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        weight /= weight.sum()
        mean = (weight * levels).sum()
        std = (weight * (levels - mean).square()).sum().sqrt()
        means.append(mean.item())
        stds.append(std.item() if std > 0 else 1.0)
    return tuple(means), tuple(stds)
