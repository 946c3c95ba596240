"""The same arithmetic, fused, for the CPU: one pass over memory where a formula in torch takes a dozen.

What is computed is told by `rounding.py`, `variance.py` and `formats/`; here are the loops' arguments (`loops.py` has
the loops), who may use them, and the random numbers. These come from a counter, so that each depends on its place
alone: a 64-bit key, drawn from torch's generator once a call, the number of the stream, and the place of the element in
memory. Neither the number of threads nor the order of the work changes a bit, and formulas that run in torch draw the
very same numbers. Without numba the formulas run, with torch's own numbers, several times as slow.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

_ALONE = 2**17  # numbers that one thread takes: waking another takes as long as 10,000 of them
_PLAIN = (Tensor, nn.Parameter, nn.Buffer)
_PROCESS, _ROOM = os.getpid(), threading.local()
_Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Arithmetic(NamedTuple):
    """What a format tells the loops: the grid of a number over its block's scale, and how the scale is found.

    gap, low, high: where elements have no exponents of their own. own: 1.0 where they have: Δ = 2^e·fraction with e of
    each number, from `smallest` to `top` (both as powers of two), up to `largest`; codes: whole numbers up to this are
    numbers of the format times any of its powers.
    ties: of rounding to nearest, one of `TIES`. drop ... highest: log2 of the scale of a block of largest number m is
    floor(log2 m) - drop, with a reach beyond it ceil(log2((m + reach)/room)), within lowest .. highest. shift: what
    ties "up" adds first, in gaps.
    """

    gap: float = 1.0
    low: float = 0.0
    high: float = 0.0
    own: float = 0.0
    smallest: float = 0.0
    top: float = 0.0
    fraction: float = 1.0
    largest: float = 0.0
    codes: float = 0.0
    ties: float = 0.0
    drop: float = 0.0
    room: float = 1.0
    when_infinite: float = 0.0
    when_zero: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    shift: float = 0.0


TIES = ("even", "even after a sum", "up", "away")


class Blocks(NamedTuple):
    """Numbers that share a scale: `length` consecutive ones along an axis, or all of an index of it (length None); all
    numbers if axis is None.

    scale: of the blocks, where `Arithmetic` does not tell it, given the largest |x| of each.
    """

    axis: int | None
    length: int | None = None
    scale: Callable[[Tensor], Tensor] | None = None


class Way(NamedTuple):
    """How a tensor is rounded: its format's arithmetic and blocks, how, the key of its random numbers, and for Q^vc
    the variance v, the reach, and w = v/Δ² and √(w - 1/4) where Δ is one number (else NaN)."""

    p: Arithmetic
    blocks: Blocks | None
    mode: Literal["stochastic", "nearest", "corrected"] | None
    key: int = 0
    noise: tuple[float, float, float, float] = (0.0, -1.0, math.nan, math.nan)


_NO_WAY = Way(Arithmetic(), None, None)

# ---- who may -----------------------------------------------------------------------------------------------------


def eager_on_cpu(x: Tensor) -> bool:
    """Whether operations on x are executed one by one, at once, by the CPU: not compiled, not in `torch.func`."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not is_functorch_wrapped_tensor(x)


def counts(x: Tensor) -> bool:
    """Whether random numbers for x come from a counter."""
    return x.dtype == torch.float32 and type(x) in _PLAIN and eager_on_cpu(x) and _loops() is not None


def fuses(x: Tensor) -> bool:
    """Whether loops take the place of formulas for x."""
    return counts(x)


def dense(x: Tensor) -> bool:
    """Whether the numbers of x lie one behind the other in memory, in whatever order."""
    return x.is_contiguous() or x.stride() == torch.empty_like(x).stride()


@cache
def _loops() -> ModuleType | None:
    """`loops.py`, or None where there is no numba: said once."""
    try:
        event = importlib.import_module("numba.core.event")
    except ImportError as error:
        print(f"lpsgld: on the CPU several times as slow without numba ({error}): pip install numba", file=sys.stderr)
        return None
    with event.install_listener("numba:compile", _listener(event)):
        return importlib.import_module("lpsgld.loops")


