"""A small network on digits, sampled by walking and by rolling (notebook 12): how well do its chains agree?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from lpsgld import diagnostics
from lpsgld.bnn.data import datasets
from lpsgld.bnn.devices import seeded
from lpsgld.bnn.studies import sweep
from lpsgld.bnn.studies.sweep import Point, Settings
from lpsgld.samplers.accumulators import Accumulator
from lpsgld.samplers.sghmc import SGHMC
from lpsgld.samplers.sgld import SGLD


class Mixed(NamedTuple):
    """What several chains tell of the log probability that each test image's label gets: R-hat and effective sample
    size [images], and their medians. nll: of the average of all networks. draws: how many networks there are."""

    rhat: np.ndarray
    ess: np.ndarray
    nll: float
    draws: int

    @property
    def medians(self) -> tuple[float, float]:
        return float(np.median(self.rhat)), float(np.median(self.ess))


def sampled(
    lr: float,
    momentum: float | None,
    accumulator: Accumulator,
    steps: int,
    *,
    bits: int = 6,
    chains: int = 4,
    networks: int = 256,
    seed: int = 0,
) -> Mixed:
    """Chains of the MLP with 16 hidden units, weights in fixed(bits + 2, bits), at temperature 1; momentum None: SGLD.

    As many steps again are dropped first. Every chain keeps `networks` networks, at equal distances.
    """
    settings = Settings(
        model="mlp", width=16, lr=lr, seeds=chains, burn_in=steps, steps=steps, networks=networks, prior_std=0.5
    )
    data, cpu = sweep.reduced(datasets.load("digits"), settings), torch.device("cpu")
    sampler: Callable = SGLD if momentum is None else partial(SGHMC, momentum=momentum)
    x, labels = sweep.inputs(data, data.test_images), data.test_labels
    with seeded(cpu, seed):
        drawn = sweep.draw_networks(Point("sgld", accumulator, bits), settings, data, cpu, sampler)
        own = torch.stack([made.predict(made.weights, x)[:, torch.arange(len(x)), labels] for made in drawn])
    logs = own.clamp(min=1e-30).log().transpose(0, 1).numpy()
    nll = -own.mean(dim=(0, 1)).clamp(min=1e-30).log().mean().item()
    return Mixed(diagnostics.rhat(logs), diagnostics.effective_sample_size(logs), nll, chains * networks)
