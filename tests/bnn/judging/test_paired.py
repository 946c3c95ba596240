"""Differences image by image: their values are those of the metrics, their errors those of new test sets."""

import math

import numpy as np
import pytest
import torch

from lpsgld import metrics
from lpsgld.bnn.judging import paired
from lpsgld.bnn.judging.paired import Difference, Outcomes

SCORES = {"error": metrics.error, "nll": metrics.nll, "ece": metrics.ece}


def two_networks(images: int, seed: int):
    """Probabilities of two networks that find the same images hard, and the labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (images,), generator=random)
    shared = torch.randn(images, 10, generator=random) + 2.2 * torch.nn.functional.one_hot(labels, 10)
    own = [shared + 0.4 * torch.randn(images, 10, generator=random) for _ in range(2)]
    return (1.6 * own[0]).softmax(1).double(), own[1].softmax(1).double(), labels


def compared(images: int, seed: int) -> dict[str, Difference]:
    first, second, labels = two_networks(images, seed)
    return paired.compare(Outcomes.of(first, labels), Outcomes.of(second, labels))


def test_values_are_differences_of_the_metrics():
    first, second, labels = two_networks(500, seed=0)
    found = paired.compare(Outcomes.of(first, labels), Outcomes.of(second, labels))
    for name, score in SCORES.items():
        assert found[name].value == pytest.approx(score(first, labels) - score(second, labels), abs=1e-12)


def test_standard_errors_are_the_spread_over_new_test_sets():
    """200 test sets: their spread is known to 5 %, the error of one set's resamples to 4 %, its own luck to some 5 %;
    25 % is more than three of the three together."""
    values = [compared(400, seed) for seed in range(1, 201)]
    for name in SCORES:
        spread = np.std([found[name].value for found in values], ddof=1)
        told = np.mean([found[name].standard_error for found in values])
        assert told == pytest.approx(spread, rel=0.25), name


def test_the_same_images_are_drawn_for_all():
    first, _, labels = two_networks(300, seed=3)
    outcomes = [Outcomes.of(p, labels) for p in (first, first.flip(1).flip(1))]
    assert (outcomes[0].ece == outcomes[1].ece).all() and len(set(outcomes[0].ece)) > 300


def test_pairs_tell_more_than_two_independent_test_sets():
    first, second, labels = two_networks(2000, seed=0)
    errors = [metrics.error(p, labels) for p in (first, second)]
    apart = math.sqrt(sum(e * (1 - e) / len(labels) for e in errors))
    assert compared(2000, 0)["error"].standard_error < 0.7 * apart


def test_a_known_difference():
    """Of 100 images, 8 are right for the first alone, 3 for the second: -0.05, and Σ(d - mean)² = 11 - 100·0.05²."""
    first, second = np.arange(100) < 58, (np.arange(100) >= 8) & (np.arange(100) < 61)
    same = np.full(100, 0.5)
    found = paired.compare(Outcomes(first, same, same), Outcomes(second, same, same))["error"]
    assert found.value == pytest.approx(-0.05)
    assert found.standard_error == pytest.approx(math.sqrt((11 - 100 * 0.05**2) / 99 / 100))
    assert found.needed == pytest.approx(100 * (2 / found.standard_errors) ** 2)


def test_nothing_differs():
    found = compared(50, 0)
    same = paired.compare(*[Outcomes.of(*two_networks(50, 0)[1:])] * 2)
    assert all((d.value, d.standard_error, d.standard_errors, d.needed) == (0, 0, 0, math.inf) for d in same.values())
    assert all(d.standard_errors != 0 for d in found.values())
    assert Difference(-1.0, 0.0, 9).standard_errors == -math.inf


@pytest.mark.parametrize("images", [1, 63, 64, 65, 400])
def test_rows_come_back(images):
    first, _, labels = two_networks(images, seed=2)
    outcomes = Outcomes.of(first, labels)
    rows = outcomes.to_rows()
    back = Outcomes.from_rows(rows, images)
    assert (back.right == outcomes.right).all()
    assert back.nll == pytest.approx(outcomes.nll, rel=2**-11, abs=1e-7)
    assert back.confidence == pytest.approx(outcomes.confidence, rel=2**-11)
    assert max(len(part) for row in rows for part in row) <= 172


@pytest.mark.parametrize("count", [99, 101, 64])
def test_rows_of_another_number_of_images(count):
    first, _, labels = two_networks(100, seed=2)
    with pytest.raises(ValueError, match=f"of 100 predictions, not of {count}"):
        Outcomes.from_rows(Outcomes.of(first, labels).to_rows(), count)


def test_sets_of_different_sizes():
    one, other = (Outcomes.of(*two_networks(images, 0)[1:]) for images in (50, 60))
    with pytest.raises(ValueError, match="50 and 60 images cannot be compared one by one"):
        paired.compare(one, other)
