"""Products of 8-bit codes: integers in, integers out, as hardware multiplies them.

A matrix on an 8-bit grid is integer codes times a power of two for each row. So a product of two of them is a product
of integers, summed in 32 bits, times powers of two. torch offers it as `torch._int_mm` (a private name, and no
convolution); everywhere else this library simulates, with float32 tensors that happen to lie on a grid.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lpsgld.formats import AnyFormat, FormatError
from lpsgld.rounding import quantize
from lpsgld.storage import Packed

LONGEST_EXACT = (2**24 - 1) // 127**2  # terms of 8-bit block codes whose sum float32 holds whatever they are: 1040


class NoIntegerProduct(RuntimeError):
    """This torch, or this device, has no int8 matrix product that can be relied on."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of int8 matrices, summed in int32: exact below 131,072 terms. `a @ b` wraps at 8 bits.

    Raises NoIntegerProduct with the reason where there is none.
    """
    if reason := missing(a.device.type):
        raise NoIntegerProduct(reason)
    return torch._int_mm(a, b)


@cache
def missing(device: str = "cpu") -> str:
    """Why there is no exact int8 product on that device; empty if there is one. Tried with the most extreme codes."""
    a = torch.full((32, 64), -128, dtype=torch.int8, device=device)
    a[1::2] = 127
    if not hasattr(torch, "_int_mm"):
        return f"torch {torch.__version__} has no _int_mm"
    try:
        found = torch._int_mm(a, a.T.contiguous())
    except (RuntimeError, NotImplementedError) as error:
        return f"torch._int_mm does not work on {device}: {str(error).splitlines()[0]}"
    wide = a.cpu().double()
    if found.dtype == torch.int32 and torch.equal(found.cpu().double(), wide @ wide.T):
        return ""
    return f"torch._int_mm is not exact on {device}"


def linear(x: Packed, weight: Packed) -> Tensor:
    """x @ weight.T in float32, computed from the codes alone: int8 products, int32 sums, one scale for each result.

    x: [N, K], weight: [M, K], both in 8 bits or fewer, fixed or block formats with one gap for each row or for all
    (fixed(W,F), block(W,0), block(W,-1)). Raises FormatError for other formats, NoIntegerProduct.
    """
    exponents = _row_exponents(x)[:, None] + _row_exponents(weight)
    return torch.ldexp(product(x.codes, weight.codes.T.contiguous()).double(), exponents).float()


class Convolution(NamedTuple):
    """A convolution of a network in its forward pass. terms: of each sum. operations: multiplications and additions of
    all sums. rounded: whether what it reads is in few bits, so that integers can stand for it."""

    name: str
    terms: int
    operations: int
    rounded: bool


@torch.no_grad()
def convolutions(network: nn.Module, images: Tensor, activation: AnyFormat) -> list[Convolution]:
    """Every convolution of a network, in its order, as it meets these images. activation: the format at its sites."""
    found: list[Convolution] = []

    def note(name: str):
        def hook(conv: nn.Conv2d, arguments: tuple[Tensor], output: Tensor) -> None:
            terms = conv.weight[0].numel()
            rounded = torch.equal(quantize(arguments[0], activation, "nearest"), arguments[0])
            found.append(Convolution(name, terms, 2 * terms * output.numel(), rounded))

        return hook

    hooks = [m.register_forward_hook(note(n)) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    network(images)
    for hook in hooks:
        hook.remove()
    return found


def _row_exponents(packed: Packed) -> Tensor:
    if packed.fmt is None:
        raise FormatError("full precision has no 8-bit codes with one gap a row: use fixed(W,F) or block(W,0)")
    return packed.fmt.row_exponents(packed.codes, packed.scales)
