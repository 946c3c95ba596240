"""Walking and rolling chains of a network: what is measured, and that a seed decides it."""

import numpy as np
import pytest

from lpsgld.bnn.studies import rolling


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_chains_of_a_network_are_judged_image_by_image(momentum):
    settings = dict(bits=6, chains=2, networks=16)
    first, again, other = (rolling.sampled(0.1, momentum, "vc", 32, seed=seed, **settings) for seed in (0, 0, 1))
    assert first.rhat.shape == first.ess.shape == (360,) and first.draws == 32
    assert np.array_equal(first.rhat, again.rhat) and not np.array_equal(first.rhat, other.rhat)
    assert first.nll < np.log(10), "better than chance after 64 steps"
    assert first.medians == (np.median(first.rhat), np.median(first.ess))
