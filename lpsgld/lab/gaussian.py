"""`lpsgld gaussian`: the paper's experiment on a Gaussian, held against its exact law, on the command line."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from lpsgld import formats, text
from lpsgld.files import write_atomically
from lpsgld.lab.style import SLIDE_DPI, role, saved
from lpsgld.lab.views import variance_correction as views
from lpsgld.text import Mistake
from lpsgld.toy.exact import stationary
from lpsgld.toy.targets import Gaussian

_KINDS = ("png", "svg", "pdf")


def command(options: argparse.Namespace) -> int:
    """Sample, print the standard deviation beside the exact one, and write the histogram. Raises Mistake."""
    out = options.out or Path(f"gaussian-{options.accumulator}.png")
    kind = text.one_of("kind of figure", out.suffix[1:].lower(), _KINDS, Mistake)
    if not 0 <= options.seed < 2**63:
        raise Mistake(f"--seed {options.seed}: it must be from 0 to 2^63 - 1")
    if options.chains < 2:
        raise Mistake(f"--chains {options.chains}: standard errors need at least 2")
    laws = dict(grad=options.grad, gradient_noise=options.gradient_noise, temperature=options.temperature)
    try:
        text.number("--relaxation-times", options.relaxation_times, positive=True)
        target, weight = Gaussian(options.mean, options.std), formats.parse(options.weight)
        exact = stationary(target, options.alpha, weight, options.accumulator, **laws)
        run = options.chains, options.relaxation_times, options.seed
        samples = views.sample(options.alpha, options.accumulator, *run, target=target, fmt=weight, **laws)
    except ValueError as error:
        raise Mistake(str(error)) from None
    who = role(options.accumulator)["label"]
    title = f"N({target.mean:g}, {target.std:g}²) in {formats.name(weight)}, α = {options.alpha:g}: {who}"
    std, error = _std(samples)
    print(
        f"{title}\n"
        f"standard deviation: {std:.4f} ± {error:.4f} ({samples.shape[0]} states of {samples.shape[1]} chains), "
        f"exact {exact.std:.4f}, target {target.std:.4f}"
    )
    gap = target.std / 8 if weight is None else weight.uniform.gap
    figure = views.histogram(samples, exact, target, gap, options.accumulator, title)
    write_atomically(out, saved(figure, format=kind, dpi=SLIDE_DPI))
    print(f"histogram: {out}")
    return 0


def _std(samples: torch.Tensor) -> tuple[float, float]:
    """The standard deviation of all states [states, chains], and its standard error, as chains are independent."""
    squares = (samples.double() - samples.double().mean()).square().mean(dim=0)  # of each chain
    std = math.sqrt(squares.mean())
    return std, float(squares.std() / math.sqrt(len(squares))) / (2 * std) if std else 0.0
