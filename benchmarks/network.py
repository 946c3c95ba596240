"""Forward and backward pass of ResNet-18 with 8-bit block activations and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from qtorch import BlockFloatingPoint
from torch import nn

from benchmarks.rounding import qtorch_quant
from benchmarks.timing import Row
from lpsgld import Quantizer
from lpsgld.bnn.costs.timing import medians, rounds
from lpsgld.bnn.network import models

FORMAT = BlockFloatingPoint(8, 0)


def rows(width: int, batch: int, repetitions: int, device: torch.device, compiled: bool = False) -> Iterator[Row]:
    """Quantized by us and by qtorch, each against the unquantized network: the ratio should be close to 1.

    Medians: a pass is long, and the fastest of a few is a matter of luck by which a ratio can be half as far from 1.
    """
    images, labels = torch.randn(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)
    nets = {"none": _net(width), "ours": _net(width, activation=FORMAT, error=FORMAT)}
    if qtorch_quant():
        nets["theirs"] = _with_qtorch(width)
    for net in nets.values():
        net.to(device, memory_format=torch.channels_last)

    def loss(net: nn.Module) -> torch.Tensor:
        return F.cross_entropy(net(images), labels)

    def forward_and_backward(net: nn.Module, loss: Callable[[nn.Module], torch.Tensor]) -> None:
        net.zero_grad()
        loss(net).backward()

    fast = torch.compile(loss, fullgraph=True, dynamic=False) if compiled else loss
    cases = {who: partial(forward_and_backward, net, loss if who == "theirs" else fast) for who, net in nets.items()}
    usual = medians(rounds(cases, repetitions))
    threads, what = torch.get_num_threads(), "forward + backward, 8-bit blocks"
    goal = (
        "at least 1/1.3 = 0.77"
        if device.type == "cuda"
        else "at least 1/1.15 = 0.87"
        if width >= 64
        else "at least 1/1.3 = 0.77"
    )
    yield Row(what, threads, usual["ours"], usual["none"], "unquantized", goal, usual["none"])
    yield Row(what, threads, usual["ours"], usual.get("theirs"), "qtorch's Quantizer")


def _net(width: int, **sites) -> nn.Module:
    return models.build("resnet18", (3, 32, 32), 10, width=width, **sites)


def _with_qtorch(width: int) -> nn.Module:
    import qtorch.quant  # compiles C++ for 20 s

    net = _net(width, activation=FORMAT)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, Quantizer):
                setattr(module, name, qtorch.quant.Quantizer(FORMAT, FORMAT, "stochastic", "stochastic"))
    return net