def _listener(event: ModuleType):
    class Once(event.Listener):
        said = False

        def on_start(self, event) -> None:
            if not self.said:
                print("lpsgld: compiling its loops for this processor, once (some 20 seconds)", file=sys.stderr)
            Once.said = True

        def on_end(self, event) -> None:
            pass

    return Once()


# ---- random numbers ----------------------------------------------------------------------------------------------


def key(generator: torch.Generator | None) -> int:
    """The key of a call's random numbers, from torch's generator."""
    return _word().random_(-(2**63), None, generator=generator).item() % 2**64


def _word() -> Tensor:
    """Room for a key, a word for each thread."""
    if not hasattr(_ROOM, "word"):
        with torch.inference_mode(False):  # made in that mode, it could be written in no other
            _ROOM.word = torch.empty((), dtype=torch.int64, device="cpu")
    return _ROOM.word


def drawn(x: Tensor, law: Literal["uniform", "normal"], key: int, stream: int) -> Tensor:
    """Numbers of a stream in x's shape and layout: uniform on [0, 1), or standard normal."""
    out = torch.empty_like(x)
    flat, loop, normal = _flat(out), _loops().draw, law == "normal"
    _in_parts(out.numel(), lambda start, stop: loop(flat, start, stop, key, stream, normal))
    return out


# ---- rounding ----------------------------------------------------------------------------------------------------


def rounded(x: Tensor, way: Way) -> Tensor:
    """x rounded in that way: a new tensor."""
    x = x.detach()
    out = torch.empty_like(x)
    source = _flat(x if x.stride() == out.stride() else out.copy_(x))
    most, shape = _largest(out, source, way.blocks)
    _round(source, _flat(out), way, _scale(most, way), shape)
    return out


def noised(x: Tensor, std: float, key: int) -> Tensor:
    """x + std·ξ: a new tensor."""
    out = torch.empty_like(x).copy_(x)
    flat, loop = _flat(out), _loops().noised
    _in_parts(flat.size, lambda start, stop: loop(flat, flat, start, stop, key, std))
    return out


def moved(
    theta: Tensor,
    slope: Tensor,
    out: Tensor,
    lr: float,
    weight_decay: float,
    grad: Way | None,
    noise: tuple[float, int],
    weight: Way | None,
    momentum: float = 0.0,
    displacement: Tensor | None = None,
) -> None:
    """A step of `sghmc.step` in place, in one pass (two where weights share scales), and what θ is rounded to in `out`;
    of `sgld.step` without a displacement.

    All tensors are dense and of one layout; `out` may be θ, which is then what is rounded. noise: standard deviation
    and key of what is added before rounding.
    """
    theta_flat, slope_flat, out_flat = _flat(theta), _flat(slope), _flat(out)
    rolled = np.empty(0, np.float32) if displacement is None else _flat(displacement)
    free = displacement is not None and (weight is None or out is not theta)
    grad_way, way = grad or _NO_WAY, weight or _NO_WAY
    grad_most, grad_shape = _largest(theta, slope_flat, grad_way.blocks)
    grad_scale = _scale(grad_most, grad_way)
    shape, count = _shape(theta, way.blocks)
    modes = _loops().MODES
    mode, grad_mode = modes.index(None if way.blocks else way.mode), modes.index(grad_way.mode)
    numbers, extra = np.array([lr, weight_decay, noise[0], momentum], np.float32), np.array(way.noise, np.float32)
    constants, grad_constants, found, loop = _constants(way.p), _constants(grad_way.p), [], _loops().moved
    one, tensors = np.ones(1, np.float32), (theta_flat, slope_flat, out_flat, rolled)

    def part(start: int, stop: int) -> None:
        most = np.zeros(count if way.blocks else 0, np.float32)
        to_grad = grad_constants, grad_scale, grad_shape, grad_mode, grad_way.key
        to_weight = constants, one, shape, mode, way.key
        loop(*tensors, free, start, stop, numbers, *to_grad, noise[1], *to_weight, extra, most)
        found.append(most)

    _in_parts(theta_flat.size, part)
    if way.blocks:
        _round(theta_flat, out_flat, way, _scale(np.maximum.reduce(found), way), shape)
        if displacement is not None and not free:
            torch.sub(out, displacement, out=displacement)


