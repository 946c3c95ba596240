"""Real gradients in few bits: mini-batch gradients of a small network on digits, rounded and averaged (notebook 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lpsgld import formats
from lpsgld.bnn.data import datasets
from lpsgld.bnn.devices import seeded
from lpsgld.bnn.network import models
from lpsgld.formats import AnyFormat
from lpsgld.rounding import Rounding, quantize
from lpsgld.samplers.sgld import proposal
from lpsgld.variance import BRANCHES, branches, vc_quantize


class Collected(NamedTuple):
    """The first layer's weights [out, in] of a trained network, and by batch size its mini-batch gradients there,
    [count, out, in]; the largest batch is the whole data set."""

    weight: Tensor
    gradients: dict[int, Tensor]


def collect(batch_sizes: Sequence[int], count: int, seed: int, steps: int = 200, hidden: int = 100) -> Collected:
    """Train the MLP on digits for some steps of SGD, then take `count` mini-batch gradients of each size.

    Images are drawn with replacement, so that gradients of a size are independent; the whole data set is added.
    """
    data = datasets.load("digits")
    images, labels = data.normalize(data.train_images), data.train_labels
    with seeded(torch.device("cpu"), seed):
        network = models.build("mlp", data.image_shape, len(data.classes), width=hidden)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)

    def loss(batch: Tensor) -> Tensor:
        return F.cross_entropy(network(images[batch]), labels[batch])

    def drawn(size: int) -> Tensor:
        return torch.randint(len(images), (size,), generator=generator)

    for _ in range(steps):
        optimizer.zero_grad()
        loss(drawn(64)).backward()
        optimizer.step()
    weight = network.hidden.weight
    found = {
        size: torch.stack([torch.autograd.grad(loss(drawn(size)), weight)[0] for _ in range(count)])
        for size in batch_sizes
    }
    whole = torch.autograd.grad(loss(torch.arange(len(images))), weight)[0]
    return Collected(weight.detach(), found | {len(images): whole.expand(count, -1, -1)})


class Averaged(NamedTuple):
    """What averaging rounded gradients gives, in units of |ḡ|, the norm of the mean of the unrounded ones.

    counts: how many are averaged; error, standard_error: rms distance of their mean to that of the same unrounded
    ones, over all disjoint groups of so many. bias: the distance that is left after infinitely many (from the finite
    sum, less what its variance explains). clipped: the part of the bias that comes from saturation. zero: share of
    nonzero gradients that become 0. mean: of all rounded gradients [out, in].
    """

    counts: tuple[int, ...]
    error: list[float]
    standard_error: list[float]
    bias: float
    clipped: float
    zero: float
    mean: Tensor


def averaged(gradients: Tensor, fmt: AnyFormat, rounding: Rounding, seed: int) -> Averaged:
    """Round each gradient of [count, out, in] by itself, blocks along the last axis, and average them."""
    generator = torch.Generator().manual_seed(seed)
    rounded = torch.stack([quantize(g, fmt, rounding, generator) for g in gradients])
    grids = [formats.grid(fmt, g) for g in gradients]
    kept = torch.stack([g.clamp(at.low * at.gap, at.high * at.gap) for g, at in zip(gradients, grids, strict=True)])
    unit, count = float(gradients.mean(0).square().sum()), len(gradients)
    wrong = rounded - gradients
    counts = tuple(2**k for k in range((count // 8).bit_length()))
    groups = [wrong.unflatten(0, (-1, n)).mean(1).square().sum((1, 2)) / unit for n in counts]
    error = [float(g.mean().sqrt()) for g in groups]
    spread = [float(g.std() / len(g) ** 0.5) / (2 * e) if e else 0.0 for g, e in zip(groups, error, strict=True)]
    bias = (wrong.mean(0).square().sum() - wrong.var(0).sum() / count) / unit
    return Averaged(
        counts,
        error,
        spread,
        float(bias.clamp(min=0).sqrt()),
        float((kept - gradients).mean(0).norm()) / unit**0.5,
        float(((rounded == 0) & (gradients != 0)).sum() / (gradients != 0).sum()),
        rounded.mean(0),
    )


def averages(collected: Collected, fmts: Sequence[str], seed: int) -> dict[tuple[str, int, str], Averaged]:
    """`averaged` by format, batch size and rounding, "nearest" and "stochastic"."""
    return {
        (fmt, size, rounding): averaged(found, fmt, rounding, seed)
        for fmt in fmts
        for size, found in collected.gradients.items()
        for rounding in get_args(Rounding)
    }


def branch_shares(
    collected: Collected, fmt: AnyFormat, lr: float, temperature: float, seed: int
) -> tuple[dict[str, float], float]:
    """Shares of the branches of Q^vc in one Langevin step with a mini-batch gradient, and the median of v/v0.

    The step starts where the one before has left the weights: on the grid of Q^vc, with its head-room.
    """
    generator, num_data = torch.Generator().manual_seed(seed), max(collected.gradients)
    theta = vc_quantize(collected.weight, 2 * lr * temperature / num_data, fmt, generator)
    slope = next(iter(collected.gradients.values()))[0]
    mean, variance = proposal(theta, slope, lr, temperature=temperature, num_data=num_data)
    went = branches(mean, variance, fmt)
    shares = {name: float((went.branch == k).float().mean()) for k, name in enumerate(BRANCHES)}
    return shares, float(went.ratio.expand_as(mean).median())
