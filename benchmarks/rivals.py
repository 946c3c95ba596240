"""One step of SGLD on ResNet-18 against other libraries that sample, those of them that are installed.

`posteriors` (PyPI) samples in full precision; `lpsgld_jax` (github.com/BoltMaxwell/low-precision-sgld-jax) in ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor
from torch.func import grad_and_value

from benchmarks.optimizer import NUM_DATA, STEP, TEMPERATURE
from benchmarks.timing import Row, interleaved
from lpsgld import SGLD
from lpsgld.bnn.network import models

ACCUMULATORS = {"full": "sgldlp_f", "naive": "naive", "vc": "vc"}  # their names


def rows(width: int, repetitions: int) -> Iterator[Row]:
    """Full precision against posteriors, then every accumulator in fixed and block format against lpsgld_jax."""
    if installed("posteriors.sgmcmc.sgld"):
        yield _posteriors_row(width, repetitions)
    if installed("jax") and installed("lpsgld_jax.optim_lp"):
        for name in ("fixed(8,8)", "block(8,0)"):
            for accumulator in ACCUMULATORS:
                yield _jax_row(name, accumulator, width, repetitions)


@cache
def installed(name: str) -> ModuleType | None:
    """The module of that name, or None, which is said."""
    try:
        return import_module(name)
    except ImportError as error:
        print(f"no comparison with {name}: {error}", file=sys.stderr)
        return None


def _parameters(width: int) -> dict[str, Tensor]:
    """The parameters of ResNet-18 with a gradient each."""
    net = models.build("resnet18", (3, 32, 32), 10, width=width).to(memory_format=torch.channels_last)
    for p in net.parameters():
        p.grad = 1e-2 * torch.randn_like(p)
    return dict(net.named_parameters())


def _ours(params: dict[str, Tensor], name: str | None, accumulator: str) -> Callable[[], None]:
    noise = dict(num_data=NUM_DATA, temperature=TEMPERATURE)
    return SGLD(params.items(), **STEP, **noise, weight=name, grad=name, accumulator=accumulator).step


def _posteriors_row(width: int, repetitions: int) -> Row:
    """Their update computes the gradient too: of a linear log-posterior here, whose time alone is taken off."""
    params = _parameters(width)
    slopes = {name: -p.grad for name, p in params.items()}
    theirs = {name: p.detach().clone() for name, p in params.items()}

    def log_posterior(x: dict[str, Tensor], batch) -> tuple[Tensor, Tensor]:
        return sum((x[name] * slopes[name]).sum() for name in x), torch.zeros(())

    transform = installed("posteriors.sgmcmc.sgld").build(
        log_posterior, lr=STEP["lr"], temperature=TEMPERATURE / NUM_DATA
    )
    state = transform.init(theirs)
    best = interleaved(
        {
            "ours": _ours(params, None, "full"),
            "theirs": lambda: transform.update(state, None, inplace=True),
            "gradient": lambda: grad_and_value(log_posterior, has_aux=True)(theirs, None),
        },
        repetitions,
    )
    return Row(
        "step, full precision",
        torch.get_num_threads(),
        best["ours"],
        best["theirs"] - best["gradient"],
        "posteriors",
        "2",
    )


def _jax_row(name: str, accumulator: str, width: int, repetitions: int) -> Row:
    params = _parameters(width)
    best = interleaved(
        {
            "ours": _ours(params, name, accumulator),
            "theirs": _jax_step(params, name, accumulator),
        },
        repetitions,
    )
    return Row(
        f"step, {accumulator}, {name}", torch.get_num_threads(), best["ours"], best["theirs"], "lpsgld_jax, jitted", "6"
    )


def _jax_step(params: dict[str, Tensor], name: str, accumulator: str) -> Callable[[], None]:
    """Their update and, with the full accumulator, the rounding of the weights, compiled as one and in place."""
    jax = installed("jax")
    forward, update = installed("lpsgld_jax.optim_lp").make_lp_update(
        ACCUMULATORS[accumulator],
        8,
        8,
        weight_decay=STEP["weight_decay"],
        temperature=TEMPERATURE,
        datasize=NUM_DATA,
        number=name.partition("(")[0],
    )

    def both(key, theta, slopes):
        theta = update(key, theta, slopes, STEP["lr"])
        return theta, forward(key, theta) if accumulator == "full" else ()

    compiled = jax.jit(both, donate_argnums=1)
    theta = {name: jax.numpy.array(p.detach().numpy()) for name, p in params.items()}
    slopes = {name: jax.numpy.array(p.grad.numpy()) for name, p in params.items()}
    key = jax.random.key(0)

    def step() -> None:
        nonlocal theta, key
        key, own = jax.random.split(key)
        theta, rounded = compiled(own, theta, slopes)
        jax.block_until_ready((theta, rounded))

    return step
