"""Two results on the same test set: how much they differ, and whether its images can tell.

An image that is hard for one network is hard for another. Differences image by image leave that out, and so have
smaller standard errors than scores of two independent test sets. What they do not hold is the luck of training: another
seed gives another network, whose difference to the first is to be set beside these errors.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from lpsgld import metrics

BINS, RESAMPLES = 15, 400  # 400: a standard error to 1/√800 = 4 %
_ROW = 64  # images in a line of a file


@dataclass(frozen=True)
class Difference:
    """A score of the first less that of the second, its standard error over test images, and how many these were."""

    value: float
    standard_error: float
    images: int

    @property
    def standard_errors(self) -> float:
        """The difference in standard errors; infinite where only it is not 0, and 0 where nothing differs."""
        if self.standard_error == 0:
            return math.copysign(math.inf, self.value) if self.value else 0.0
        return self.value / self.standard_error

    @property
    def needed(self) -> float:
        """The size of a test set on which this difference would be two standard errors, if it is the true one."""
        return math.inf if self.value == 0 else self.images * (2 * self.standard_error / self.value) ** 2


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of each of N predictions: right [N], was it so; nll [N], of its label, in nats; confidence [N]."""

    right: np.ndarray
    nll: np.ndarray
    confidence: np.ndarray

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor) -> Outcomes:
        """probabilities [N, C] (rows sum to 1), labels [N]."""
        confidence, predicted = probabilities.max(1)
        right = (predicted == labels).cpu().numpy()
        return cls(right, metrics.nll_each(probabilities, labels).cpu().numpy(), confidence.cpu().numpy())

    @cached_property
    def ece(self) -> np.ndarray:
        """The ECE (15 bins) of these images, then of 400 resamples of them: the same ones for every N outcomes."""
        count, random = len(self.right), np.random.default_rng(0)
        bins, gaps = (np.ceil(BINS * self.confidence).clip(1) - 1).astype(int), self.right - self.confidence
        chosen = [slice(None), *(random.integers(count, size=count) for _ in range(RESAMPLES))]
        return np.array([np.abs(np.bincount(bins[i], gaps[i], BINS)).sum() / count for i in chosen])

    def to_rows(self) -> list[list[str]]:
        """As JSON can hold it, a row for 64 predictions: bits as hexadecimal numbers, then NLL and confidence as
        float16 (little-endian, base64url), 11 bits of each."""
        parts = [slice(start, start + _ROW) for start in range(0, len(self.right), _ROW)]
        return [
            [np.packbits(self.right[i]).tobytes().hex(), _to_text(self.nll[i]), _to_text(self.confidence[i])]
            for i in parts
        ]

    @classmethod
    def from_rows(cls, rows: list[list[str]], count: int) -> Outcomes:
        """What `to_rows` wrote of `count` predictions. Raises ValueError for anything else."""
        bits, *texts = zip(*rows, strict=True)
        right = np.unpackbits(np.frombuffer(bytes.fromhex("".join(bits)), np.uint8), count=count).astype(bool)
        nll, confidence = (np.concatenate([_from_text(text) for text in column]) for column in texts)
        if not len(nll) == len(confidence) == count:
            raise ValueError(f"outcomes are of {len(nll)} predictions, not of {count}")
        return cls(right, nll, confidence)


def compare(first: Outcomes, second: Outcomes) -> dict[str, Difference]:
    """The differences of "error", "nll" and "ece" (15 bins) on the same images, in the same order.

    Errors and NLL are means over images: their standard error is that of the mean of N differences. An ECE is none:
    its standard error is that of 400 resamples of the images. Raises ValueError for test sets of different sizes.
    """
    count = len(first.right)
    if count != len(second.right):
        raise ValueError(f"results on {count} and {len(second.right)} images cannot be compared one by one")
    each = {"error": second.right.astype(float) - first.right, "nll": first.nll - second.nll}
    found = {
        name: Difference(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(count), count) for name, x in each.items()
    }
    value, *resampled = first.ece - second.ece
    return found | {"ece": Difference(float(value), float(np.std(resampled, ddof=1)), count)}


def _to_text(numbers: np.ndarray) -> str:
    return base64.urlsafe_b64encode(numbers.astype("<f2").tobytes()).decode()


def _from_text(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, altchars=b"-_", validate=True), "<f2").astype(float)
