"""A step of a sampler in one pass over memory, on the CPU: where formulas in torch take a dozen (`kernels.moved`)."""

from __future__ import annotations

import torch
from torch import Tensor

from lpsgld import kernels, rounding
from lpsgld import variance as corrected
from lpsgld.samplers.optimizer import Setting


def step(
    p: Tensor,
    slope: Tensor,
    theta: Tensor,
    lr: float | Tensor,
    variance: float | Tensor,
    setting: Setting,
    generator: torch.Generator | None,
    momentum: float | Tensor = 0.0,
    displacement: Tensor | None = None,
) -> bool:
    """θ, what is remembered of it and p = Q_W(θ) after one step, in place: the bits of `sgld.step`, and with a
    displacement those of `sghmc.step`. Whether there are loops for these tensors and formats; else nothing happens.

    variance: of the noise.
    """
    tensors = [x for x in (p, slope, theta, displacement) if x is not None]
    formats = [fmt for fmt in (setting.weight, setting.grad) if fmt is not None]
    alike = kernels.dense(p) and all(x.stride() == p.stride() for x in tensors) and p.numel()
    if setting.accumulator == "vc-released":  # formulas only
        return False
    if not (alike and all(map(kernels.fuses, tensors)) and all(fmt.arithmetic for fmt in formats)):
        return False
    variance = variance.item() if isinstance(variance, Tensor) else variance
    # in the order in which the formulas ask for their keys
    grad = None if setting.grad is None else rounding.way(slope, setting.grad, "stochastic", generator)
    if setting.accumulator == "vc" and setting.weight is not None:
        added, weight = (0.0, 0), corrected.way(theta, variance, setting.weight, generator)
    else:
        added, weight = (variance**0.5, kernels.key(generator)), None
        if setting.weight is not None:
            weight = rounding.way(theta, setting.weight, "stochastic", generator)
    sizes = float(lr), float(setting.weight_decay)
    kernels.moved(theta, slope, p, *sizes, grad, added, weight, float(momentum), displacement)
    return True
