"""Stochastic gradient Langevin dynamics with low-precision weights, gradients and accumulators.

`step` is one step of the sampler, the same function for a Gaussian in one dimension and for a ResNet; `SGLD` is the
`torch.optim.Optimizer` that applies it to the parameters of a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from lpsgld.formats import AnyFormat
from lpsgld.rounding import quantize, working
from lpsgld.samplers import one_pass
from lpsgld.samplers.accumulators import Accumulator, accumulate
from lpsgld.samplers.optimizer import LowPrecisionOptimizer, Setting, decay


class Proposal(NamedTuple):
    """The mean and the variance of a step's result, before any rounding of it."""

    mean: Tensor
    variance: float | Tensor


def proposal(
    theta: Tensor,
    slope: Tensor,
    lr: float | Tensor,
    *,
    temperature: float = 1.0,
    num_data: int = 1,
    weight_decay: float = 0.0,
    grad: AnyFormat = None,
    generator: torch.Generator | None = None,
) -> Proposal:
    """μ = θ - lr·(Q_G(g) + λθ) and v = 2·lr·T/N: where a Langevin step leads from θ.

    slope: g, the gradient of the mean loss of N = num_data observations (N = 1: of the energy itself, and lr is the
    step size α). weight_decay: λ. grad: the format of Q_G. In float32, or float64 if θ is: in narrower numbers, steps
    smaller than their gap would be lost.
    """
    theta = working(theta)
    mean = theta - lr * decayed(theta, slope, weight_decay, grad, generator)
    return Proposal(mean, noise(lr, temperature, num_data))


def noise(lr: float | Tensor, temperature: float, num_data: int) -> float | Tensor:
    """v of `proposal`."""
    return 2 * lr * temperature / num_data


def decayed(
    theta: Tensor, slope: Tensor, weight_decay: float, grad: AnyFormat, generator: torch.Generator | None
) -> Tensor:
    """Q_G(g) + λθ, in the precision of `proposal`."""
    slope = quantize(working(slope), grad, generator=generator)
    return slope + weight_decay * theta if isinstance(weight_decay, Tensor) or weight_decay else slope


def step(
    theta: Tensor,
    slope: Tensor,
    lr: float | Tensor,
    weight: AnyFormat,
    accumulator: Accumulator,
    *,
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """θ after one step, a new tensor: the `proposal` of these settings, kept as the accumulator keeps it."""
    mean, variance = proposal(theta, slope, lr, generator=generator, **settings)
    return accumulate(mean, variance, weight, accumulator, generator)


class SGLD(LowPrecisionOptimizer):
    """Low-precision SGLD on the mean loss of `num_data` observations:

        θ ← θ - lr·(Q_G(g) + weight_decay·θ) + √(2·lr·temperature/num_data)·ξ

    where g is the gradient of the mean loss, not of its sum, so that α = lr/num_data is the step size for the energy of
    the posterior, U = num_data·(mean loss + weight_decay/2·|θ|²). How θ is rounded is told in
    `accumulators.accumulate`. The chain samples the posterior at `temperature`; temperature 0 is low-precision SGD.

    The parameters always hold what the network should compute with, Q_W(θ), from construction on; parameters that ask
    for no gradient are left alone. Where θ is kept, and what becomes of it when weights are loaded later, is told in
    `LowPrecisionOptimizer`.

    **One chain on several processes** (`DistributedDataParallel`): all replicas must hold the same weights, so they
    must draw the same noise. Wrap the network first, then give the optimizer of every process a generator of its own
    with the same seed, `generator=torch.Generator(device).manual_seed(seed)`; gradients are averaged by the wrapper,
    and num_data counts the whole training set. Quantizers should draw differently for different images: leave them to
    torch's default generator, seeded by the rank, or give them generators of their own. What one process draws more
    often than another (evaluating alone, say) then never reaches the weights.

    params: tensors, groups, or `model.named_parameters()`, whose names then appear in errors. lr: step size on the
    mean loss, a number or a 0-d tensor. prior_std: instead of a weight decay, the standard deviation of the normal
    prior of each weight, weight_decay = 1/(num_data·prior_std²). weight, grad: number formats of weights and gradients:
    a format, its name or a `qtorch` descriptor; None is full precision. By patterns of names, such as
    `{"*norm*": None, "*": "block(8,0)"}`, they may differ between the parameters of `model.named_parameters()` (see
    `formats.of_each`).
    generator: of the parameters' device; None is torch's default one. Not part of the state_dict; a deep copy has its
    own, in the same state. compile: fuse the step of all parameters with `torch.compile`; the step size is data then,
    so that a schedule compiles nothing again. (With a generator, its numbers are drawn outside of the fused loops.)

    `step` raises NonFiniteGradient before any parameter changes. On an accelerator that check would stall every step:
    there it is only recorded, and `raise_if_nonfinite` (call it once an epoch) raises. The constructor and
    `add_param_group` raise ValueError for a setting that makes no sense or that there is not, FormatError for a format
    that the accumulator or a parameter cannot use, before anything changes; `step` raises them for what was put into
    the groups since.
    """

    def __init__(
        self,
        params,
        lr: float | Tensor,
        *,
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
            num_data=num_data,
            temperature=temperature,
            weight_decay=decay(weight_decay, prior_std, num_data),
            weight=weight,
            grad=grad,
            accumulator=accumulator,
        )
        super().__init__(params, defaults, generator, compile)

    @staticmethod
    def proposed(theta: Tensor, slope: Tensor, lr: float | Tensor, setting: Setting) -> Proposal:
        return proposal(theta, slope, lr, **setting.of_proposal())

    @staticmethod
    def moved(theta: Tensor, slope: Tensor, lr: float | Tensor, setting: Setting, generator) -> Tensor:
        kept = setting.weight, setting.accumulator
        return step(theta, slope, lr, *kept, generator=generator, **setting.of_proposal())

    @staticmethod
    def fused(p: Tensor, slope: Tensor, theta: Tensor, lr: float | Tensor, setting: Setting, generator) -> bool:
        variance = noise(lr, setting.temperature, setting.num_data)
        return one_pass.step(p, slope, theta, lr, variance, setting, generator)
