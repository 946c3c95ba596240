"""Quantizers in any network: what its parts compute is rounded, and so are the errors that come back to them.

Parts that compute a single thing (a convolution, a norm) are followed by a Quantizer. Those that compute many in one
call of theirs (attention, recurrent layers) are computed step by step instead, with a Quantizer at each: see
`attention.py` and `recurrent.py`. Nothing is renamed: the `state_dict` stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv
from torch.utils._pytree import tree_map_only

from lpsgld.bnn.network.attention import QuantizedAttention, attending, attends, named
from lpsgld.bnn.network.recurrent import QuantizedGRU, QuantizedLSTM, QuantizedRNN
from lpsgld.bnn.network.written_out import WrittenOut
from lpsgld.formats import AnyFormat, Format
from lpsgld.rounding import Quantizer, Rounding

Choice = type[nn.Module] | str | Callable[[str, nn.Module], bool]

PARTS = (
    *(nn.Linear, nn.Bilinear, conv._ConvNd),
    *(nn.RNNBase, nn.RNNCellBase),
    *(batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.Embedding, nn.EmbeddingBag),
    *(nn.MultiheadAttention, attends),
)
_TYPES = tuple(part for part in PARTS if isinstance(part, type))
_WRITTEN_OUT = {each.plain: each for each in (QuantizedAttention, QuantizedRNN, QuantizedGRU, QuantizedLSTM)}
_FUNCTIONS = {"linear", "bilinear", "conv1d", "conv2d", "conv3d", "embedding", "layer_norm", "batch_norm", "group_norm"}
_FUNCTIONS |= {"rms_norm", "softmax", "scaled_dot_product_attention", "einsum", "matmul", "bmm", "addmm", "baddbmm"}


class Sites(NamedTuple):
    """quantizers: by the name of the site, which is that of its part and, where a part has several, what is rounded.
    unreached: what a part computes that no Quantizer sees, by the name of the part."""

    quantizers: dict[str, Quantizer]
    unreached: dict[str, str]


def quantize_network(
    net: nn.Module,
    activation: AnyFormat = None,
    error: AnyFormat = None,
    *,
    after: Choice | Sequence[Choice] = PARTS,
    rounding: Rounding = "stochastic",
    evaluation: Rounding | None = None,
    generator: torch.Generator | None = None,
) -> Sites:
    """Put a `Quantizer` after the parts of a network that `after` chooses, in place; returns where they are now.

    after: types of parts, patterns of their names ("blocks.*.conv1", as of files), or functions of name and part; by
    default linear, convolutional, recurrent, normalising, embedding and attending ones. In attention, rounded are q, k
    and v, the weights after softmax and dropout, and the output; in recurrent layers the gates, the cell of an LSTM and
    the output, at every step, so that these take the time of a loop in Python. Attention in a module of your own is
    found where its class calls `scaled_dot_product_attention`. Weights are no business of this: the optimizer keeps
    them on their grid.

    activation, error, rounding, evaluation, generator: of every `Quantizer`. `remove_quantizers` undoes it. The
    `state_dict` keeps its names; deep copies and `torch.compile` work, which leaves recurrent layers as they are.
    Raises ValueError for a choice that matches nothing, for a part that is quantized already and for a generator on
    another device than a part, FormatError for what is no format, before anything changes.
    """
    choices = [after] if isinstance(after, str) or callable(after) else list(after)
    chosen = _chosen(net, choices)
    _require_device(net, generator)
    options = dict(rounding=rounding, evaluation=evaluation, generator=generator)
    Quantizer(activation, error, **options)  # raises for what is no format
    sites = {}
    for part in net.modules():
        if isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False  # only that computation knows these tensors
    for name, part in chosen.items():
        if (written_out := _written_out(part)) is not None:
            part.__class__ = written_out
        kinds = ("output",) if written_out is None else written_out.kinds
        part.quantizers = nn.ModuleDict({kind: Quantizer(activation, error, **options) for kind in kinds})
        part.register_forward_hook(_rounded)  # also keeps a transformer's layers from computing around their parts
        sites |= {_joined(name, kind if len(kinds) > 1 else ""): part.quantizers[kind] for kind in kinds}
    return Sites(sites, unreached(net))


def remove_quantizers(net: nn.Module) -> None:
    """Undo `quantize_network`, however often it was called: the network computes as it did before."""
    for part in net.modules():
        if is_quantized(part):
            del part.quantizers
            for number in [number for number, hook in part._forward_hooks.items() if hook is _rounded]:
                del part._forward_hooks[number]
            if isinstance(part, WrittenOut):
                part.__class__ = part.plain


def activation_format(part: nn.Module) -> Format | None:
    """The format that the output of a part is rounded to."""
    return part.quantizers["output"].activation if is_quantized(part) else None


def _rounded(part: nn.Module, inputs: tuple, output: Any) -> Any:
    """The hook that rounds what a part returns, unless the part does it itself."""
    if isinstance(part, WrittenOut):
        return None
    quantizer = part.quantizers["output"]
    if isinstance(output, Tensor):
        return quantizer(output)
    return tree_map_only(Tensor, lambda x: quantizer(x) if x.is_floating_point() else x, output)


def _written_out(part: nn.Module) -> type[WrittenOut] | None:
    """The class that computes what this part does step by step, if it must and there is one: that of a class derived
    from torch's might compute something else."""
    return attending(type(part)) if attends("", part) else _WRITTEN_OUT.get(type(part))


