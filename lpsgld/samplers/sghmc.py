"""Stochastic gradient Hamiltonian Monte Carlo with low-precision weights: SGLD with momentum.

A ball rolls through the energy landscape and is kicked. What it remembers is its last displacement, w. `step` is one
step of it, the same function for a Gaussian in one dimension and for a ResNet; `SGHMC` is the `torch.optim.Optimizer`
that applies it to the parameters of a network.

**One rounding.** Weights on a grid differ by whole numbers of gaps, so the displacement between two of them is on the
grid as well, and where it is drawn there, adding it rounds nothing. Drawing θ' around θ + E[w'] and keeping w' = θ' - θ
is the same draw, and holds in every format: where a block's exponent grows because its largest weight does, θ' is on
the new grid, and w' is still the difference of two numbers of the format. At the ends of the range the ball stops: w'
is how far it came. (Chen, Fox and Guestrin 2014, equation 15, with the friction in the momentum; low-precision variants
that keep position and velocity in formats of their own round both: Zhang and others, arXiv 2310.16320.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpsgld import formats, text
from lpsgld.formats import AnyFormat
from lpsgld.rounding import working
from lpsgld.samplers import one_pass
from lpsgld.samplers.accumulators import Accumulator, accumulate
from lpsgld.samplers.optimizer import LowPrecisionOptimizer, Setting, decay
from lpsgld.samplers.sgld import Proposal, decayed


class State(NamedTuple):
    """Where the ball is, θ, and the displacement w of its last step."""

    theta: Tensor
    displacement: Tensor


def proposal(
    theta: Tensor,
    displacement: Tensor,
    slope: Tensor,
    lr: float | Tensor,
    *,
    momentum: float = 0.9,
    temperature: float = 1.0,
    num_data: int = 1,
    weight_decay: float = 0.0,
    grad: AnyFormat = None,
    generator: torch.Generator | None = None,
) -> Proposal:
    """The mean momentum·w - lr·(Q_G(g) + λθ) and the variance 2(1 - momentum)·lr·T/N of the next displacement.

    slope, λ, N, Q_G: as for `sgld.proposal`.
    """
    mean = momentum * displacement - lr * decayed(working(theta), slope, weight_decay, grad, generator)
    return Proposal(mean, noise(lr, momentum, temperature, num_data))


def noise(lr: float | Tensor, momentum: float, temperature: float, num_data: int) -> float | Tensor:
    """The variance of `proposal`."""
    return 2 * (1 - momentum) * lr * temperature / num_data


def step(
    theta: Tensor,
    displacement: Tensor,
    slope: Tensor,
    lr: float | Tensor,
    weight: AnyFormat,
    accumulator: Accumulator,
    *,
    generator: torch.Generator | None = None,
    **settings,
) -> State:
    """One step, two new tensors of θ's shape: w' is drawn as the `proposal` of these settings says, θ' = θ + w'.

    "full" keeps both in full precision, as all accumulators do without a weight format. "naive" rounds θ'
    stochastically, "vc" draws it with that mean and variance on the grid; both keep w' = θ' - θ. With momentum 0 this
    is a step of SGLD.
    """
    theta = working(theta)
    mean, variance = proposal(theta, displacement, slope, lr, generator=generator, **settings)
    if accumulator == "full" or formats.parse(weight) is None:
        moved = accumulate(mean, variance, None, accumulator, generator)
        return State(theta + moved, moved)
    end = accumulate(theta + mean, variance, weight, accumulator, generator)
    return State(end, end - theta)


def require_reach(weight: AnyFormat, std: float) -> None:
    """Raises ValueError if displacements of this standard deviation are too long for the range of a fixed-point format.

    Nothing is too long for other formats: exponents grow with θ', and w', the difference of two of their numbers, is
    kept in float32.
    """
    grid = None if (fmt := formats.parse(weight)) is None else fmt.uniform
    if grid is not None and 7 * std > (grid.high - grid.low) * grid.gap:
        raise ValueError(
            f"displacements have a standard deviation of {std:.3g}, and seven of these are more than the whole range "
            f"of {fmt.name}, {(grid.high - grid.low) * grid.gap:g}: take smaller steps, or a format of a wider range"
        )


@dataclass(frozen=True)
class MomentumSetting(Setting):
    """Also the share of its displacement that a step takes over from the last one."""

    proposing = ("momentum", *Setting.proposing)

    momentum: float = 0.0

    @classmethod
    def checked(cls, group: dict[str, Any], stepping: bool = False) -> dict[str, Any]:
        checked = super().checked(group, stepping)
        if text.number("momentum", group["momentum"]) >= 1:
            raise ValueError(
                f"momentum is {group['momentum']!r}, but must be below 1: without friction there is no noise"
            )
        if not stepping:
            require_reach(group["weight"], math.sqrt(group["lr"] * group["temperature"] / group["num_data"]))
        return checked


class SGHMC(LowPrecisionOptimizer):
    """Low-precision SGHMC on the mean loss of `num_data` observations: torch's SGD with momentum, plus the noise that
    makes it a sampler, with one rounding a step (the module's docstring tells why one is enough):

        w ← momentum·w - lr·(Q_G(g) + weight_decay·θ) + √(2·(1 - momentum)·lr·temperature/num_data)·ξ
        θ ← θ + w

    lr is that of torch's SGD, not scaled by the friction: a step of the same speed takes about 1/(1 - momentum) times
    that of SGLD. In the terms of underdamped Langevin dynamics, friction γ, inverse mass u and step η are
    momentum = 1 - γη and lr/num_data = uη². The chain samples the posterior at `temperature` as η becomes small, and
    temperature 0 is low-precision SGD with momentum. The variance of the noise must reach Δ²/4 for "vc" to correct
    all of its rounding.

    w is kept beside each parameter as `state[p]["displacement"]`, the difference of two numbers of the weight format:
    there is one format for both, and hardware would keep the earlier of these numbers. Groups, formats, generator,
    compile, several processes and errors are as in `SGLD`. momentum: at least 0 and below 1. Also raises ValueError
    where displacements, whose standard deviation is √(lr·temperature/num_data), do not fit into a fixed-point range.
    """

    setting = MomentumSetting
    memory = ("displacement",)

    def __init__(
        self,
        params,
        lr: float | Tensor,
        *,
        momentum: float = 0.9,
        num_data: int,
        temperature: float = 1.0,
        weight_decay: float = 0.0,
        prior_std: float | None = None,
        weight: AnyFormat | Mapping[str, AnyFormat] = None,
        grad: AnyFormat | Mapping[str, AnyFormat] = None,
        accumulator: Accumulator = "full",
        generator: torch.Generator | None = None,
        compile: bool = False,
    ):
        defaults = dict(
            lr=lr,
            momentum=momentum,
            num_data=num_data,
            temperature=temperature,
            weight_decay=decay(weight_decay, prior_std, num_data),
            weight=weight,
            grad=grad,
            accumulator=accumulator,
        )
        super().__init__(params, defaults, generator, compile)

    @staticmethod
    def proposed(
        theta: Tensor, slope: Tensor, lr: float | Tensor, setting: MomentumSetting, displacement: Tensor
    ) -> Proposal:
        mean, variance = proposal(theta, displacement, slope, lr, **setting.of_proposal())
        return Proposal(theta + mean, variance)

    @staticmethod
    def moved(
        theta: Tensor,
        slope: Tensor,
        lr: float | Tensor,
        setting: MomentumSetting,
        generator: torch.Generator | None,
        displacement: Tensor,
    ) -> Tensor:
        kept = setting.weight, setting.accumulator
        end, moved = step(theta, displacement, slope, lr, *kept, generator=generator, **setting.of_proposal())
        displacement.copy_(moved)
        return end

    @staticmethod
    def fused(
        p: Tensor,
        slope: Tensor,
        theta: Tensor,
        displacement: Tensor,
        lr: float | Tensor,
        setting: MomentumSetting,
        generator: torch.Generator | None,
    ) -> bool:
        variance = noise(lr, setting.momentum, setting.temperature, setting.num_data)
        return one_pass.step(p, slope, theta, lr, variance, setting, generator, setting.momentum, displacement)
