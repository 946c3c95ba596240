"""Two switches of speed: whether a training step is compiled, and whether convolutions may use TF32.

Both change how fast a step is, never what it computes: its law when it is compiled (random numbers come in another
order), its last bits under TF32. So they are no part of a recipe.

**What TF32 does.** Tensor cores round both operands of a product to 11 significant bits (10 are stored), multiply
exactly and add up in float32. A number on an 8-bit grid, fixed or block, is an integer of at most 8 bits times a power
of two: nothing is rounded, and neither is it in bfloat16, which keeps 8 significant bits. With 8-bit weights,
activations and errors (`train_bfp`) these products of a ResNet are exact:

    forward               weight x activation       of an activation that was rounded
    backward, to inputs   weight x error            every convolution but those on shortcuts
    backward, to weights  activation x error        where both were rounded

The first convolution reads the image, which is no number of 8 bits once it is normalised: TF32 moves a pixel by at most
0.06 grey levels of 255. With the paper's sites (see `models`) the residual stream is in full precision, too, and with
it what a shortcut and the first convolution of a block read, but for the first block; and the errors on a shortcut
come from BatchNorm. All of these TF32 rounds by at most 2^-11 of their size, where 8-bit numbers are rounded by up to
2^-6 of the largest. With the sites "residual" the stream is rounded before, with "all" everything is, and then every
product is exact. Sums are float32 in any case, and so is everything between the convolutions: BatchNorm, the loss, the
linear layer. A quantizer therefore sees float32. Were it given bfloat16, it would round twice, and 3 to 6 % of 8-bit
activations would be others (Gaussian ones, to nearest).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal, NamedTuple

import torch

from lpsgld.bnn.training.recipes import Recipe
from lpsgld.text import Mistake

Choice = Literal["auto"] | bool

_TF32_BITS = 11  # significant bits of an operand


class CompileError(Mistake, RuntimeError):
    """A compiled step was asked for, but the compiler does not work here."""


class Decision(NamedTuple):
    """One of the switches, on or off, and why: one line to show."""

    on: bool
    why: str


def compiled(choice: Choice, device: torch.device) -> Decision:
    """Whether a training step on that device is compiled with `torch.compile`.

    True: yes. False: no. "auto": on CUDA, if a trial shows that the compiler works; not on the CPU, where the compiled
    step of a ResNet took 1.6 times as long as the eager one before that had loops of its own. Raises
    CompileError if it must be compiled and the trial fails, ValueError for another choice.
    """
    _require_choice("compile", choice)
    if choice is False:
        return Decision(False, "not compiled, as asked")
    if choice == "auto" and device.type != "cuda":
        return Decision(False, f"not compiled: on this kind of device ({device.type}) that does not pay")
    problem = trial(device.type)
    if problem is None:
        return Decision(True, "compiled: augmentation and network, optimizer; the first steps take a minute or more")
    if choice == "auto":
        return Decision(False, f"not compiled, hence slower: the compiler does not work here ({problem})")
    needs = "Triton and a C compiler (gcc)" if device.type == "cuda" else "a C++ compiler (g++)"
    raise CompileError(
        f"compile=True, but torch.compile does not work on this machine's {device.type} ({problem}). It needs {needs}: "
        'install what is missing, or use compile="auto"'
    )


@cache
def trial(device_type: str) -> str | None:
    """None if `torch.compile` works for that type of device, else the first line of what it says."""
    number = os.getpid()  # another program each time: one from a cache on disk would prove nothing
    try:
        torch.compile(lambda x: x + number, fullgraph=True)(torch.zeros(8, device=device_type))
    except Exception as error:  # whatever it is, it is the answer
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def tf32(choice: Choice, recipe: Recipe, device: torch.device) -> Decision:
    """Whether convolutions on that device may round their operands to TF32.

    True and False: as asked. "auto": where the recipe quantizes weights, activations and errors to numbers of at most
    11 significant bits, so that products of them are exact (the exceptions are above). Raises ValueError for another
    choice.
    """
    _require_choice("tf32", choice)
    if device.type != "cuda":
        return Decision(False, "full float32 products: TF32 is CUDA's")
    if choice != "auto":
        return Decision(choice, f"{'TF32' if choice else 'full float32'} products, as asked")
    operands = (fmt for field in ("weight", "activation", "error") for fmt in recipe.every(field))
    if all(fmt is not None and fmt.significant_bits <= _TF32_BITS for fmt in operands):
        return Decision(True, "TF32 products, exact where both operands have 8 bits")
    return Decision(False, "full float32 products: weights, activations or errors have too many bits for TF32")


@contextmanager
def convolutions(use_tf32: bool) -> Iterator[None]:
    """cuDNN as training needs it: with or without TF32, and only algorithms that give the same bits every time."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=use_tf32), warnings.catch_warnings():
        # the compiler's advice to use TF32 in matrix products, too, which are not exact here
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        yield


def _require_choice(name: str, choice: Choice) -> None:
    if choice not in ("auto", True, False):
        raise ValueError(f'{name} is {choice!r}, but must be "auto", True or False')
