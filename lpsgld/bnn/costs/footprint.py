"""What training keeps in memory, in bytes, counted from shapes.

`memory` counts for a recipe, on hardware that computes in the recipe's formats or as this library simulates them. Time
is told in `roofline.py`; what a process, a file and a clock say to all this is measured in `meters.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpsgld import formats
from lpsgld.bnn.training.recipes import SAMPLERS, Recipe
from lpsgld.formats import Format
from lpsgld.rounding import Quantizer

CIFAR = ((3, 32, 32), 10)  # image shape and classes


@dataclass(frozen=True)
class Memory:
    """Bytes of each part. copy: what the sampler keeps beside the weights: θ in full precision where they are rounded
    copies of it, and with momentum the displacements (in hardware the earlier weights, in the weights' format).
    activations: all that the forward pass keeps for the backward pass. samples: the posterior samples. Nothing else is
    kept: noise is drawn and dropped."""

    weights: int
    copy: int
    gradients: int
    activations: int
    samples: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))

    @property
    def training(self) -> int:
        """All but the samples."""
        return self.total - self.samples


def memory(
    recipe: Recipe, image_shape: tuple[int, int, int] = CIFAR[0], classes: int = CIFAR[1], *, simulated: bool = False
) -> Memory:
    """The bytes of training by that recipe: one batch, one network, and `recipe.samples` posterior samples.

    simulated: as this library holds them, every number in a float32 tensor, samples packed. Otherwise as hardware
    could: each number in the bits of its format, one scale a block, and of a ReLU only the sign; what the recipe leaves
    in full precision (shortcuts, statistics) stays in float32.
    """
    named = ("model", "width", "batch_size", "activation", "error", "sites")
    counted = _counted(Recipe(**{name: getattr(recipe, name) for name in named}), image_shape, classes)
    shapes = counted.shapes
    of_each = {field: formats.of_each(recipe.by_name(field), shapes) for field in ("weight", "grad")}
    weights, grads = (sum(total_bytes([shapes[name]], fmt) for name, fmt in of.items()) for of in of_each.values())
    apart = total_bytes([shapes[name] for name, fmt in of_each["weight"].items() if fmt is not None], None)
    full = total_bytes(shapes.values(), None)
    rounded = full if simulated else weights
    memory = len(SAMPLERS[recipe.sampler].memory) * (full if recipe.accumulator == "full" else rounded)
    return Memory(
        weights=rounded,
        copy=memory + (apart if recipe.accumulator == "full" else 0),
        gradients=full if simulated else grads,
        activations=math.ceil((counted.held if simulated else counted.needed) / 8),
        samples=recipe.samples * (weights + counted.buffers),
    )


def total_bytes(shapes: Iterable[Sequence[int]], fmt: Format | None) -> int:
    """Bytes of tensors of these shapes in that format, as `storage` keeps them; None is float32."""
    return sum(4 * math.prod(shape) if fmt is None else fmt.nbytes(shape) for shape in shapes)


def shapes_alone(recipe: Recipe, image_shape: tuple[int, int, int], classes: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The recipe's network, and a batch of images and labels, on the meta device: nothing is computed with them."""
    with torch.device("meta"):
        network = recipe.build_model(image_shape, classes)
        batch = torch.empty(recipe.batch_size, *image_shape), torch.empty(recipe.batch_size, dtype=torch.int64)
    return network, *batch


class _Counted(NamedTuple):
    shapes: dict[str, torch.Size]  # of the parameters
    buffers: int  # bytes
    held: int  # bits that autograd keeps
    needed: int  # bits that hardware would


@cache
def _counted(recipe: Recipe, image_shape: tuple[int, int, int], classes: int) -> _Counted:
    network, images, labels = shapes_alone(recipe, image_shape, classes)
    _, held, needed = kept_for_backward(network, images, labels)
    return _Counted(
        {name: p.shape for name, p in network.named_parameters()},
        sum(b.nbytes for b in network.buffers()),
        held,
        needed,
    )


# ---- what autograd keeps ---------------------------------------------------------------------------------------------


def kept_for_backward(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[Tensor], int, int]:
    """What a forward pass with cross-entropy keeps for the backward pass, beside parameters and buffers.

    Returns (the kept tensors, one for each piece of memory; their bits as held, in float32; the bits that hardware
    needs: tensors that a `Quantizer` has rounded in their format, one bit for each element of a ReLU's result that no
    other operation keeps). On the meta device nothing is computed, and shapes are enough.
    """
    rounded: list[tuple[Tensor, Format]] = []  # keeps them alive, so that no other tensor takes their place
    quantizers = [m for m in model.modules() if isinstance(m, Quantizer) and m.activation is not None]
    hooks = [
        q.register_forward_hook(lambda module, _, out: rounded.append((out.detach(), module.activation)))
        for q in quantizers
    ]
    own = {_place(t) for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}
    keepers: Counter[int] = Counter()

    def pack(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            kept.setdefault(_place(tensor), tensor.detach())
            keepers[_place(tensor)] += 1
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = F.cross_entropy(model(images), labels)
        signs = {_place(node._saved_result) for node in graph(loss) if node.name() == "ReluBackward0"}
    for hook in hooks:
        hook.remove()
    grids = {_place(out): fmt for out, fmt in rounded}
    held = needed = 0
    for place, tensor in kept.items():
        bits = 8 * tensor.untyped_storage().nbytes()
        held += bits
        if place in grids:
            bits = 8 * grids[place].nbytes(tensor.shape)
        elif place in signs and keepers[place] == 1 and quantizers:
            bits = tensor.numel()
        needed += bits
    return list(kept.values()), held, needed


def graph(result: Tensor) -> Iterator[torch.autograd.graph.Node]:
    """Every node of the graph behind a result, once."""
    seen, todo = set(), [result.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [following for following, _ in node.next_functions]
            yield node


def _place(tensor: Tensor) -> int:
    """The memory that a tensor views, as a number; there is one on the meta device too."""
    return tensor.untyped_storage()._cdata
