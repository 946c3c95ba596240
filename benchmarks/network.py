"""Forward and backward pass of ResNet-18 with 8-bit block activations and errors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from qtorch import BlockFloatingPoint
from torch import nn

from benchmarks.timing import Row, interleaved
from lpsgld import Quantizer
from lpsgld.bnn import models

FORMAT = BlockFloatingPoint(8, 0)


def rows(width: int, batch: int, repetitions: int) -> Iterator[Row]:
    """Quantized by us and by qtorch, each against the unquantized network: the ratio should be close to 1."""
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    nets = {"none": _net(width), "ours": _net(width, activation=FORMAT, error=FORMAT), "theirs": _with_qtorch(width)}

    def forward_and_backward(net: nn.Module) -> None:
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()

    best = interleaved({who: lambda net=net: forward_and_backward(net) for who, net in nets.items()}, repetitions)
    threads, what = torch.get_num_threads(), "forward + backward, 8-bit blocks"
    yield Row(what, threads, best["ours"], best["none"], "unquantized", "at least 1/1.5 = 0.67", best["none"])
    yield Row(what, threads, best["ours"], best["theirs"], "qtorch's Quantizer")


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
