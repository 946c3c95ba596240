"""One step of SGLD, and of SGHMC, on ResNet-18 against qtorch's OptimLP with the same formats and the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.rounding import draw, qtorch_quant, theirs
from benchmarks.timing import Row, interleaved
from lpsgld import SGHMC, SGLD, formats
from lpsgld.bnn.network import models
from lpsgld.samplers.optimizer import LowPrecisionOptimizer

STEP = dict(lr=0.5, weight_decay=5e-4)  # the paper's recipe
ROLLING = STEP | dict(lr=0.05, momentum=0.9)  # as fast
NUM_DATA, TEMPERATURE = 50_000, 1e-3


class NoisySGD(torch.optim.SGD):
    """torch's SGD followed by Langevin noise: what OptimLP has to be given to sample."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            std = (2 * (1 - group["momentum"]) * group["lr"] * TEMPERATURE / NUM_DATA) ** 0.5
            for p in group["params"]:
                p.add_(torch.randn_like(p), alpha=std)


def rows(width: int, repetitions: int, device: torch.device, compiled: bool = False) -> Iterator[Row]:
    """Every accumulator in fixed and block format, without momentum and with it. OptimLP has no variance correction:
    there it takes a naive step.

    The floor of bytes: `p.add_(g)`, which reads parameters and gradients once and writes parameters once; with
    momentum, torch's fused SGD, which reads and writes what is remembered as well.
    """
    for rolls in (False, True):
        for name in ("fixed(8,8)", "block(8,0)"):
            for accumulator in ("full", "naive", "vc"):
                yield _row(name, accumulator, rolls, width, repetitions, device, compiled)


def our_optimizer(
    net: nn.Module, name: str, accumulator: str, rolls: bool, compiled: bool = False
) -> LowPrecisionOptimizer:
    fmt = formats.parse(name)
    settings = dict(num_data=NUM_DATA, temperature=TEMPERATURE, weight=fmt, grad=fmt, accumulator=accumulator)
    sampler, step = (SGHMC, ROLLING) if rolls else (SGLD, STEP)
    return sampler(net.parameters(), **step, **settings, compile=compiled)


def their_optimizer(net: nn.Module, name: str, accumulator: str, rolls: bool) -> torch.optim.Optimizer:
    import qtorch.optim  # with qtorch.quant, compiles C++ for 20 s

    rounded = theirs(name, "stochastic")
    keep = (lambda theta: theta) if accumulator == "full" else None  # makes OptimLP keep θ beside the weights
    inner = NoisySGD(net.parameters(), **(ROLLING if rolls else STEP))
    return qtorch.optim.OptimLP(inner, weight_quant=rounded, grad_quant=rounded, acc_quant=keep)


def _row(
    name: str, accumulator: str, rolls: bool, width: int, repetitions: int, device: torch.device, compiled: bool
) -> Row:
    makers = {"ours": partial(our_optimizer, compiled=compiled)} | (
        {"theirs": their_optimizer} if qtorch_quant() else {}
    )
    cases = {}
    for who, make in makers.items():
        net = models.build("resnet18", (3, 32, 32), 10, width=width)
        net = net.to(device, memory_format=torch.channels_last)  # as in training
        for p in net.parameters():
            p.grad = 1e-2 * torch.randn_like(p)
        cases[who] = make(net, name, accumulator, rolls).step
    drawn = {"full": (2, 1), "naive": (2, 1), "vc": (2, 0)}[accumulator]
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    cases |= {"random": partial(draw, flat, *drawn), "bytes": _moving_bytes(flat, rolls)}
    best = interleaved(cases, repetitions)
    return Row(
        f"step{' with momentum' * rolls}, {accumulator}, {name}",
        torch.get_num_threads(),
        best["ours"],
        best.get("theirs"),
        "OptimLP" + " (naive)" * (accumulator == "vc"),
        "40" if (accumulator, name, device.type) == ("vc", "fixed(8,8)", "cpu") else "20",
        best["random"],
        best["bytes"],
    )


def _moving_bytes(weights: torch.Tensor, rolls: bool) -> Callable[[], object]:
    if not rolls:
        return partial(weights.add_, weights.clone())
    p = nn.Parameter(weights.clone())
    p.grad = weights.clone()
    return torch.optim.SGD([p], 1e-3, momentum=0.9, fused=True).step
