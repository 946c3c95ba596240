"""Shifted images: nothing happens at strength 0, the stated thing at strength 1, and the same for the same seed."""

import pytest
import torch

from lpsgld.bnn.studies.shifts import SHIFTS, shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(256, (40, 3, 9, 9), dtype=torch.uint8, generator=generator(1))


@pytest.mark.parametrize("kind", SHIFTS)
def test_images_stay_images(images, kind):
    before = images.clone()
    assert torch.equal(shift(images, kind, 0.0, generator()), images)
    for strength in (0.3, 1.0):
        moved = shift(images, kind, strength, generator())
        assert moved.shape == images.shape and moved.dtype == torch.uint8
        assert not torch.equal(moved, images) and torch.equal(images, before)


@pytest.mark.parametrize("kind", SHIFTS)
def test_the_same_seed_gives_the_same_images(images, kind):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, again, other = (shift(images, kind, 0.7, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected), "the caller's random numbers are left alone"
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (kind == "inverted")


def test_a_quarter_turn_to_either_side(images):
    turned = shift(images, "rotated", 1.0, generator())
    left, right = (torch.rot90(images, k, dims=(2, 3)) for k in (1, -1))
    is_left = (turned == left).flatten(1).all(1)
    is_right = (turned == right).flatten(1).all(1)
    assert bool((is_left ^ is_right).all())
    # 40 fair coins: fewer than 4 of a side once in 10^7
    assert 4 <= int(is_left.sum()) <= 36


def test_noise_has_the_stated_standard_deviation():
    """100,000 values far from both ends; 6 standard errors of a standard deviation are 1.3 % of it."""
    grey = torch.full((100, 1, 25, 40), 128, dtype=torch.uint8)
    noise = shift(grey, "noisy", 0.1, generator()).double() - 128
    assert noise.std().item() == pytest.approx((12.8**2 + 1 / 12) ** 0.5, rel=0.014)  # rounding adds 1/12
    assert abs(noise.mean().item()) < 6 * 12.8 / 100_000**0.5


def test_the_negative_and_the_grey_on_the_way(images):
    assert torch.equal(shift(images, "inverted", 1.0), 255 - images)
    grey = shift(images, "inverted", 0.5)
    assert grey.min() >= 127 and grey.max() <= 128


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("blurred", 0.5), ValueError, "no shift 'blurred': choose from rotated, noisy, inverted"),
        (("noisy", 1.5), ValueError, "strength is 1.5, but must be from 0"),
        (("noisy", float("nan")), ValueError, "strength is nan"),
    ],
)
def test_mistakes(images, arguments, error, message):
    with pytest.raises(error, match=message):
        shift(images, *arguments)
    with pytest.raises(TypeError, match="must be uint8"):
        shift(images.float(), "noisy", 0.5)
