"""Targets on the line: densities proportional to exp(-U) whose moments, quantiles and constants are known.

`Gaussian` has closed forms. The others inherit from `Quadrature`, which integrates exp(-U) cell by cell. Targets of
several dimensions live in `space.py`, those of your own energy in `given.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from torch import Tensor

from lpsgld import formats
from lpsgld.formats import AnyFormat


class Curvature(NamedTuple):
    """The constants of the theory: m ≤ U'' ≤ M, and U'' is Lipschitz with constant Ψ."""

    m: float
    M: float
    psi: float


class Target(Protocol):
    """What exact laws and distances ask of a target. x and u are numbers or arrays; x of `gradient` may be a tensor.

    mode: where the density is highest. gradient: ∇U(x). density, log_density: the normalised one. cdf: P(X ≤ x).
    quantile: the x with P(X ≤ x) = u. quantile_moments: the integrals of q and of q² from 0 to u, where q is the
    quantile function; the Wasserstein-2 distance to a discrete law is made of them.
    """

    mean: float
    std: float
    mode: float

    def gradient(self, x): ...
    def log_density(self, x): ...
    def cdf(self, x): ...
    def quantile(self, u): ...
    def quantile_moments(self, u): ...

    @np.errstate(under="ignore")
    def density(self, x):
        return np.exp(self.log_density(x))


@dataclass(frozen=True)
class Gaussian(Target):
    """N(mean, std²), whose energy is U(x) = (x - mean)²/(2 std²). Raises ValueError unless std > 0."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"Gaussian(mean={self.mean}, std={self.std}): needs a finite mean and a finite std > 0")

    @property
    def mode(self) -> float:
        return self.mean

    @property
    def curvature(self) -> Curvature:
        return Curvature(self.std**-2, self.std**-2, 0.0)

    def gradient(self, x):
        return (x - self.mean) / self.std**2

    def log_density(self, x):
        z = (np.asarray(x) - self.mean) / self.std
        return -0.5 * z * z - math.log(self.std * math.sqrt(2 * math.pi))

    def cdf(self, x):
        return ndtr((np.asarray(x) - self.mean) / self.std)

    def quantile(self, u):
        return self.mean + self.std * ndtri(u)

    @np.errstate(under="ignore")
    def quantile_moments(self, u) -> tuple[np.ndarray, np.ndarray]:
        """For N(0, 1), with z = Φ⁻¹(u), they are -φ(z) and u - zφ(z)."""
        u = np.asarray(u, dtype=float)
        z = ndtri(u)
        phi = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        z_phi = np.where(np.isfinite(z), z, 0.0) * phi
        first, second = -phi, u - z_phi
        return (
            self.mean * u + self.std * first,
            self.mean**2 * u + 2 * self.mean * self.std * first + self.std**2 * second,
        )


CELLS = 2048  # of a table that is made for a density
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2  # on [0, 1]


