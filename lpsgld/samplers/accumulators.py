"""How the result of a noisy step is kept: in full precision, rounded, or drawn on the grid."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lpsgld.formats import AnyFormat, Format
from lpsgld.rounding import quantize
from lpsgld.variance import require_released, vc_quantize, vc_released

Accumulator = Literal["full", "naive", "vc", "vc-released"]


def accumulate(
    mean: Tensor,
    variance: float | Tensor,
    weight: AnyFormat,
    accumulator: Accumulator,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A number of mean μ and variance v, as the accumulator keeps it: a new tensor. With ξ standard normal:

        "full"         μ + √v ξ                  (SGLDLP-F: the accumulator stays in full precision)
        "naive"        Q_W(μ + √v ξ)             (naive SGLDLP-L: what was sampled is rounded once more)
        "vc"           Q^vc(μ, v, Δ_W)           (VC SGLDLP-L: the rounding itself is the noise)
        "vc-released"  the same in blocks as the paper's released code draws it, which loses the noise where
                       v < Δ_W²/4 (`variance.vc_released`): only to compare with what was published

    (Zhang, Wilson and De Sa 2022, equations 4 to 6 and Algorithm 1.) v = 0 gives the SGD counterparts. Raises
    ValueError for an unknown accumulator.
    """
    if accumulator == "vc":
        return vc_quantize(mean, variance, weight, generator)
    if accumulator == "vc-released":
        return vc_released(mean, variance, weight, generator)
    require_accumulator(accumulator)
    noisy = vc_quantize(mean, variance, None, generator)
    return quantize(noisy, weight, generator=generator) if accumulator == "naive" else noisy


def require_accumulator(accumulator: str, weight: Format | None = None) -> None:
    """Raises ValueError unless `accumulator` is one of those of `accumulate`, FormatError if it cannot use a format."""
    if accumulator not in get_args(Accumulator):
        known = ", ".join(f'"{name}"' for name in get_args(Accumulator))
        raise ValueError(f"the accumulator is {accumulator!r}, but must be one of {known}")
    if weight is not None and accumulator in ("vc", "vc-released"):
        weight.require_head_room()
    if accumulator == "vc-released":
        require_released(weight)
