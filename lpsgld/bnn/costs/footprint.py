"""What training keeps in memory, in bytes, counted from shapes.

`memory` counts for a recipe, on hardware that computes in the recipe's formats or as this library simulates them. Time
is told in `roofline.py`; what a process, a file and a clock say to all this is measured in `meters.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from lpsgld import formats
from lpsgld.bnn.devices import seeded
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.formats import AnyFormat, Format
from lpsgld.rounding import Quantizer

CIFAR = ((3, 32, 32), 10)  # image shape and classes
_WIDTHS, _BATCHES = (4, 8, 12), (2, 3)  # small networks that tell how counts grow


@dataclass(frozen=True)
class Memory:
    """Bytes of each part. copy: the accumulator in full precision, beside low-precision weights. activations: all that
    the forward pass keeps for the backward pass. samples: the posterior samples. SGLD keeps nothing else: it has no
    momentum, and its noise is drawn and dropped."""

    weights: int
    copy: int
    gradients: int
    activations: int
    samples: int

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


def memory(
    recipe: Recipe, image_shape: tuple[int, int, int] = CIFAR[0], classes: int = CIFAR[1], *, simulated: bool = False
) -> Memory:
    """The bytes of training by that recipe: one batch, one network, and `recipe.samples` posterior samples.

    simulated: as this library holds them, every number in a float32 tensor, samples packed. Otherwise as hardware
    could: each number in the bits of its format, one scale a block, and of a ReLU
    only the sign; what the recipe leaves in full precision (shortcuts, statistics) stays in float32.
    """
    shapes, buffers = _shapes(recipe.model, recipe.width, image_shape, classes)
    weight, grad = formats.parse(recipe.weight), formats.parse(recipe.grad)
    sites = dict(activation=recipe.activation, error=recipe.error, all_inputs=recipe.all_inputs)
    counts = _activation_bits(recipe.model, image_shape, classes, **sites)
    held, needed = extrapolated(counts, recipe.width, recipe.batch_size)
    full = total_bytes(shapes, None)
    return Memory(
        weights=full if simulated else total_bytes(shapes, weight),
        copy=full if recipe.accumulator == "full" and weight is not None else 0,
        gradients=full if simulated else total_bytes(shapes, grad),
        activations=math.ceil((held if simulated else needed) / 8),
        samples=recipe.samples * (total_bytes(shapes, weight) + buffers),
    )


def tensor_bytes(shape: Sequence[int], fmt: AnyFormat) -> int:
    """Bytes of a tensor in that format, as `storage` keeps it: codes, and the scales of its blocks."""
    fmt = formats.parse(fmt)
    return 4 * math.prod(shape) if fmt is None else fmt.nbytes(shape)


def total_bytes(shapes: Sequence[Sequence[int]], fmt: AnyFormat) -> int:
    """Bytes of several tensors in that format."""
    return sum(tensor_bytes(shape, fmt) for shape in shapes)


# ---- what autograd keeps ---------------------------------------------------------------------------------------------


def kept_for_backward(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[Tensor], int, int]:
    """What a forward pass with cross-entropy keeps for the backward pass, beside parameters and buffers.

    Returns (the kept tensors, one for each piece of memory; their bits as held, in float32; the bits that hardware
    needs: tensors that a `Quantizer` has rounded in their format, one bit for each element of a ReLU's result).
    On the meta device nothing is computed, and shapes are enough.
    """
    rounded: list[tuple[Tensor, Format | None]] = []  # keeps them alive, so that no other tensor takes their place
    quantizers = [m for m in model.modules() if isinstance(m, Quantizer) and m.activation is not None]
    hooks = [
        q.register_forward_hook(lambda module, _, out: rounded.append((out.detach(), module.activation)))
        for q in quantizers
    ]
    own = {_place(t) for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _place(tensor) not in own:
            kept.setdefault(_place(tensor), tensor.detach())
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
            bits = 8 * tensor_bytes(tensor.shape, grids[place])
        elif place in signs and quantizers:
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


# ---- small networks tell of large ones -------------------------------------------------------------------------------


def small_counts(
    count: Callable[[nn.Module, Tensor, Tensor], ArrayLike],
    model: str,
    image_shape: tuple[int, int, int],
    classes: int,
    **sites: Any,
) -> np.ndarray:
    """count(network, images, labels) for three small widths and two small batches: [3, 2, ...] for `extrapolated`.

    sites: fields of the recipe. The network is fresh in each call. Random numbers of the caller are left alone.
    """

    def at(width: int, batch: int) -> ArrayLike:
        network = Recipe(model=model, width=width, **sites).build_model(image_shape, classes)
        return count(network, torch.zeros(batch, *image_shape), torch.zeros(batch, dtype=torch.int64))

    with seeded(torch.device("cpu"), 0):
        return np.array([[at(width, batch) for batch in _BATCHES] for width in _WIDTHS], dtype=np.float64)


def extrapolated(counts: np.ndarray, width: int, batch: int) -> np.ndarray:
    """Counts of `small_counts` at another width and batch, exactly: they are polynomials, of degree 2 in the width (a
    layer has width² weights) and of degree 1 in the batch. Whole numbers, exact below 2^53."""
    across = _lagrange(_WIDTHS, width) @ counts.reshape(len(_WIDTHS), -1)
    along = _lagrange(_BATCHES, batch) @ across.reshape(len(_BATCHES), -1)
    return along.reshape(counts.shape[2:]).round()


def _lagrange(nodes: Sequence[int], x: float) -> np.ndarray:
    """Weights with which the values of a polynomial at the nodes add up to its value at x."""
    return np.array([math.prod((x - b) / (a - b) for b in nodes if b != a) for a in nodes])


@cache
def _activation_bits(model: str, image_shape: tuple[int, int, int], classes: int, **sites: Any) -> np.ndarray:
    return small_counts(lambda *args: kept_for_backward(*args)[1:], model, image_shape, classes, **sites)


@cache
def _shapes(model: str, width: int, image_shape: tuple[int, int, int], classes: int) -> tuple[list[torch.Size], int]:
    """Shapes of the parameters, and bytes of the buffers."""
    with torch.device("meta"):
        network = Recipe(model=model, width=width).build_model(image_shape, classes)
    return [p.shape for p in network.parameters()], sum(b.nbytes for b in network.buffers())
