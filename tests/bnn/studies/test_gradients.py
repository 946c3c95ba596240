"""Mini-batch gradients of the digits network, rounded and averaged."""

import pytest
import torch

from lpsgld import formats, quantize
from lpsgld.bnn.studies import gradients


@pytest.fixture(scope="module")
def collected():
    return gradients.collect((16,), 32, seed=0, steps=20, hidden=10)


def test_gradients_have_the_weights_shape_and_average_to_that_of_all_images(collected):
    few, whole = collected.gradients.values()
    assert list(collected.gradients) == [16, 1437] and few.shape == whole.shape == (32, *collected.weight.shape)
    off, spread = (few.mean(0) - whole[0]).norm(), few.std(0).norm() / 32**0.5
    assert off < 2 * spread, "640 numbers: the ratio is 1 within a few percent"
    again = gradients.collect((16,), 32, seed=0, steps=20, hidden=10)
    assert again.gradients[16].equal(few) and not few[0].equal(few[1])


def test_one_gradient_to_nearest_has_the_error_of_quantize(collected):
    whole = collected.gradients[1437]
    found = gradients.averaged(whole, "mxfp4", "nearest", seed=0)
    wrong = quantize(whole[0], "mxfp4", "nearest") - whole[0]
    assert found.counts == (1, 2, 4)
    assert found.error == pytest.approx([float(wrong.norm() / whole[0].norm())] * 3)
    assert found.bias == pytest.approx(found.error[0], rel=1e-4)
    assert found.zero == pytest.approx(float(((wrong == -whole[0]) & (whole[0] != 0)).sum() / (whole[0] != 0).sum()))


def test_stochastic_errors_average_out_down_to_what_is_clipped(collected):
    """In blocks of ones and halves nothing saturates; a block with 7.5, which ends at 6, loses a fifth of it."""
    fits = torch.full((64, 1, 32), 1.3)
    fits[..., 0] = 4.0
    found = gradients.averaged(fits, "mxfp4", "stochastic", seed=0)
    assert found.clipped == 0 and found.error[-1] == pytest.approx(found.error[0] / 8**0.5, rel=0.4)
    fits[..., 0] = 7.5
    found = gradients.averaged(fits, "mxfp4", "stochastic", seed=0)
    assert found.clipped == pytest.approx(1.5 / float(fits[0].norm()), rel=1e-5)
    assert found.bias == pytest.approx(found.clipped, rel=0.1)


def test_shares_of_branches_add_up_and_wide_noise_is_all_spline(collected):
    for fmt in ("bfloat16", "mxfp4", "e4m3"):
        shares, ratio = gradients.branch_shares(collected, fmt, 0.1, 1e-3, seed=0)
        assert sum(shares.values()) == pytest.approx(1) and ratio > 0
    shares, ratio = gradients.branch_shares(collected, "bfloat16", 0.1, 1.0, seed=0)
    assert shares["spline"] > 0.99 and ratio > 1
    with pytest.raises(formats.FormatError, match="nvfp4"):
        gradients.branch_shares(collected, "nvfp4", 0.1, 1.0, seed=0)
