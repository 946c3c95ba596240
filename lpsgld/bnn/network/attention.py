"""Attention computed step by step, so that its parts can be rounded.

torch computes softmax(q·kᵀ/√D)·v in one call, inside of which no Quantizer can stand. Here it is written out: in
`nn.MultiheadAttention`, and in whatever module calls `scaled_dot_product_attention` itself.
"""

from __future__ import annotations

import math
from functools import cache
from types import CodeType, FunctionType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lpsgld.bnn.network.written_out import WrittenOut


def attended(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    quantizers: nn.ModuleDict,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """What `scaled_dot_product_attention` returns, whose arguments these are, with q, k, v and weights rounded before
    they enter a product; and the weights. As there, a query that may see nothing gets 0."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.size(-3) // x.size(-3), -3) for x in (k, v))
    q, k, v = quantizers["q"](q), quantizers["k"](k), quantizers["v"](v)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.size(-1)) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None:
        seen = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if seen else scores + attn_mask
    blind = (scores == -math.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
    weights = quantizers["weights"](F.dropout(weights, dropout_p))
    return weights @ v, weights


class QuantizedAttention(WrittenOut, nn.MultiheadAttention):
    """`nn.MultiheadAttention` with Quantizers."""

    kinds = ("q", "k", "v", "weights", "output")
    plain = nn.MultiheadAttention

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch has it; a causal mask must be given there, too, and `is_causal` says nothing more."""
        batched, first = query.dim() == 3, self.batch_first
        q, k, v = (x if batched else x.unsqueeze(0) for x in (query, key, value))
        if batched and not first:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        q, k, v = self._projected(q, k, v)
        if self.bias_k is not None:
            k, v = (torch.cat([x, b.expand(len(x), 1, -1)], 1) for x, b in ((k, self.bias_k), (v, self.bias_v)))
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        mask = self._mask(attn_mask, key_padding_mask, q, k)
        dropout = self.dropout if self.training else 0.0
        out, weights = attended(q, k, v, self.quantizers, mask, dropout)
        out = self.quantizers["output"](self.out_proj(out.transpose(1, 2).flatten(2)))
        if batched and not first:
            out = out.transpose(0, 1)
        weights = weights.mean(1) if average_attn_weights else weights
        if not batched:
            out, weights = out.squeeze(0), weights.squeeze(0)
        return out, weights if need_weights else None

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        joint = self.in_proj_weight
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) if joint is None else joint.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(F.linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True))

    def _mask(self, mask: Tensor | None, padding: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
        """What is added to the scores [N, heads, L, S]. In torch's masks here, True is what must not be seen."""
        if mask is not None and mask.dim() == 3:
            mask = mask.unflatten(0, (-1, self.num_heads))
        if padding is not None:
            padding = (padding if padding.dim() == 2 else padding[None])[:, None, None]
        total = None
        for m in (mask, padding):
            if m is not None:
                bias = q.new_zeros(m.shape).masked_fill(m, -math.inf) if m.dtype == torch.bool else m
                bias = F.pad(bias, (0, k.size(-2) - bias.size(-1)))  # what was appended to the keys is always seen
                total = bias if total is None else total + bias
        return total


class _WrittenOut(TorchFunctionMode):
    """Inside, attention passes through the Quantizers of a module."""

    def __init__(self, quantizers: nn.ModuleDict):
        super().__init__()
        self.quantizers = quantizers

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        names = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        q, k, v = (names.pop(name) for name in ("query", "key", "value"))
        return self.quantizers["output"](attended(q, k, v, self.quantizers, *args[3:], **names)[0])


class Attending(WrittenOut):
    """A module that calls `scaled_dot_product_attention`, with Quantizers."""

    kinds = QuantizedAttention.kinds

    def forward(self, *args, **kwargs):
        with _WrittenOut(self.quantizers):
            return super().forward(*args, **kwargs)


@cache
def attending(kind: type[nn.Module]) -> type[nn.Module]:
    """What modules of that class become."""
    return type(f"Quantized{kind.__name__}", (Attending, kind), {"plain": kind})


def attends(name: str, part: nn.Module) -> bool:
    """Whether the class of a part that is not torch's own calls `scaled_dot_product_attention`."""
    return "scaled_dot_product_attention" in named(type(part))


@cache
def named(kind: type[nn.Module]) -> frozenset[str]:
    """The names that stand in the methods of a module's class and of those it inherits from, but torch's own."""
    own = [each for each in kind.__mro__ if not each.__module__.startswith("torch.")]
    codes = [f.__code__ for each in own for f in vars(each).values() if isinstance(f, FunctionType)]
    return frozenset().union(*map(_names, codes))


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))