class Quadrature(Target):
    """A density known through its energy only: everything else by Gauss-Legendre quadrature, 8 nodes a cell.

    A subclass gives `energy(x)` (array), `gradient(x)` and `_edges()`: equally spaced cell edges that reach to where
    the density is below e^-40 of its maximum, and between which the energy is smooth. Moments, cdf and quantiles then
    have an absolute error below 1e-11, tested against closed forms.
    """

    def energy(self, x):
        raise NotImplementedError

    def _edges(self) -> np.ndarray:
        raise NotImplementedError

    @cached_property
    @np.errstate(under="ignore")
    def _table(self) -> tuple[np.ndarray, float, np.ndarray]:
        """The cell edges [n + 1], log ∫ exp(-U), and the integrals of 1, x, x² up to each edge [3, n + 1]."""
        edges = self._edges()
        width = edges[1] - edges[0]
        x = edges[:-1, None] + width * _NODES
        energy = self.energy(x)
        lowest = float(energy.min())
        mass = np.exp(lowest - energy) * _WEIGHTS * width
        total = float(mass.sum())
        cells = np.stack([(mass * x**power).sum(axis=1) for power in range(3)]) / total
        return edges, math.log(total) - lowest, np.concatenate([np.zeros((3, 1)), np.cumsum(cells, axis=1)], axis=1)

    @property
    def mean(self) -> float:
        return float(self._table[2][1, -1])

    @property
    def std(self) -> float:
        return math.sqrt(self._table[2][2, -1] - self.mean**2)

    @cached_property
    def mode(self) -> float:
        """To the width of a cell."""
        edges = self._table[0]
        return float(edges[np.argmin(self.energy(edges))])

    def log_density(self, x):
        return -self.energy(np.asarray(x, dtype=float)) - self._table[1]

    def cdf(self, x):
        edges, _, moments = self._table
        x = np.clip(np.asarray(x, dtype=float), edges[0], edges[-1])
        cell = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        return np.clip(moments[0, cell] + self._partial(edges[cell], x, 0), 0.0, 1.0)

    def quantile(self, u):
        """0 and 1 give the ends of the table."""
        edges, _, moments = self._table
        u = np.asarray(u, dtype=float)
        cell = np.clip(np.searchsorted(moments[0], u, side="right") - 1, 0, len(edges) - 2)
        left, right = edges[cell], edges[cell + 1]
        rest = u - moments[0, cell]
        x = left + (right - left) * np.clip(rest / np.maximum(np.diff(moments[0])[cell], 1e-300), 0, 1)
        for _ in range(5):  # Newton; within a cell the density is nearly constant
            x = np.clip(x - (self._partial(left, x, 0) - rest) / np.maximum(self.density(x), 1e-300), left, right)
        return x

    def quantile_moments(self, u) -> tuple[np.ndarray, np.ndarray]:
        edges, _, moments = self._table
        x = self.quantile(u)
        cell = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        first, second = (moments[power, cell] + self._partial(edges[cell], x, power) for power in (1, 2))
        return first, second

    def _partial(self, left, x, power: int):
        """∫ t^power density(t) dt from left to x, within one cell."""
        t = left[..., None] + (x - left)[..., None] * _NODES
        return (x - left) * ((self.density(t) * t**power) @ _WEIGHTS)


@dataclass(frozen=True)
class Mixture(Quadrature):
    """A mixture of Gaussians: density Σ w_k N(x; μ_k, s_k²), with weights of any positive sum.

    Raises ValueError unless the three tuples have one length and weights and stds are positive.
    """

    means: tuple[float, ...] = (-1.5, 1.5)
    stds: tuple[float, ...] = (0.5, 0.5)
    weights: tuple[float, ...] = (0.5, 0.5)

    def __post_init__(self):
        sizes = {len(self.means), len(self.stds), len(self.weights)}
        if len(sizes) > 1 or not self.means or min(self.stds) <= 0 or min(self.weights) <= 0:
            raise ValueError(
                f"Mixture(means={self.means}, stds={self.stds}, weights={self.weights}): needs one weight > 0 and one "
                "std > 0 for each mean"
            )

    @np.errstate(under="ignore")
    def energy(self, x):
        """-log of the density (array)."""
        return -np.logaddexp.reduce(self._logs(np.asarray(x, dtype=float)))

    @np.errstate(under="ignore")
    def gradient(self, x):
        """∇U(x) = Σ r_k (x - μ_k)/s_k² with responsibilities r_k, for a number, an array or a tensor."""
        exp, maximum = (torch.exp, torch.maximum) if isinstance(x, Tensor) else (np.exp, np.maximum)
        logs = self._logs(x)
        largest = reduce(maximum, logs)
        shares = [exp(log - largest) for log in logs]
        slopes = [(x - mean) / std**2 for mean, std in zip(self.means, self.stds, strict=True)]
        return sum(share * slope for share, slope in zip(shares, slopes, strict=True)) / sum(shares)

    def _logs(self, x) -> list:
        parts = zip(self.means, self.stds, self.weights, strict=True)
        norm = math.sqrt(2 * math.pi) * sum(self.weights)
        return [math.log(weight / std / norm) - ((x - mean) / std) ** 2 / 2 for mean, std, weight in parts]

    def _edges(self) -> np.ndarray:
        parts = list(zip(self.means, self.stds, strict=True))
        return np.linspace(min(m - 10 * s for m, s in parts), max(m + 10 * s for m, s in parts), CELLS + 1)


