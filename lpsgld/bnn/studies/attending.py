"""What rounding does to attention (notebook 13): the weights of a network's attention as its Quantizers see them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lpsgld import formats
from lpsgld.bnn.network.quantizing import quantize_network
from lpsgld.rounding import Rounding


class Seen(NamedTuple):
    """Attention weights of one text before they are rounded and after, each [layers, heads, queries, keys], and the log
    probability that each label of all texts gets where they are, [N, L]."""

    given: Tensor
    rounded: Tensor
    logs: Tensor

    @property
    def sums(self) -> Tensor:
        """Of the rounded weights of each query, [layers, heads, queries]; 1 before."""
        return self.rounded.double().sum(-1)

    @property
    def lost(self) -> Tensor:
        """The share of the weights that were not 0 and are now, [layers, heads]."""
        there = self.given > 0
        return (there & (self.rounded == 0)).double().sum((-2, -1)) / there.double().sum((-2, -1))

    def dearer(self, other: Seen) -> tuple[float, float]:
        """By how much the NLL is above another's, and its standard error over the N texts."""
        more = (other.logs - self.logs).double().mean(-1)
        return more.mean().item(), more.std().item() / len(more) ** 0.5


@torch.no_grad()
def look(
    net: nn.Module, inputs: Tensor, labels: Tensor, fmts: Sequence[str], *, rounding: Rounding, text: int, seed: int = 0
) -> dict[str, Seen]:
    """Predict with the attention weights rounded to each format, and nothing else; by the name of the format.

    net: has `nn.MultiheadAttention`, is not quantized yet, and returns logits [N, L, C]; it stays as it is. labels: [N,
    L]. text: the number of the input whose weights are told. What a second layer is given depends on the rounding in
    the first. Raises ValueError for a network without attention.
    """
    net, told = copy.deepcopy(net).eval(), {}
    random = torch.Generator().manual_seed(seed)
    sites = quantize_network(net, after=nn.MultiheadAttention, rounding=rounding, generator=random).quantizers
    weights = [quantizer for site, quantizer in sites.items() if site.rpartition(".")[2] == "weights"]
    passed: list[tuple[Tensor, Tensor]] = []
    for quantizer in weights:
        quantizer.register_forward_hook(lambda _, given, made: passed.append((given[0][text], made[text])))
    for fmt in fmts:
        passed.clear()
        random.manual_seed(seed)  # whichever formats are looked at beside this one
        for quantizer in weights:
            quantizer.activation = formats.parse(fmt)
        logs = net(inputs).log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
        told[fmt] = Seen(*(torch.stack(part) for part in zip(*passed, strict=True)), logs)
    return told
