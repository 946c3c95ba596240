"""A look at a network in training: which numbers its layers use, and which way its weights are rounded.

Nothing here changes the network, its gradients or the caller's random numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lpsgld import formats, variance
from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.devices import pick_device, plain_torch, seeded
from lpsgld.bnn.network.quantizing import activation_format
from lpsgld.bnn.training import runs
from lpsgld.bnn.training.runs import Run
from lpsgld.formats import AnyFormat
from lpsgld.rounding import quantize
from lpsgld.samplers.optimizer import LowPrecisionOptimizer

_BINS = 255  # as many as an 8-bit block format has codes


# ---- which branch of the variance correction each weight takes -------------------------------------------------


@torch.no_grad()
def branch_shares(optimizer: LowPrecisionOptimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """For each layer, what `vc_quantize` would do with its weights in the next step, for the gradients that are there.

    names: parameter -> name, of those to look at. Returns name -> five numbers, still on the device: the shares of the
    weights in the branches "spline", "correction" and "floor" (see `variance.branches`), the share whose rounded
    gradient is 0, and the median of v/v0. Nothing where weights are in full precision or in another format without
    branches. Where the accumulator is not "vc", it tells what the correction would do with the weights that the network
    computes with.
    """
    found_in = {}
    for group in optimizer.param_groups:
        setting = dataclasses.replace(optimizer.setting.of(group), grad=None)  # gradients are rounded once, here
        weight = setting.weight
        if weight is None or not weight.correctable:
            continue
        for p in group["params"]:
            if p not in names or p.grad is None:
                continue
            slope = quantize(p.grad, group["grad"])
            memory = (optimizer.state[p].get(name, torch.zeros_like(p)) for name in optimizer.memory)
            mean, v = optimizer.proposed(p, slope, group["lr"], setting, *memory)
            found = variance.branches(mean, v, weight)
            shares = [(found.branch == branch).float().mean() for branch in range(3)]
            found_in[names[p]] = torch.stack([*shares, (slope == 0).float().mean(), found.ratio.median()])
    return found_in


def averaged(looks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of what `branch_shares` returned in several steps: one mini-batch may be of easy images, or a small one
    at the end of an epoch, and would stripe a map of epochs."""
    return {name: torch.stack([look[name] for look in looks]).mean(0) for name in looks[0]} if looks else {}


def told(shares: dict[str, Tensor]) -> dict[str, list[float]]:
    """What `branch_shares` returned, as numbers of 3 digits. Waits for the device."""
    return {name: [float(f"{number:.3g}") for number in numbers.tolist()] for name, numbers in shares.items()}


def over_epochs(history: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, ...], tuple[str, ...], np.ndarray]:
    """Epochs, layers and numbers [5, layers, epochs] of `branch_shares` in those epochs of a history that have them."""
    rows = [row for row in history if "branches" in row]
    layers = tuple(rows[0]["branches"])
    told = np.array([[row["branches"][layer] for layer in layers] for row in rows])
    return tuple(row["epoch"] for row in rows), layers, told.transpose(2, 1, 0)


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by name, in the order of the network."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


# ---- the noise of mini-batches ---------------------------------------------------------------------------------


