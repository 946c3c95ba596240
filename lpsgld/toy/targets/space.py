"""Targets of several dimensions, for chains: points are the last axis of a tensor or array, [..., d]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class SpaceTarget(Protocol):
    """What chains ask of a target in several dimensions: ∇U at points [..., d], of the same shape and type."""

    def gradient(self, x): ...


@dataclass(frozen=True, eq=False)
class MultivariateGaussian:
    """N(mean, Σ) in d dimensions, whose energy is U(x) = (x - mean)ᵀ Σ⁻¹ (x - mean) / 2.

    mean: [d]. covariance: Σ [d, d], symmetric and positive definite. Curvatures are the eigenvalues of Σ⁻¹. What
    Langevin steps make of it is told exactly by `exact.covariance`. Raises ValueError for other shapes, numbers that
    are not finite, and a Σ that is no covariance.
    """

    mean: np.ndarray
    covariance: np.ndarray

    def __post_init__(self):
        mean, covariance = (np.array(given, dtype=float) for given in (self.mean, self.covariance))
        if mean.ndim != 1 or mean.size == 0 or covariance.shape != (mean.size, mean.size):
            raise ValueError(
                f"the mean has shape {mean.shape} and the covariance {covariance.shape}, but must be [d] and [d, d]"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ValueError("mean and covariance must be finite: one of them holds NaN or infinity")
        if not np.allclose(covariance, covariance.T, rtol=1e-8, atol=0):
            i, j = np.unravel_index(np.abs(covariance - covariance.T).argmax(), covariance.shape)
            raise ValueError(
                f"the covariance is not symmetric: entry [{i}, {j}] is {covariance[i, j]:g}, but [{j}, {i}] is "
                f"{covariance[j, i]:g}"
            )
        spectrum = np.linalg.eigvalsh(covariance)
        if spectrum[0] <= mean.size * np.finfo(float).eps * spectrum[-1]:
            raise ValueError(
                f"the covariance is not positive definite: its smallest eigenvalue is {spectrum[0]:.3g}, but must be "
                f"above 0, and not lost in the digits of the largest, {spectrum[-1]:.3g}"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)

    @cached_property
    def precision(self) -> np.ndarray:
        """Σ⁻¹ [d, d]."""
        inverse = np.linalg.inv(self.covariance)
        return (inverse + inverse.T) / 2

    def gradient(self, x):
        """∇U = Σ⁻¹(x - mean) at points [..., d], an array or a tensor. Raises ValueError for another number of axes."""
        require_points(x, self.mean.size)
        mean, precision = self.mean, self.precision
        if isinstance(x, Tensor):
            mean, precision = (torch.as_tensor(part, dtype=x.dtype, device=x.device) for part in (mean, precision))
        return (x - mean) @ precision

    @np.errstate(under="ignore")
    def density(self, x):
        """The normalised density at points [..., d] (array)."""
        energy = ((x - self.mean) * self.gradient(x)).sum(-1) / 2
        return np.exp(-energy - (np.linalg.slogdet(self.covariance)[1] + self.mean.size * math.log(2 * math.pi)) / 2)


@dataclass(frozen=True)
class Banana:
    """A bent Gaussian in the plane: x ~ N(0, 1) and y given x ~ N(bend·(x² - 1), width²).

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
        """That of (x, y) [2, 2]."""
        return np.diag([1.0, 2 * self.bend**2 + self.width**2])

    def gradient(self, x):
        """∇U at points [..., 2], an array or a tensor."""
        require_points(x, 2)
        first, second = x[..., 0], x[..., 1]
        pull = (second - self.bend * (first**2 - 1)) / self.width**2
        stack = torch.stack if isinstance(x, Tensor) else np.stack
        return stack([first - 2 * self.bend * first * pull, pull], -1)

    @np.errstate(under="ignore")
    def density(self, x):
        """The normalised density at points [..., 2] (array)."""
        residual = (x[..., 1] - self.bend * (x[..., 0] ** 2 - 1)) / self.width
        return np.exp(-(x[..., 0] ** 2 + residual**2) / 2) / (2 * math.pi * self.width)


def require_points(x, dimension: int) -> None:
    """Raises ValueError unless x, an array or a tensor, is [..., dimension]."""
    if x.ndim == 0 or x.shape[-1] != dimension:
        raise ValueError(f"points have shape {tuple(x.shape)}, but those of this target must be [..., {dimension}]")