def is_quantized(part: nn.Module) -> bool:
    """Whether `quantize_network` has put a Quantizer after (or into) this very part."""
    return any(hook is _rounded for hook in part._forward_hooks.values())


# ---- which parts ---------------------------------------------------------------------------------------------------


def _chosen(net: nn.Module, choices: Sequence[Choice]) -> dict[str, nn.Module]:
    """The parts that are chosen, by name; of a Sequential, its last one. Raises ValueError, see `quantize_network`."""
    inside = {id(m) for a in net.modules() if isinstance(a, nn.MultiheadAttention) for m in a.children()}
    parts = {name: part for name, part in net.named_modules() if id(part) not in inside and _computes(part)}
    chosen = set()
    for choice in choices:
        matching = [name for name, part in parts.items() if _matches(choice, name, part)]
        if not matching and choices != list(PARTS):
            told = repr(choice) if isinstance(choice, str) else getattr(choice, "__name__", repr(choice))
            raise ValueError(f"after: {told} matches no part of {type(net).__name__}, which has {_some(parts)}")
        for name in matching:
            while isinstance(parts[name], nn.Sequential):
                name = _joined(name, list(parts[name]._modules)[-1])
            if is_quantized(parts[name]):
                raise ValueError(f"{name or 'the network'} is quantized already: call remove_quantizers first")
            if hasattr(parts[name], "quantizers"):
                raise ValueError(f"{name or 'the network'} has `quantizers` of its own, where its Quantizers would go")
            chosen.add(name)
    if not chosen:
        raise ValueError(f"{type(net).__name__} has no part of a known type: name some with after, of {_some(parts)}")
    return {name: part for name, part in parts.items() if name in chosen}


def _computes(part: nn.Module) -> bool:
    """Whether a part is called by itself, and a Quantizer can see what it returns."""
    if isinstance(part, nn.Sequential):
        return len(part) > 0
    return not isinstance(part, nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict | Quantizer) and (
        not isinstance(part, torch.jit.ScriptModule)
    )


def _matches(choice: Choice, name: str, part: nn.Module) -> bool:
    if isinstance(choice, str):
        return fnmatchcase(name, choice) and (name != "" or choice == "")
    return isinstance(part, choice) if isinstance(choice, type) else bool(choice(name, part))


def _require_device(net: nn.Module, generator: torch.Generator | None) -> None:
    if generator is not None:
        for name, p in net.named_parameters():
            if p.device.type != generator.device.type:
                raise ValueError(
                    f"the generator is on {generator.device}, but {name} on {p.device}: the numbers that round what a "
                    "part computes are drawn where the part is. Give generator=None, or one of that device"
                )


def unreached(net: nn.Module) -> dict[str, str]:
    """What parts of a network compute that no Quantizer sees, by the name of the part, see `Sites`."""
    found = {}
    for name, part in net.named_modules():
        if told := list(_untold(part)):
            found[name] = " and ".join(told)
    return found


def _untold(part: nn.Module) -> Iterator[str]:
    """What a part computes that no Quantizer sees, as far as its class is not torch's."""
    written_out = isinstance(part, WrittenOut)
    kind = part.plain if written_out else type(part)
    if isinstance(part, torch.jit.ScriptModule):
        yield "is compiled by TorchScript"
    elif not kind.__module__.startswith("torch.") and not isinstance(part, Quantizer):
        if derived := [each.__name__ for each in _WRITTEN_OUT if issubclass(kind, each)]:
            yield f"derives from {derived[0]}: only what it returns is rounded"
        own = [] if isinstance(part, _TYPES) else sorted(n for n, p in part._parameters.items() if p is not None)
        if own:
            yield f"computes with {', '.join(own)} itself"
        seen = {"scaled_dot_product_attention"} if written_out else set()
        if calls := sorted(f for f in named(kind) & _FUNCTIONS - seen if not hasattr(part, f)):
            yield f"calls {', '.join(calls)} itself"


def _some(parts: Mapping[str, nn.Module]) -> str:
    names = [name for name in parts if name]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "no parts at all"


def _joined(name: str, part: str) -> str:
    return ".".join(word for word in (name, part) if word)
