"""quantize against qtorch's quantizers, and vc_quantize against its floor."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.timing import Row, interleaved
from lpsgld import formats, quantize, vc_quantize
from lpsgld.rounding import normal_like, uniform_like

GOALS = {"fixed(8,8)": "15", "block(8,0)": "15", "block(8,-1)": "15"}  # of stochastic rounding
VARIANCES = {"v < v0": 1e-9, "v > v0": 1e-3}  # for weights of about 0.1, on either side of Δ²/4


def rows(values: int, repetitions: int, device: torch.device) -> Iterator[Row]:
    """quantize in four formats and both roundings, then vc_quantize in both branches, on a square matrix."""
    x = 0.1 * torch.randn(math.isqrt(values), math.isqrt(values), device=device)
    for name in ("fixed(8,8)", "block(8,0)", "block(8,-1)", "float(4,3)"):
        for rounding in ("stochastic", "nearest"):
            yield _quantize_row(x, name, rounding, repetitions)
    for name in ("fixed(8,8)", "block(8,0)"):
        for branch, variance in VARIANCES.items():
            yield _vc_row(x, name, branch, variance, repetitions)


def draw(x: Tensor, uniforms: int, normals: int = 0) -> None:
    """Draw random numbers for every element of x, as our functions do, and drop them (from the cache of a CPU)."""
    for part in x.flatten().split(2**19) if x.device.type == "cpu" else (x,):
        for _ in range(uniforms):
            uniform_like(part)
        for _ in range(normals):
            normal_like(part)


@cache
def qtorch_quant() -> ModuleType | None:
    """The module `qtorch.quant`, or None where it does not work: its first import compiles C++ for 20 s."""
    try:
        import qtorch.quant
    except Exception as error:  # no compiler, no headers, no nvcc beside a GPU, ...
        print(f"no comparison with qtorch, whose extension does not work here: {error!r:.200}", file=sys.stderr)
        return None
    return qtorch.quant


def theirs(name: str, rounding: str) -> Callable[[Tensor], Tensor]:
    """qtorch's function for the format of that name. Only where `qtorch_quant` is there."""
    quant, fmt = qtorch_quant(), formats.parse(name)
    function, fields = {
        "fixed": (quant.fixed_point_quantize, ("wl", "fl")),
        "block": (quant.block_quantize, ("wl", "dim")),
        "float": (quant.float_quantize, ("exp", "man")),
    }[name.partition("(")[0]]
    return partial(function, **{field: getattr(fmt, field) for field in fields}, rounding=rounding)


def _quantize_row(x: Tensor, name: str, rounding: str, repetitions: int) -> Row:
    fmt = formats.parse(name)
    cases = {
        "ours": lambda: quantize(x, fmt, rounding),
        "random": lambda: draw(x, uniforms=rounding == "stochastic"),
        "copy": x.clone,
    }
    if qtorch_quant():
        cases["theirs"] = partial(theirs(name, rounding), x)
    best = interleaved(cases, repetitions)
    goal = GOALS.get(name, "") if rounding == "stochastic" else ""
    return Row(
        f"quantize {name} {rounding}",
        torch.get_num_threads(),
        best["ours"],
        best.get("theirs"),
        "qtorch",
        goal,
        best["random"] + best["copy"],
    )


def _vc_row(x: Tensor, name: str, branch: str, variance: float, repetitions: int) -> Row:
    fmt, wide = formats.parse(name), branch == "v > v0"
    best = interleaved(
        {
            "ours": lambda: vc_quantize(x, variance, fmt),
            "gaussian": lambda: x + variance**0.5 * torch.randn_like(x),
            "random": lambda: draw(x, uniforms=1 + wide, normals=wide),
            "copy": x.clone,
        },
        repetitions,
    )
    return Row(
        f"vc_quantize {name} {branch}",
        torch.get_num_threads(),
        best["ours"],
        best["gaussian"],
        "μ + √v ξ in torch",
        floor=best["random"] + best["copy"],
    )