def gradient_variance(gradient: Callable[[Tensor], Any], model: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """The variance of a mini-batch gradient of the mean loss, mean over all weights: half the mean squared difference
    of those of two batches.

    gradient: leaves the gradient of a batch in the parameters. Statistics that batches move are put back.
    """
    before = [buffer.clone() for buffer in model.buffers()]
    found = []
    for batch in (first, second):
        gradient(batch)
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    with torch.no_grad():
        for buffer, old in zip(model.buffers(), before, strict=True):
            buffer.copy_(old)
        squares = [(a - b).square().sum() / 2 for a, b in zip(*found, strict=True)]
        return torch.stack(squares).sum() / sum(g.numel() for g in found[0])


def batch_noise(row: Mapping[str, Any], temperature: float, num_data: int) -> float:
    """lr²·Var(g) over v = 2·lr·T/N: how many times the variance that SGLD injects into a step, mini-batches add to it.

    row: of a history. Infinite at temperature 0.
    """
    injected = 2 * temperature / num_data
    return row["step_size"] * row["gradient_variance"] / injected if injected else math.inf


# ---- which numbers each layer uses -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Histogram:
    """Values of a tensor, counted.

    fmt: name of the number format. edges: [B+1], in gaps of each value's own grid, one bin a code; for full precision,
    in units of the largest |x|. counts: [B]. zero: the share of values that are exactly 0. clipped: the share of
    values at the ends of the range.
    """

    fmt: str
    edges: Tensor
    counts: Tensor
    zero: float
    clipped: float

    @property
    def used(self) -> int:
        """How many different codes there are (of more than 255: bins)."""
        return int((self.counts > 0).sum())


def histogram(x: Tensor, fmt: AnyFormat) -> Histogram:
    """Which codes of `fmt` the values of x are; x lies on the grid already. More than 255 codes share their bins."""
    x, fmt = x.detach(), formats.parse(fmt)
    if fmt is None:
        units, low, high = x / x.abs().max().clamp(min=torch.finfo(x.dtype).tiny), -1.0, 1.0
        edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
    else:
        g = formats.grid(fmt, x)
        units = (x / g.gap).nan_to_num(0.0)
        low, high = float(torch.as_tensor(g.low).max()), float(torch.as_tensor(g.high).max())
        codes = min(int(high - low) + 1, _BINS + 1)
        edges = torch.linspace(low - 0.5, high + 0.5, codes + 1, dtype=torch.float64)
    index = torch.bucketize(units.flatten().double().cpu(), edges[1:-1])
    counts = torch.bincount(index, minlength=len(edges) - 1)
    ends = ((units <= low) | (units >= high)).float().mean().item()
    return Histogram(formats.name(fmt), edges, counts, (x == 0).float().mean().item(), ends)


@dataclass(frozen=True)
class Numbers:
    """What one layer computes with: its weights, their gradient and its output, each as it is rounded."""

    weights: Histogram
    gradients: Histogram
    activations: Histogram


def numbers(run: Run, dataset: Data, *, device: str = "auto", seed: int = 0) -> dict[str, Numbers]:
    """The histograms of every layer, for a run's last sample and one batch of training inputs.

    Raises RunError if the sample is not the run's, StorageError if it is damaged.
    """
    where, recipe = pick_device(device), run.recipe
    with seeded(where, seed), plain_torch(where):
        model = recipe.network(dataset).to(where)
        model.load_state_dict(runs.load_sample(run, run.samples[-1]).state)
        inputs, labels, *_ = dataset.parts
        batch = torch.randperm(len(labels))[: recipe.batch_size]
        inputs, labels = (part[batch].to(where) for part in (inputs, labels))
        with _outputs_counted(model) as activations:
            recipe.loss_function()(model(dataset.preparation(where)(inputs)), labels).backward()
        names, parameters = zip(*model.named_parameters(), strict=True)
        weight, grad = (
            dict(zip(parameters, formats.of_each(recipe.by_name(field), names).values(), strict=True))
            for field in ("weight", "grad")
        )
        return {
            name: Numbers(
                histogram(layer.weight, weight[layer.weight]),
                histogram(quantize(layer.weight.grad, grad[layer.weight]), grad[layer.weight]),
                activations[name],
            )
            for name, layer in layers(model).items()
        }


@contextmanager
def _outputs_counted(model: nn.Module) -> Iterator[dict[str, Histogram]]:
    """The histogram of each layer's output, rounded if it is, filled while the model computes."""
    counted: dict[str, Histogram] = {}

    def after(name: str):
        def hook(layer: nn.Module, _inputs, output: Tensor) -> None:
            counted[name] = histogram(output, activation_format(layer))

        return hook

    hooks = [layer.register_forward_hook(after(name)) for name, layer in layers(model).items()]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()
