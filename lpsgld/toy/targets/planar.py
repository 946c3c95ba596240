"""Targets in the plane, for chains: points are the last axis of a tensor or array, [..., 2]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class PlanarTarget(Protocol):
    """What chains and pictures ask of a target in the plane."""

    def gradient(self, x): ...
    def density(self, x): ...


@dataclass(frozen=True)
class CorrelatedGaussian:
    """N(0, Σ) with unit variances and one correlation ρ: U(x, y) = (x² - 2ρxy + y²) / (2(1 - ρ²)).

    The smallest curvature is 1/(1 + |ρ|), the largest 1/(1 - |ρ|). Raises ValueError unless -1 < ρ < 1.
    """

    correlation: float = 0.9

    def __post_init__(self):
        if not -1 < self.correlation < 1:
            raise ValueError(f"CorrelatedGaussian(correlation={self.correlation}): needs -1 < correlation < 1")

    @property
    def covariance(self) -> np.ndarray:
        return np.array([[1.0, self.correlation], [self.correlation, 1.0]])

    def gradient(self, x):
        """∇U at points [..., 2], an array or a tensor."""
        return (x - self.correlation * _swapped(x)) / (1 - self.correlation**2)

    @np.errstate(under="ignore")
    def density(self, x):
        """The normalised density at points [..., 2] (array)."""
        square = 1 - self.correlation**2
        energy = (x[..., 0] ** 2 - 2 * self.correlation * x[..., 0] * x[..., 1] + x[..., 1] ** 2) / (2 * square)
        return np.exp(-energy) / (2 * math.pi * math.sqrt(square))


@dataclass(frozen=True)
class Banana:
    """A bent Gaussian: x ~ N(0, 1) and y given x ~ N(bend·(x² - 1), width²).

        U(x, y) = x²/2 + (y - bend·(x² - 1))² / (2 width²)

    Mean 0, Var x = 1, Var y = 2·bend² + width², uncorrelated though far from independent. Raises ValueError unless
    width > 0.
    """

    bend: float = 0.7
    width: float = 0.4

    def __post_init__(self):
        if not (self.width > 0 and math.isfinite(self.bend)):
            raise ValueError(f"Banana(bend={self.bend}, width={self.width}): needs a finite bend and a width > 0")

    @property
    def covariance(self) -> np.ndarray:
        return np.diag([1.0, 2 * self.bend**2 + self.width**2])

    def gradient(self, x):
        """∇U at points [..., 2], an array or a tensor."""
        first, second = x[..., 0], x[..., 1]
        pull = (second - self.bend * (first**2 - 1)) / self.width**2
        stack = torch.stack if isinstance(x, Tensor) else np.stack
        return stack([first - 2 * self.bend * first * pull, pull], -1)

    @np.errstate(under="ignore")
    def density(self, x):
        """The normalised density at points [..., 2] (array)."""
        residual = (x[..., 1] - self.bend * (x[..., 0] ** 2 - 1)) / self.width
        return np.exp(-(x[..., 0] ** 2 + residual**2) / 2) / (2 * math.pi * self.width)


def _swapped(x):
    return x.flip(-1) if isinstance(x, Tensor) else x[..., ::-1]
