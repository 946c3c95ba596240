"""Many parameters as a few matrices, so that a step of the optimizer takes a few kernels.

A network has dozens of parameters, most of them small, and an accelerator takes as long to start a kernel as to read
millions of numbers. Parameters whose rows are equally long are therefore stored one below the other, and a step treats
each such matrix as one tensor. No block of a format is cut or merged, so the law of the step is that of each parameter
alone; only the order of the random numbers differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

State = dict[str, Any]  # the optimizer's, of one parameter: tensors of its shape, such as θ in full precision


class Stacks:
    """All parameters that take a step together, in as few matrices as possible. They become views of these.

    states: of each parameter; their tensors become views, too. axis: where a parameter may be cut without cutting a
    block, as `formats.whole_blocks_axis` says it: None, anywhere; 0, between rows; anything else leaves it as it is.
    """

    def __init__(self, params: Sequence[Tensor], states: Sequence[State], axis: int | None):
        groups: dict[tuple, list[int]] = {}
        for index, (p, state) in enumerate(zip(params, states, strict=True)):
            length = _row_length(p, axis)
            alone = index if length is None else None
            groups.setdefault((length, alone, p.dtype, p.device, *state), []).append(index)
        self._stacks = [_Stack([params[i] for i in g], [states[i] for i in g], key[0]) for key, g in groups.items()]
        self._places = _places(params, states)

    def tensors(self, memory: Sequence[str] = ()) -> list[tuple[Tensor, ...]]:
        """(p, gradient, θ, *memory) of each stack; θ is p itself where nothing else is kept."""
        return [
            (
                stack.p,
                stack.joined([p.grad for p in stack.params]),
                stack.kept.get("theta", stack.p),
                *(stack.kept[name] for name in memory),
            )
            for stack in self._stacks
        ]

    def are_of(self, params: Sequence[Tensor], states: Sequence[State]) -> bool:
        """Whether these are the parameters and states, and still lie where the stacks have put them."""
        return _places(params, states) == self._places


class _Stack:
    """Parameters of rows of one length as a matrix p, what is kept beside them as others; one alone as it is."""

    def __init__(self, params: list[Tensor], states: list[State], length: int | None):
        self.params, self._length = params, length
        self.p = self.joined(params)
        for p, view in zip(params, self._views(self.p), strict=True):
            p.data = view
        self.kept = {name: self.joined([state[name] for state in states]) for name in states[0]}
        for name, matrix in self.kept.items():
            for state, view in zip(states, self._views(matrix), strict=True):
                state[name] = view

    def joined(self, tensors: list[Tensor]) -> Tensor:
        """One tensor a parameter, of its shape, in the matrix's order."""
        if self._length is None:
            return tensors[0].detach()
        return torch.cat([_rows(x, p, self._length) for x, p in zip(tensors, self.params, strict=True)])

    def _views(self, matrix: Tensor) -> list[Tensor]:
        if self._length is None:
            return [matrix]
        parts = matrix.split([p.numel() // self._length for p in self.params])
        return [part.as_strided(p.shape, p.stride()) for part, p in zip(parts, self.params, strict=True)]


def place(x: Tensor) -> tuple[int, int]:
    """The memory that a tensor views, and where in it it begins: also of a tensor that has shapes alone."""
    return x.untyped_storage()._cdata, x.storage_offset()


def _places(params: Sequence[Tensor], states: Sequence[State]) -> list:
    kept = [tensor for state in states for tensor in state.values()]
    return [id(p) for p in params] + [place(tensor) for tensor in (*params, *kept)]


def _row_length(p: Tensor, axis: int | None) -> int | None:
    layout = _CHANNELS_LAST.get(p.dim(), torch.contiguous_format)
    dense = p.is_contiguous() or p.is_contiguous(memory_format=layout)
    if axis not in (None, 0) or not dense or p.numel() == 0:
        return None
    return 1 if axis is None or p.dim() == 0 else p.numel() // p.size(0)


def _rows(x: Tensor, like: Tensor, length: int) -> Tensor:
    """The elements of x in the order in which `like`, a dense tensor of its shape, lies in memory, cut into rows."""
    if any(n > 1 and a != b for n, a, b in zip(x.shape, x.stride(), like.stride(), strict=True)):
        x = torch.empty_strided(like.shape, like.stride(), dtype=x.dtype, device=x.device).copy_(x)
    return x.detach().as_strided((x.numel() // length, length), (length, 1))
