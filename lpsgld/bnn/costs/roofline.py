"""A training step on the roof of a machine of which two numbers are known: its bandwidth and its rate.

The roofline model (Williams, Waterman and Patterson, 2009): an operation takes the time of its arithmetic, or that of
moving its operands and its result between memory and processor, whichever is longer. Here each operation moves its
numbers: one that is fused with its neighbour, or finds them in a cache, can be faster. What memory has to hold is
counted in `footprint.py`; `meters.py` measures the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from lpsgld.bnn.costs.footprint import CIFAR, shapes_alone
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.text import one_of

# kinds of numbers, and the bytes of each in memory. TF32: float32, of which a product reads 11 significant bits
BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "TF32": 4, "bfloat16": 2, "int8": 1})


@dataclass(frozen=True)
class Machine:
    """What a machine does at best.

    bandwidth: bytes a second, to and from memory together. rates: operations a second of a matrix product, in which a
    multiplication and an addition are two, for float32 and those other kinds of `BYTES` that it multiplies.
    """

    name: str
    bandwidth: float
    rates: Mapping[str, float]

    def rate(self, kind: str) -> float:
        """Operations a second; those of float32 for a kind that is not multiplied as such."""
        return self.rates.get(one_of("kind of number", kind, BYTES), self.rates["float32"])

    def roof(self, intensity: np.ndarray, kind: str) -> np.ndarray:
        """Operations a second that an operation can reach, by its arithmetic intensity (see `Work`)."""
        return np.minimum(self.rate(kind), intensity * self.bandwidth)


# peak numbers of the maker's data sheet (dense, without its factor 2 for sparse matrices), not measured here; float32
# outside the tensor cores, the others in them
H100 = Machine(
    "H100 SXM, data sheet",
    bandwidth=3.35e12,
    rates=MappingProxyType({"float32": 67e12, "TF32": 494.5e12, "bfloat16": 989.5e12, "int8": 1979e12}),
)


@dataclass(frozen=True)
class Work:
    """The operations of one training step in their order. flops: of matrix products and convolutions (0 for others);
    values: numbers read and written, each once."""

    names: tuple[str, ...]
    flops: np.ndarray
    values: np.ndarray

    def intensity(self, kind: str) -> np.ndarray:
        """Arithmetic operations a byte, if every number is of that kind."""
        return self.flops / (self.values * BYTES[kind])

    def seconds(self, machine: Machine, kind: str) -> np.ndarray:
        """The time of each operation on the roof, if every number is of that kind and is moved for each operation."""
        return np.maximum(self.flops / machine.rate(kind), self.values * BYTES[kind] / machine.bandwidth)

    def bounds(self, machine: Machine, kind: str) -> dict[str, float]:
        """The seconds of the step on the roof, by what bounds its operations: "arithmetic" or "traffic" the products,
        and traffic all that is "elementwise"."""
        seconds = self.seconds(machine, kind)
        arithmetic = self.products & (seconds <= self.flops / machine.rate(kind))
        parts = {"arithmetic": arithmetic, "traffic": self.products & ~arithmetic, "elementwise": ~self.products}
        return {name: float(seconds[chosen].sum()) for name, chosen in parts.items()}

    @property
    def products(self) -> np.ndarray:
        """Which of the operations multiply matrices."""
        return self.flops > 0


@cache
def step(
    model: str, width: int, batch: int, image_shape: tuple[int, int, int] = CIFAR[0], classes: int = CIFAR[1]
) -> Work:
    """The work of one step: forward, backward, and an update that reads weights and gradients and writes weights.

    Rounding is not counted: hardware rounds a result on its way to memory.
    """
    recipe = Recipe(model=model, width=width, batch_size=batch)
    network, images, labels = shapes_alone(recipe, image_shape, classes)
    update = ("update", 0, 3 * sum(p.numel() for p in network.parameters()))
    names, flops, values = zip(*operations(network, images, labels), update, strict=True)
    return Work(names, np.array(flops, dtype=float), np.array(values, dtype=float))


def operations(model: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[str, int, int]]:
    """(name, flops, numbers read and written) of each operation of a forward and backward pass with cross-entropy.

    The parameters must not have gradients yet. Views and uninitialised memory move nothing and are left out.
    """
    with _Recorder() as recorder:
        F.cross_entropy(model(images), labels).backward()
    return recorder.operations


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations: list[tuple[str, int, int]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        operation = function._overloadpacket
        if not (function.is_view or "empty" in str(operation)):
            count = flop_registry.get(operation)
            flops = count(*args, **kwargs, out_val=result) if count else 0
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.operations.append((str(operation).removeprefix("aten."), flops, sum(t.numel() for t in tensors)))
        return result
