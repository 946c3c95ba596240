"""Effective sample size, R-hat and autocorrelation on chains whose answer is known."""

import numpy as np
import pytest
import torch

from lpsgld.diagnostics import autocorrelation, effective_sample_size, rhat
from lpsgld.toy import chains
from lpsgld.toy.targets import Gaussian, Mixture


def langevin(alpha, steps, many, target=None, start=None):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(many, generator=generator) if start is None else start
    return chains.run(start, steps, target or Gaussian(), alpha, None, "full", generator=generator).numpy()


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0])
def test_effective_sample_size_of_langevin_steps(alpha):
    """An AR(1) chain with coefficient 1 - α is worth α/(2 - α) independent draws a step."""
    draws = langevin(alpha, 4000, 8)
    assert effective_sample_size(draws) == pytest.approx(32_000 * alpha / (2 - alpha), rel=0.15)
    memory = autocorrelation(draws, 20)
    assert memory.shape == (20,) and memory[0] == pytest.approx(1)
    assert np.abs(memory - (1 - alpha) ** np.arange(20)).max() < 0.1


def test_rhat_tells_chains_that_agree_from_those_that_do_not():
    assert rhat(langevin(0.5, 2000, 4)) < 1.01
    apart = torch.tensor([-1.5, -1.5, 1.5, 1.5])
    assert rhat(langevin(1e-3, 500, 4, Mixture((-1.5, 1.5), (0.3, 0.3)), apart)) > 1.5


def test_bad_draws():
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        rhat(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"\(10,\)"):
        effective_sample_size(np.zeros(10))