def largest(x: Tensor) -> float:
    """max|x| of a dense tensor, NaN if there is one; 0 if there is nothing."""
    return float(_largest(x, _flat(x), Blocks(None))[0][0]) if x.numel() else 0.0


def _round(source: np.ndarray, out: np.ndarray, way: Way, scale: np.ndarray, shape: np.ndarray) -> None:
    loop, mode = _loops().rounded, _loops().MODES.index(way.mode)
    constants, noise = _constants(way.p), np.array(way.noise, np.float32)
    _in_parts(
        out.size, lambda start, stop: loop(source, out, start, stop, constants, scale, shape, mode, way.key, noise)
    )


def _shape(like: Tensor, blocks: Blocks | None) -> tuple[np.ndarray, int]:
    """Which numbers of a dense tensor are in which block, as `loops.py` has it; how many blocks there are."""
    n = max(like.numel(), 1)
    if blocks is None or like.numel() == 0:
        return np.array([1, n, 1, 0, 0, 0]), 1
    length = 1 if blocks.axis is None else like.size(blocks.axis)
    inner = n if length == 1 else like.stride(blocks.axis)
    if blocks.length is None:
        return np.array([length, inner, 1, 0, 1, 0]), length
    row = -(-length // blocks.length) * inner
    return np.array([length, inner, blocks.length, row, inner, 1]), n // (length * inner) * row


def _largest(like: Tensor, source: np.ndarray, blocks: Blocks | None) -> tuple[np.ndarray, np.ndarray]:
    """The largest |x| of each block (1 if there are none), and `_shape`."""
    shape, count = _shape(like, blocks)
    if blocks is None or source.size == 0:
        return np.ones(1, np.float32), shape
    loop, found = _loops().largest, []

    def part(start: int, stop: int) -> None:
        most = np.zeros(count, np.float32)
        loop(source, start, stop, shape, most)
        found.append(most)

    _in_parts(source.size, part)
    return np.maximum.reduce(found), shape


def _scale(most: np.ndarray, way: Way) -> np.ndarray:
    """The scale of each block, in place of its largest |x|."""
    if way.blocks is not None:
        if way.blocks.scale is not None:
            return way.blocks.scale(torch.from_numpy(most)).numpy()
        _loops().powers(most, _constants(way.p), way.noise[1])
    return most


@cache
def _constants(p: Arithmetic) -> np.ndarray:
    return np.array(p, np.float32)


def _flat(dense: Tensor) -> np.ndarray:
    """The numbers of a tensor without gaps or overlaps in its order in memory."""
    dense = dense.detach()
    return (dense if dense.is_contiguous() else dense.as_strided((dense.numel(),), (1,))).numpy().reshape(-1)


# ---- threads -----------------------------------------------------------------------------------------------------


def _in_parts(n: int, loop: Callable[[int, int], None]) -> None:
    """loop(start, stop) for all of 0 .. n, on as many threads as torch uses; small tensors do not pay for threads.

    All take the next part from one row: one of them may be held up.
    """
    threads = torch.get_num_threads()
    if n <= _ALONE or threads == 1:
        loop(0, n)
        return
    chunk = _loops().CHUNK
    size = -(-n // (4 * threads * chunk)) * chunk
    starts, errors = iter(range(0, n, size)), []

    def work(_=None) -> None:
        try:
            for start in starts:
                loop(start, min(start + size, n))
        except BaseException as error:  # Ctrl-C among them; what called this could only print it
            errors.append(error)

    if (team := _team()) is not None and os.getpid() == _PROCESS:
        team(_Work(work), None, threads, 0)
    else:
        others = [_pool(os.getpid(), threads - 1).submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()
    if errors:
        raise errors[0]


@cache
def _team() -> Callable[..., None] | None:
    """Have a function called by each of torch's own threads (GNU's OpenMP); None where there are others.

    After a loop of torch's they wait for the next one busily, for milliseconds: threads of ours would have to share
    the processors with them, and two took as long as one. They do not outlive a fork.
    """
    try:
        parallel = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    parallel.argtypes, parallel.restype = [_Work, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return parallel


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none of its parent's."""
    return ThreadPoolExecutor(threads, "lpsgld")