@dataclass(frozen=True)
class LogOdds(Quadrature):
    """Logistic regression in one dimension: the log odds θ of a coin with prior N(0, 1), after some tosses.

        U(θ) = θ²/2 + heads·log(1 + e^-θ) + tails·log(1 + e^θ)

    Strongly convex, smooth and not Gaussian: m = 1, M = 1 + n/4 and Ψ = n/(6√3) for n tosses. Raises ValueError for
    negative counts.
    """

    heads: float = 8.0
    tails: float = 0.0

    def __post_init__(self):
        if not (self.heads >= 0 and self.tails >= 0 and math.isfinite(self.heads + self.tails)):
            raise ValueError(f"LogOdds(heads={self.heads}, tails={self.tails}): both counts must be finite and ≥ 0")

    @property
    def curvature(self) -> Curvature:
        n = self.heads + self.tails
        return Curvature(1.0, 1 + n / 4, n / (6 * math.sqrt(3)))

    def energy(self, x):
        """U(x) (array)."""
        x = np.asarray(x, dtype=float)
        return x * x / 2 + self.heads * np.logaddexp(0, -x) + self.tails * np.logaddexp(0, x)

    def gradient(self, x):
        """∇U(x) = x - heads + n·sigmoid(x), for a number, an array or a tensor."""
        tanh = torch.tanh if isinstance(x, Tensor) else np.tanh
        return x - self.heads + (self.heads + self.tails) * (1 + tanh(x / 2)) / 2

    @cached_property
    def mode(self) -> float:
        """The θ of slope 0, to 1e-12."""
        return brentq(self.gradient, -self.tails - 1, self.heads + 1)

    def _edges(self) -> np.ndarray:
        reach = math.sqrt(2 * (40 + (self.heads + self.tails) * math.log(2)))  # U(x) ≥ x²/2, and U(0) = n log 2
        return np.linspace(-reach, reach, CELLS + 1)


@dataclass(frozen=True)
class SeenThrough(Quadrature):
    """The target that a full-precision accumulator with weights rounded to `fmt` samples as its step size goes to 0.

    Its mean gradient at θ is E∇U(Q_W(θ)), which joins the gradients at the grid points by straight lines and is
    constant beyond the range. For a Gaussian that is the gradient itself: nothing is lost.
    """

    target: Target
    fmt: AnyFormat

    @cached_property
    def _knots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Grid points, the gradients there, and the energies: each piece of the energy is a parabola."""
        g = formats.parse(self.fmt).uniform
        points = np.arange(g.low, g.high + 1) * g.gap
        slopes = self.target.gradient(points)
        return points, slopes, np.append(0.0, np.cumsum((slopes[1:] + slopes[:-1]) / 2 * g.gap))

    def gradient(self, x):
        """E∇U(Q_W(x)) (array)."""
        points, slopes, _ = self._knots
        return np.interp(x, points, slopes)

    def energy(self, x):
        """The integral of that gradient (array)."""
        points, slopes, energies = self._knots
        x = np.asarray(x, dtype=float)
        cell = np.clip(np.searchsorted(points, x, side="right") - 1, 0, len(points) - 1)
        inside = np.maximum(x, points[0]) - points[cell]
        return (
            energies[cell] + inside * (slopes[cell] + self.gradient(x)) / 2 + np.minimum(x - points[0], 0) * slopes[0]
        )

    def _edges(self) -> np.ndarray:
        points, slopes, energies = self._knots
        if not slopes[0] < 0 < slopes[-1]:
            raise ValueError(
                f"the range of {formats.name(self.fmt)} ends before the target's slope turns: take more integer bits"
            )
        gap = points[1] - points[0]
        missing = np.maximum(40 + energies.min() - energies[[0, -1]], 0) / np.abs(slopes[[0, -1]])
        left, right = points[0] - gap * math.ceil(missing[0] / gap), points[-1] + gap * math.ceil(missing[1] / gap)
        pieces = max(1, math.ceil(64 * gap))  # the corners of the gradient, at the grid points, lie between cells
        return np.linspace(left, right, round((right - left) / gap) * pieces + 1)
