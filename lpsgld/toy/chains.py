"""Many chains at once on a toy target, through the same `sgld.step` that trains a network."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from lpsgld import text
from lpsgld.formats import AnyFormat
from lpsgld.rounding import quantize, require_floating, working
from lpsgld.samplers import sgld
from lpsgld.samplers.accumulators import Accumulator
from lpsgld.toy.exact import Law
from lpsgld.toy.targets import Target
from lpsgld.toy.targets.planar import PlanarTarget


def step(
    theta: Tensor,
    target: Target | PlanarTarget,
    alpha: float,
    weight: AnyFormat,
    accumulator: Accumulator,
    *,
    gradient_noise: float = 0.0,
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """One step of every chain: `sgld.step` with the slope ∇U(Q_W(θ)) + noise. Returns a new tensor.

    θ: any shape for a target on the line, [..., 2] in the plane. settings: temperature and grad of `sgld.step`.
    Q_W before the gradient is the full-precision accumulator's (SGLDLP-F); the other two are on the grid already.
    """
    seen = quantize(theta, weight, generator=generator) if accumulator == "full" else theta
    slope = target.gradient(seen)
    if gradient_noise:
        slope = slope + gradient_noise * torch.empty_like(slope).normal_(generator=generator)
    return sgld.step(theta, slope, alpha, weight, accumulator, generator=generator, **settings)


def run(
    start: Tensor,
    steps: int,
    target: Target | PlanarTarget,
    alpha: float,
    weight: AnyFormat,
    accumulator: Accumulator,
    *,
    keep_every: int = 1,
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """The states [steps // keep_every, *start.shape] after every `keep_every`-th of `steps` steps from `start`.

    start: the chains' first states, of any shape; low-precision accumulators round it onto their grid first. Burn-in
    is the caller's: drop the first rows, or start from the law itself. settings: as for `step`.
    Computed and kept in float32, or float64 if the start is. Raises ValueError for counts below 1 and for a step size,
    noise or temperature that makes no sense, TypeError for a start that is no tensor of floating-point numbers.
    """
    if not (isinstance(steps, Integral) and isinstance(keep_every, Integral) and min(steps, keep_every) >= 1):
        raise ValueError(f"run(steps={steps!r}, keep_every={keep_every!r}): both must be whole numbers from 1 up")
    require_floating("run", start)
    text.number("alpha", alpha, positive=True)
    for what in ("gradient_noise", "temperature"):
        text.number(what, settings.get(what, 0.0))
    start = working(start)
    theta = start if accumulator == "full" else quantize(start, weight, generator=generator)
    kept = start.new_empty((steps // keep_every, *start.shape))
    for i in range(1, steps + 1):
        theta = step(theta, target, alpha, weight, accumulator, generator=generator, **settings)
        if i % keep_every == 0:
            kept[i // keep_every - 1] = theta
    return kept


def sums(step: Law, steps: int, every: int, chains: int, seed: int) -> np.ndarray:
    """Sums [chains, steps // every + 1] of independent steps of one law, from 0, after every `every`-th: exact draws.

    Of that many steps, how often each size occurs is a multinomial draw.
    """
    counts = np.random.default_rng(seed).multinomial(every, step.probabilities, size=(chains, steps // every))
    return np.concatenate([np.zeros((chains, 1)), np.cumsum(counts @ step.points, axis=1)], axis=1)
