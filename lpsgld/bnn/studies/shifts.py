"""Shifted images: test images as a network never saw them in training, from "not at all" to "badly".

A network should be less sure of such images. Whether it is, tells more of its uncertainty than the images that it was
trained for. Shifts take and give uint8 images [N, C, H, W]; their randomness comes from a generator of the caller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.judging.ensemble import Evaluation, combine, predictions
from lpsgld.bnn.training.runs import Run
from lpsgld.text import one_of

_RIGHT_ANGLE = 90.0  # degrees
_LOUDEST = 128.0  # standard deviation of the noise, of 255


def shift(images: Tensor, kind: str, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """The images, shifted: unchanged at strength 0, as badly as this kind goes at strength 1.

    kind: a name in SHIFTS. generator: of the images' device; "inverted" draws nothing from it. Raises ValueError for
    an unknown kind or a strength outside [0, 1], TypeError for images that are not uint8 [N, C, H, W].
    """
    one_of("shift", kind, SHIFTS)
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength is {strength}, but must be from 0 (unchanged) to 1")
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise TypeError(f"the images are {images.dtype} {tuple(images.shape)}, but must be uint8 [N, C, H, W]")
    return SHIFTS[kind](images, strength, generator)


def rotated(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Turned by 90° times the strength, each image to a random side; corners are filled with black."""
    angle = _RIGHT_ANGLE * strength
    left, right = (_turned(images, side * angle) for side in (1, -1))
    to_left = torch.rand(len(images), device=images.device, generator=generator) < 0.5
    return torch.where(to_left.view(-1, 1, 1, 1), left, right)


def noisy(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Independent Gaussian noise on each value, of standard deviation 128 (of 255) times the strength."""
    noise = torch.randn(images.shape, device=images.device, generator=generator)
    return (images + _LOUDEST * strength * noise).round().clamp(0, 255).to(torch.uint8)


def inverted(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Blended with the negative: grey all over at strength 1/2, the negative at 1."""
    negative = transforms.invert(images)
    return torch.lerp(images.float(), negative.float(), strength).round().to(torch.uint8)


Shift = Callable[[Tensor, float, torch.Generator | None], Tensor]
SHIFTS: Mapping[str, Shift] = MappingProxyType({f.__name__: f for f in (rotated, noisy, inverted)})


def _turned(images: Tensor, angle: float) -> Tensor:
    return transforms.rotate(images, angle, interpolation=InterpolationMode.BILINEAR)


# ---- what a network makes of them ------------------------------------------------------------------------------

Setting = tuple[str, float]  # kind, strength


def series(images: Tensor, strengths: Sequence[float], seed: int = 0) -> dict[Setting, Tensor]:
    """The images in every kind and strength. The same random numbers serve all strengths, so that only they change."""
    return {
        (kind, strength): shift(images, kind, strength, torch.Generator().manual_seed(seed))
        for kind in SHIFTS
        for strength in strengths
    }


def members(
    run: Run, dataset: Dataset, shifted: Mapping[Setting, Tensor], *, device: str = "auto", seed: int = 0
) -> dict[Setting, Tensor]:
    """Probabilities [S, N, C] of a run's posterior samples on each set of images; each sample is read once."""
    everything = dataclasses.replace(dataset, test_images=torch.cat(list(shifted.values())))
    told = torch.stack(list(predictions(run, everything, device=device, seed=seed)))
    parts = told.split([len(images) for images in shifted.values()], dim=1)
    return dict(zip(shifted, parts, strict=True))


def evaluations(told: Mapping[Setting, Tensor], labels: Tensor) -> dict[Setting, Evaluation]:
    """The evaluation of the ensemble of `members` on each set of images."""
    return {setting: combine(iter(probabilities), labels) for setting, probabilities in told.items()}
