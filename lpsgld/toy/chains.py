"""Many chains at once on a toy target, through the same `sgld.step` that trains a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from lpsgld import text
from lpsgld.formats import AnyFormat
from lpsgld.rounding import normal_like, quantize, require_floating, working
from lpsgld.samplers import sgld
from lpsgld.samplers.accumulators import Accumulator
from lpsgld.toy.exact import Law
from lpsgld.toy.targets import SpaceTarget, Target


def step(
    theta: Tensor,
    target: Target | SpaceTarget,
    alpha: float,
    weight: AnyFormat,
    accumulator: Accumulator,
    *,
    gradient_noise: float = 0.0,
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """One step of every chain: `sgld.step` with the slope ∇U(Q_W(θ)) + noise. Returns a new tensor.

    θ: any shape for a target on the line, [..., d] for one in d dimensions. settings: temperature and grad of
    `sgld.step`. Q_W before the gradient is the full-precision accumulator's (SGLDLP-F); the other two are on the grid
    already.
    """
    seen = slope(theta, target, weight, accumulator, gradient_noise, generator)
    return sgld.step(theta, seen, alpha, weight, accumulator, generator=generator, **settings)


def slope(
    theta: Tensor,
    target: Target | SpaceTarget,
    weight: AnyFormat,
    accumulator: Accumulator,
    gradient_noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """∇U(Q_W(θ)) + noise: the stochastic gradient that a sampler sees at θ."""
    seen = quantize(theta, weight, generator=generator) if accumulator == "full" else theta
    exact = target.gradient(seen)
    return exact + gradient_noise * normal_like(exact, generator) if gradient_noise else exact


def run(
    start: Tensor,
    steps: int,
    target: Target | SpaceTarget,
    alpha: float,
    weight: AnyFormat,
    accumulator: Accumulator,
    *,
    keep_every: int = 1,
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """The states [steps // keep_every, *start.shape] after every `keep_every`-th of `steps` steps from `start`.

    start: the chains' first states, such as [chains] on the line and [chains, d] for a target in d dimensions;
    low-precision accumulators round it onto their grid first. Burn-in is the caller's: drop the first rows, or start
    from the law itself. settings: `gradient_noise`, `temperature` and `grad`, as for `step`. Computed and kept in
    float32, or float64 if the start is.

        target = MultivariateGaussian([0, 0], [[1, 0.9], [0.9, 1]])
        states = run(torch.zeros(100, 2), 5000, target, 0.01, "fixed(8,3)", "vc")  # [5000, 100, 2]
        diagnostics.rhat(states.transpose(0, 1))  # of each coordinate

    Raises ValueError for counts below 1, for a step size, noise or temperature that makes no sense and for a start of
    another dimension than the target, TypeError for a start that is no tensor of floating-point numbers.
    """
    text.number("alpha", alpha, positive=True)
    for what in ("gradient_noise", "temperature"):
        text.number(what, settings.get(what, 0.0))

    def advance(state: tuple[Tensor]) -> tuple[Tensor]:
        return (step(*state, target, alpha, weight, accumulator, generator=generator, **settings),)

    return states((started(start, weight, accumulator, generator),), advance, steps, keep_every)


def started(start: Tensor, weight: AnyFormat, accumulator: Accumulator, generator: torch.Generator | None) -> Tensor:
    """The first states, on the grid of an accumulator that has one."""
    require_floating("run", start)
    return working(start) if accumulator == "full" else quantize(working(start), weight, generator=generator)


def states(state: Sequence[Tensor], advance: Callable, steps: int, keep_every: int) -> Tensor:
    """What the first tensor of the state is after every `keep_every`-th of `steps` steps."""
    if not (isinstance(steps, Integral) and isinstance(keep_every, Integral) and min(steps, keep_every) >= 1):
        raise ValueError(f"run(steps={steps!r}, keep_every={keep_every!r}): both must be whole numbers from 1 up")
    kept = state[0].new_empty((steps // keep_every, *state[0].shape))
    for i in range(1, steps + 1):
        state = advance(state)
        if i % keep_every == 0:
            kept[i // keep_every - 1] = state[0]
    return kept


def sums(step: Law, steps: int, every: int, chains: int, seed: int) -> np.ndarray:
    """Sums [chains, steps // every + 1] of independent steps of one law, from 0, after every `every`-th: exact draws.

    Of that many steps, how often each size occurs is a multinomial draw.
    """
    counts = np.random.default_rng(seed).multinomial(every, step.probabilities, size=(chains, steps // every))
    return np.concatenate([np.zeros((chains, 1)), np.cumsum(counts @ step.points, axis=1)], axis=1)
