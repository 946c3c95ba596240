"""Targets of your own, from an energy and its gradient: on the line with all that is asked of one, else for chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lpsgld import text
from lpsgld.toy.targets.line import CELLS, Quadrature
from lpsgld.toy.targets.space import require_points

Function = Callable[[Tensor], Tensor]

_NEGLIGIBLE = 40.0  # energies above the lowest one: `Quadrature` ends there
_FARTHEST = 1e9


def from_energy(
    energy: Function, gradient: Function | None = None, *, dimension: int | None = None, around: float = 0.0
) -> EnergyOnLine | EnergyInSpace:
    """The target whose density is proportional to exp(-U), known by U alone, or by U and ∇U.

    energy: U, a function of tensors, up to a constant. gradient: ∇U; None takes it by automatic differentiation.
    dimension: None is a target on the line, where both functions work element by element, [...] to [...]: it has
    moments, quantiles and exact laws. A number d is one in space, for chains: U takes [..., d] to [...], and ∇U to
    [..., d]. around: where on the line the search for the density begins; it goes outward from there until U has
    risen by 40, so that modes beyond a gap as deep are not found.

        from_energy(lambda x: x**4 / 4 - x**2)  # two modes
        from_energy(lambda x: x.square().sum(-1) / 2 + x[..., 0].exp(), dimension=3)

    Raises ValueError for functions whose values have another shape, or are no floating-point numbers; once moments or
    quantiles are asked for, also for an energy that never rises by 40 on one side.
    """
    made = EnergyOnLine(energy, gradient, around) if dimension is None else EnergyInSpace(energy, gradient, dimension)
    probe = torch.full((2, 3) if dimension is None else (2, 3, dimension), around, dtype=torch.float64)
    _require_shape("energy", made.energy(probe), probe.shape if dimension is None else probe.shape[:-1])
    made.gradient(probe)
    return made


@dataclass(frozen=True)
class EnergyOnLine(Quadrature):
    """A target on the line, made by `from_energy`."""

    given_energy: Function
    given_gradient: Function | None
    around: float

    def energy(self, x):
        """U at x, a number, an array or a tensor."""
        return _applied(self.given_energy, x)

    def gradient(self, x):
        """∇U at x, a number, an array or a tensor."""
        return _applied(lambda at: _slope(self.given_energy, self.given_gradient, at), x)

    def _edges(self) -> np.ndarray:
        reach, going = np.array([-1.0, 1.0]), np.array([True, True])
        while going.any():
            ends = self.around + reach
            energies = self._energies(np.linspace(*ends, CELLS + 1))
            lowest = energies.min()
            going = ~(np.isfinite(lowest) & (energies[[0, -1]] >= lowest + _NEGLIGIBLE))
            if (np.abs(reach[going]) > _FARTHEST).any():
                raise ValueError(
                    f"the energy does not rise by {_NEGLIGIBLE:g} from its lowest to {ends[going][0]:.3g}: exp(-U) "
                    "seems to have no finite integral, or no mass near `around`"
                )
            reach = np.where(going, 2 * reach, reach)
        while True:  # what was found may be narrow against the steps that found it
            x = np.linspace(*ends, CELLS + 1)
            energies = self._energies(x)
            kept = np.flatnonzero(energies <= energies.min() + _NEGLIGIBLE)
            previous, ends = ends, x[[max(kept[0] - 1, 0), min(kept[-1] + 1, CELLS)]]
            if np.ptp(ends) <= 1e-10 * np.abs(ends).max():
                raise ValueError(f"the mass of this energy lies within {np.ptp(ends):.1g} of {ends[0]:g}: too narrow")
            if np.ptp(ends) > np.ptp(previous) / 2:
                return np.linspace(*ends, CELLS + 1)

    def _energies(self, x: np.ndarray) -> np.ndarray:
        """U at the points; infinity where it is no number."""
        energies = self.energy(x)
        return np.where(np.isnan(energies), np.inf, energies)


@dataclass(frozen=True)
class EnergyInSpace:
    """A target in space, made by `from_energy`."""

    given_energy: Function
    given_gradient: Function | None
    dimension: int

    def __post_init__(self):
        text.typed("dimension", "int", self.dimension)
        if self.dimension < 1:
            raise ValueError(f"dimension is {self.dimension}, but must be at least 1, or None for a target on the line")

    def energy(self, x):
        """U [...] at points [..., d], an array or a tensor."""
        require_points(x, self.dimension)
        return _applied(self.given_energy, x)

    def gradient(self, x):
        """∇U at points [..., d], an array or a tensor."""
        require_points(x, self.dimension)
        return _applied(lambda at: _slope(self.given_energy, self.given_gradient, at), x)


def _applied(function: Function, x):
    """A function of tensors, of a number or an array (in float64) or of a tensor; the value is of the same kind."""
    if isinstance(x, Tensor):
        return function(x)
    return function(torch.as_tensor(x, dtype=torch.float64)).detach().numpy()


def _slope(energy: Function, gradient: Function | None, x: Tensor) -> Tensor:
    """∇U(x), of the shape and type of x."""
    if gradient is not None:
        slope = gradient(x)
    else:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            total = energy(leaf).sum()
            if not total.requires_grad:
                raise ValueError(
                    "torch cannot tell the gradient of this energy, which does not depend on x through tensors: "
                    "write it in torch, or give its gradient"
                )
            (slope,) = torch.autograd.grad(total, leaf)
    _require_shape("gradient", slope, x.shape)
    return slope.to(x.dtype)


def _require_shape(what: str, found, shape: torch.Size) -> None:
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"the {what} returns {kind}, but must return a tensor of floating-point numbers")
    if found.shape != shape:
        raise ValueError(
            f"the {what} returns shape {tuple(found.shape)} for points of a shape where {tuple(shape)} is needed: "
            "on the line, it works element by element; in space (dimension=d), the energy sums over the last axis"
        )
