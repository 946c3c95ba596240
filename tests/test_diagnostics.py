"""Effective sample size, R-hat and autocorrelation on chains whose answer is known."""

import numpy as np
import pytest
import torch

from lpsgld.diagnostics import autocorrelation, effective_sample_size, mixing, rhat
from lpsgld.toy import chains
from lpsgld.toy.targets import Gaussian, Mixture


def langevin(alpha, steps, many, target=None, start=None):
    """Draws [chains, draws]."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(many, generator=generator) if start is None else start
    return chains.run(start, steps, target or Gaussian(), alpha, None, "full", generator=generator).T


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


def test_each_quantity_is_judged_alone():
    """Of one law, of two laws, and a constant; as tensor and as array, in any trailing shape."""
    draws = torch.randn(2, 200, 3, generator=torch.Generator().manual_seed(0))
    draws[1, :, 1] += 3
    draws[:, :, 2] = 0.5
    same, different, constant = rhat(draws)
    assert same < 1.02 and different > 1.5 and np.isnan(constant)
    both = np.stack([draws[:, :, :2].numpy()] * 5, axis=2)  # [2, 200, 5, 2]
    for judge in (rhat, effective_sample_size):
        assert judge(both).shape == (5, 2) and isinstance(judge(draws[:, :, 0]), float)
        assert (judge(both)[3] == [judge(draws[:, :, 0]), judge(draws[:, :, 1])]).all()
    memory = autocorrelation(both, 7)
    assert memory.shape == (7, 5, 2)
    assert memory[:, 3, 1] == pytest.approx(autocorrelation(draws[:, :, 1], 7), abs=1e-12)


@pytest.mark.parametrize(
    ("judge", "shape", "said"),
    [
        (rhat, (2, 3), r"\(2, 3\), but must be \[chains, draws, ...\] with at least 4 draws"),
        (effective_sample_size, (10,), r"\(10,\), but must be"),
        (effective_sample_size, (0, 10), r"\(0, 10\), but must be"),
        (rhat, (1, 10), r"\(1, 10\), but R-hat compares chains: give it 2"),
        (lambda draws: autocorrelation(draws, 11), (2, 10), "lags is 11, but must be from 1 to 10"),
        (lambda draws: autocorrelation(draws, 0), (2, 10), "lags is 0, but must be"),
    ],
)
def test_bad_draws(judge, shape, said):
    with pytest.raises(ValueError, match=said):
        judge(np.zeros(shape))


def test_mixing_tells_chains_that_agree_from_those_that_do_not():
    draws = np.random.default_rng(0).standard_normal((4, 100, 30))
    agreeing = mixing(draws)
    assert agreeing.rhat < 1.01 and 300 < agreeing.ess < 600 and agreeing.draws == 400
    draws[0] += 3
    assert mixing(draws).rhat > 1.4 and mixing(draws).suspicious == 1
    assert mixing(np.ones((2, 5, 3))) == (1.0, 0.0, 10.0, 10)
    assert mixing(draws[:1]) is None and mixing(draws[:, :3]) is None, "nothing to compare"
