"""Images in memory: uint8 arrays, and the batches that a network sees.

Augmentation and normalisation run on whole batches, on the device that holds them. Where images come from is told in
`datasets.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from lpsgld.text import Mistake


class DatasetError(Mistake, RuntimeError):
    """A dataset that is unknown, missing, unreachable or malformed."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in memory, and what a network should know about them.

    train_images, test_images: uint8 [N, C, H, W]. train_labels, test_labels: int64 [N]. classes: their names.
    mean, std: of each channel on the scale [0, 1], for normalisation. pad, flip: how training images may be
    changed: shifted by up to `pad` pixels, mirrored left to right. unused: how many files of which kind lay beside
    those of the images.
    """

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

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any image or label."""
        digest = hashlib.sha256()
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{tuple(part.shape)}".encode())
            digest.update(part.contiguous().numpy())
        return digest.hexdigest()[:16]

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 images as the network's input, see `normalize`."""
        return normalize(images, self.mean, self.std)

    def augment(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Training images shifted, mirrored (if this dataset allows it) and normalised, see `augment`."""
        return self.normalize(augment(images, generator, pad=self.pad, flip=self.flip))

    def subset(self, train: int, test: int, seed: int = 0) -> Dataset:
        """A random part of the dataset, the same for the same seed. Raises DatasetError if it has fewer images."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for what, images, labels, size in (
            ("training", self.train_images, self.train_labels, train),
            ("test", self.test_images, self.test_labels, test),
        ):
            if not 1 <= size <= len(images):
                raise DatasetError(f"{size} {what} images were asked for, but {self.name} has {len(images)}")
            keep = torch.randperm(len(images), generator=generator)[:size]
            parts += [images[keep], labels[keep]]
        return Dataset(self.name, *parts, self.classes, self.mean, self.std, self.pad, self.flip, self.unused)


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
