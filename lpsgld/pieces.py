"""Large tensors on the CPU, piece by piece.

A formula of k elementwise operations writes k tensors. Where these are larger than the processor's cache, most of
its time goes into memory; evaluated on pieces that fit, the same formula takes a third of it. On an accelerator, or
under `torch.compile`, which fuses the operations, there is one piece: the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

_SIZE = 2**18  # elements: a megabyte of float32, a few of which fit into the last-level cache

# glibc gives freed memory back to the system, and asks again for every intermediate result, page by page, until a
# block of 16 MB has been freed once; then it keeps blocks up to that size. This makes the pieces up to 3 times as fast.
torch.empty(2**22)


def eager_on_cpu(x: Tensor) -> bool:
    """Whether operations on x are executed one by one, at once, by the CPU: not compiled, not in `torch.func`."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not is_functorch_wrapped_tensor(x)


def elementwise(function: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """function(x, *others), for a function that treats each element for itself and returns x's shape and dtype.

    others: tensors that broadcast against x. Without gradient. On the meta device, whose tensors are shapes alone,
    the function is not called.
    """
    if x.device.type == "meta":
        return torch.empty_like(x)
    if x.numel() <= _SIZE or not eager_on_cpu(x):
        return function(x, *others)
    out = torch.empty_like(x)
    for target, *piece in pieces(out, x, *others):
        target.copy_(function(*piece))
    return out


def pieces(x: Tensor, *others: Tensor, axis: int | None = None) -> Iterator[tuple[Tensor, ...]]:
    """The same parts of x and of tensors that broadcast against it, as views, until all of x has been seen.

    axis: cut only between the indices of this axis, not at all if x lacks it; None: anywhere.
    """
    cut = _outermost(x) if axis is None else axis
    if x.numel() <= _SIZE or not 0 <= cut < x.dim() or x.size(cut) == 1 or not eager_on_cpu(x):
        yield x, *others
        return
    rows = max(1, x.size(cut) * _SIZE // x.numel())
    parts = (t.split(rows, cut) if t.size(cut) > 1 else repeat(t) for t in (x, *others))
    for part in zip(*parts):  # noqa: B905 (what is broadcast repeats without end)
        if axis is None:
            yield from pieces(*part)  # a single row may still be too long
        else:
            yield part


def _outermost(x: Tensor) -> int:
    """The axis whose indices lie furthest apart in memory."""
    return max(range(x.dim()), key=lambda axis: x.stride(axis) * (x.size(axis) > 1), default=-1)
