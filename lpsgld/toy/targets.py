"""Targets: densities proportional to exp(-U) on the line, with the closed forms that the exact laws need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri


@dataclass(frozen=True)
class Gaussian:
    """N(mean, std²), whose energy is U(x) = (x - mean)²/(2 std²). Raises ValueError unless std > 0."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"Gaussian(mean={self.mean}, std={self.std}): needs a finite mean and a finite std > 0")

    def gradient(self, x):
        """∇U(x) = (x - mean)/std², for a number, an array or a tensor."""
        return (x - self.mean) / self.std**2

    def density(self, x):
        """The normalised density at x (array)."""
        z = (np.asarray(x) - self.mean) / self.std
        return np.exp(-0.5 * z * z) / (self.std * math.sqrt(2 * math.pi))

    def cdf(self, x):
        """P(X ≤ x) (array)."""
        return ndtr((np.asarray(x) - self.mean) / self.std)

    def quantile_moments(self, u) -> tuple[np.ndarray, np.ndarray]:
        """The integrals of q and of q² from 0 to u, where q is the quantile function (array u in [0, 1]).

        They are what the Wasserstein-2 distance to a discrete law is made of. With z = Φ⁻¹(u) and for N(0, 1) they are
        -φ(z) and u - zφ(z).
        """
        u = np.asarray(u, dtype=float)
        z = ndtri(u)
        phi = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        z_phi = np.where(np.isfinite(z), z, 0.0) * phi
        first, second = -phi, u - z_phi
        return (
            self.mean * u + self.std * first,
            self.mean**2 * u + 2 * self.mean * self.std * first + self.std**2 * second,
        )
