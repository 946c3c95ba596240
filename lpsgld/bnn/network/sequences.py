"""Networks that read words (or characters), with a `Quantizer` at every site: an LSTM, and a small transformer.

Each says something at every place of a text, [N, L, C], or of the whole text, [N, C]. Sites, as `models` names them:

    "paper"      all that `quantize_network` knows: the embeddings, gates, cell and output of the LSTM; q, k, v, weights
                 and output of each attention, every linear layer and every norm. What the blocks of a transformer add
                 up to, the residual stream, stays in full precision
    "residual"   also the residual stream after each block, and the sum of the embeddings: "all" is the same
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lpsgld.bnn.network.models import SITES, Where
from lpsgld.bnn.network.quantizing import quantize_network
from lpsgld.formats import AnyFormat
from lpsgld.text import one_of

MODELS = ("lstm", "transformer")


def build(
    name: str,
    words: int,
    length: int,
    classes: int,
    *,
    everywhere: bool,
    width: int = 64,
    activation: AnyFormat = None,
    error: AnyFormat = None,
    sites: Where = "paper",
) -> nn.Module:
    """The network of that name for texts of `length` words, each a number below `words`.

    everywhere: whether it returns logits [N, L, classes], of which each place knows no later word, or [N, classes].
    Initial weights come from torch's default generator. Raises ValueError for an unknown name.
    """
    one_of("model", name, MODELS)
    one_of("set of sites", sites, SITES)
    net = LSTM(words, width, classes) if name == "lstm" else Transformer(words, length, width, classes)
    net.everywhere = everywhere
    if activation is not None or error is not None:  # a layer that is written out takes many times as long
        quantize_network(net, activation, error)
        if sites != "paper" and name == "transformer":
            quantize_network(net, activation, error, after=("start", "blocks.?"))
    return net


class LSTM(nn.Module):
    """Embedding, one LSTM layer, linear: the shape of the paper's network for film reviews."""

    everywhere: bool = False

    def __init__(self, words: int, width: int, classes: int):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(self.words(x))
        return self.linear(out if self.everywhere else out[:, -1])


class Transformer(nn.Module):
    """Two blocks of attention (norms before, four heads if the width allows) over the words and their places.

    Where it speaks at every place, a word sees itself and those before it; else all words, whose mean is classified.
    """

    everywhere: bool = False

    def __init__(self, words: int, length: int, width: int, classes: int, blocks: int = 2):
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.start = nn.Identity()
        heads = math.gcd(width, 4)
        settings = dict(dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, **settings) for _ in range(blocks)
        )
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, classes)
        for embedding in (self.words, self.places):  # small, so that steps of plain gradient descent move them
            nn.init.normal_(embedding.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        out = self.start(self.words(x) + self.places(torch.arange(length, device=x.device)))
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1) if self.everywhere else None
        for block in self.blocks:
            out = block(out, src_mask=later, is_causal=self.everywhere)
        return self.linear(self.norm(out if self.everywhere else out.mean(1)))
