"""Scores against scikit-learn and against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, mean_squared_error

from lpsgld import metrics


def predictions(count: int = 4000, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Badly calibrated predictions, some of them certain (confidence exactly 1), right and wrong."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    labels = (logits + torch.randn(count, classes, generator=generator)).argmax(1)
    p = logits.softmax(1)
    p[:50] = torch.nn.functional.one_hot(labels[:50], classes).double()
    p[50:60] = torch.nn.functional.one_hot((labels[50:60] + 1) % classes, classes).double()
    return p, labels


def test_error_and_nll_equal_scikit_learn():
    p, y = predictions()
    assert metrics.error(p, y) == pytest.approx(np.mean(p.numpy().argmax(1) != y.numpy()))
    likely = p[60:], y[60:]  # scikit-learn clips probabilities of 0 in its own way
    assert metrics.nll(*likely) == pytest.approx(log_loss(likely[1], likely[0].numpy(), labels=range(10)), rel=1e-9)


def test_nll_of_an_impossible_label_is_large_and_finite():
    p, y = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    assert metrics.nll(p, y) == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))


def test_brier_by_hand():
    p, y = predictions()
    by_hand = np.mean(np.sum((p.numpy() - np.eye(10)[y.numpy()]) ** 2, axis=1))
    assert metrics.brier(p, y) == pytest.approx(by_hand, rel=1e-12)
    assert metrics.brier(torch.tensor([[0.0, 1.0]]), torch.tensor([0])) == 2.0


@pytest.mark.parametrize("bins", [1, 9, 10, 15])
def test_reliability_equals_scikit_learn(bins):
    p, y = predictions()
    r = metrics.reliability(p, y, bins)
    confidence, predicted = p.numpy().max(1), p.numpy().argmax(1)
    accuracy, mean_confidence = calibration_curve(predicted == y.numpy(), confidence, n_bins=bins)
    filled = r.count > 0
    np.testing.assert_allclose(r.accuracy[filled], accuracy, rtol=1e-12)
    np.testing.assert_allclose(r.confidence[filled], mean_confidence, rtol=1e-12)
    assert r.count.sum() == len(y)
    assert r.count[-1] >= 60  # confidence exactly 1 lands in the last bin
    gaps = abs(accuracy - mean_confidence) @ r.count[filled].numpy() / len(y)
    assert metrics.ece(p, y, bins) == pytest.approx(gaps, rel=1e-12)


def test_bins_are_open_below_and_closed_above():
    p = torch.tensor([[0.6, 0.4], [0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    r = metrics.reliability(p, torch.tensor([0, 0, 0]), bins=10)
    assert r.count.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1]
    assert r.accuracy[0].isnan() and r.confidence[0].isnan()


def test_ece_paper_has_the_nine_bins_of_linspace_0_1_10():
    p, y = predictions()
    assert len(metrics.reliability(p, y, 9).edges) == 10
    assert metrics.ece_paper(p, y) == metrics.ece(p, y, 9) != metrics.ece(p, y, 10)


def test_ece_of_certain_predictions_is_their_error():
    p, y = torch.eye(4, dtype=torch.float64), torch.tensor([0, 1, 2, 0])
    assert metrics.ece(p, y) == metrics.ece_paper(p, y) == 0.25


def test_entropy_equals_scipy():
    p, _ = predictions()
    np.testing.assert_allclose(metrics.entropy(p), stats.entropy(p.numpy(), axis=1), atol=1e-12)
    assert metrics.entropy(torch.full((1, 8), 1 / 8)).item() == pytest.approx(math.log(8))


def test_abstention_keeps_the_most_confident():
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    y = torch.tensor([0, 1, 0, 1])
    assert metrics.abstention(p, y, torch.tensor([0.01, 0.5, 0.75, 1.0])).tolist() == pytest.approx([1, 1, 2 / 3, 0.5])
    with pytest.raises(metrics.MetricError, match="above 0"):
        metrics.abstention(p, y, torch.tensor([0.0]))


def test_disagreement_is_the_share_of_pairs_that_differ():
    votes = torch.tensor([[3, 0, 0], [2, 1, 0], [1, 1, 1]])
    assert metrics.disagreement(votes).tolist() == pytest.approx([0, 2 / 3, 1])
    assert metrics.disagreement(torch.tensor([[1, 0]])).tolist() == [0]


def test_pairs_that_disagree_average_to_the_disagreement():
    members = torch.randn(5, 60, 4, generator=torch.Generator().manual_seed(0)).softmax(2)
    shares = metrics.pairwise_disagreement(members)
    predicted = members.argmax(2)
    assert shares[1, 4] == (predicted[1] != predicted[4]).double().mean()
    votes = torch.nn.functional.one_hot(predicted, 4).sum(0)
    assert shares.sum() / 20 == pytest.approx(metrics.disagreement(votes).mean().item())


def test_members_of_one_group_are_compared_with_each_other_only():
    members = torch.randn(6, 60, 4, generator=torch.Generator().manual_seed(0)).softmax(2)
    shares, predicted = metrics.pairwise_disagreement(members), members.argmax(2)
    for groups in (1, 2, 3):
        group = [i * groups // 6 for i in range(6)]
        pairs = [(i, j) for i in range(6) for j in range(i) if group[i] == group[j]]
        expected = np.mean([(predicted[i] != predicted[j]).double().mean() for i, j in pairs])
        assert metrics.mean_disagreement(shares, groups) == pytest.approx(expected)


def test_running_averages_and_shares():
    members = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)).softmax(2)
    averages = metrics.running_averages(members)
    assert averages.dtype == torch.float64 and torch.equal(averages[0], members[0].double())
    torch.testing.assert_close(averages[2], (members[0].double() + members[1] + members[2]) / 3)
    assert metrics.shares([3, 1]).tolist() == [0.75, 0.25] and metrics.shares([0, 0]).tolist() == [0, 0]


def test_summary_holds_every_score():
    p, y = predictions()
    summary = metrics.summary(p, y)
    assert list(summary) == ["error", "nll", "brier", "ece", "ece_paper", "entropy"]
    assert all(isinstance(value, float) for value in summary.values())


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (torch.tensor([[0.5, 0.6]]), torch.tensor([0]), "sum to 1"),
        (torch.tensor([[math.nan, 1.0]]), torch.tensor([0]), "between 0 and 1"),
        (torch.tensor([0.5, 0.5]), torch.tensor([0]), r"\[..., C\]"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([2]), "2 classes allow 0 to 1"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([0.0]), "whole numbers"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([0, 1]), r"shape \(2,\)"),
    ],
)
def test_bad_input_is_named(p, y, message):
    with pytest.raises(metrics.MetricError, match=message):
        metrics.ece(p, y)


def test_bins_must_be_whole():
    p, y = predictions(4)
    with pytest.raises(metrics.MetricError, match="bins is 0"):
        metrics.reliability(p, y, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 10, 1000, 50_000])
@pytest.mark.parametrize("cast", [False, True])
def test_softmax_outputs_of_narrow_types_are_scored(dtype, classes, cast):
    logits = torch.randn(200, classes, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % classes
    narrow = torch.softmax(logits.to(dtype), 1)
    p = narrow.float() if cast else narrow
    exact = torch.softmax(logits.double(), 1)
    assert metrics.error(p, labels) == pytest.approx(metrics.error(exact, labels), abs=0.03)
    gap = torch.finfo(dtype).eps
    assert metrics.nll(p, labels) == pytest.approx(metrics.nll(exact, labels), abs=12 * gap)
    assert metrics.summary(p, labels).keys() == metrics.summary(exact, labels).keys()


def test_a_float16_probability_of_zero_is_at_least_its_smallest_number():
    p = torch.tensor([[0.0, 1.0]], dtype=torch.float16)
    assert metrics.nll(p, torch.tensor([0])) == pytest.approx(24 * math.log(2))


def test_scores_within_autocast():
    labels = torch.arange(50) % 10
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = torch.randn(50, 30, generator=torch.Generator().manual_seed(0)) @ torch.ones(30, 10)
        assert 0 <= metrics.error(logits.softmax(1), labels) <= 1


def test_rows_that_are_no_probabilities_are_still_refused():
    p = torch.full((3, 4), 0.25)
    for wrong in (p * 1.01, p * 0.99, p - 0.3, torch.sigmoid(p)):
        with pytest.raises(metrics.MetricError, match="sum to 1"):
            metrics.error(wrong, torch.zeros(3, dtype=torch.long))


def test_axes_before_the_last_are_predictions_too():
    """Such as sentences and their tokens."""
    p, y = predictions(600)
    many, labels = p.reshape(20, 30, 10), y.reshape(20, 30)
    assert metrics.summary(many, labels) == metrics.summary(p, y)
    assert torch.equal(metrics.entropy(many), metrics.entropy(p).reshape(20, 30))
    assert torch.equal(metrics.abstention(many, labels, [0.3, 1]), metrics.abstention(p, y, [0.3, 1]))
    doubt = metrics.entropy(many)
    expected = metrics.abstention(p, y, [0.3, 1], doubt.flatten())
    assert torch.equal(metrics.abstention(many, labels, [0.3, 1], doubt), expected)
    with pytest.raises(metrics.MetricError, match=r"whole numbers of shape \(20, 30\)"):
        metrics.nll(many, y)


# ---- numbers -------------------------------------------------------------------------------------------------------


def mixtures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """members [3, 50, 2], targets, and the standard deviation around each."""
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(3, 50, 2, generator=generator, dtype=torch.float64)
    return members, 2 * torch.randn(50, 2, generator=generator, dtype=torch.float64), torch.rand(50, 2) + 0.5


def test_rmse_is_scikit_learns():
    members, targets, _ = mixtures()
    expected = mean_squared_error(targets.flatten(), members.mean(0).flatten()) ** 0.5
    assert metrics.rmse(members.mean(0), targets) == pytest.approx(expected)


def test_gaussian_nll_and_coverage_are_those_of_the_mixture():
    members, targets, std = mixtures()
    laws = [stats.norm(f.numpy(), std.numpy()) for f in members]
    density = np.mean([law.pdf(targets.numpy()) for law in laws], 0)
    assert metrics.gaussian_nll(members, targets, std) == pytest.approx(-np.log(density).mean())
    below = np.mean([law.cdf(targets.numpy()) for law in laws], 0)
    for level in (0.5, 0.9):
        inside = ((below > (1 - level) / 2) & (below < (1 + level) / 2)).mean()
        assert 0 < inside < 1 and metrics.coverage(members, targets, std, level) == pytest.approx(inside)


def test_of_one_member_they_are_those_of_a_gaussian():
    targets = torch.tensor([0.0, 1.0, -2.0, 1.7])
    assert metrics.gaussian_nll(torch.zeros(1, 4), targets, 1.0) == pytest.approx(-stats.norm.logpdf(targets).mean())
    assert metrics.coverage(torch.zeros(1, 4), targets, 1.0) == 0.5  # the interval of 90 % ends at 1.645
    far = metrics.gaussian_nll(torch.zeros(2, 1), torch.tensor([60.0]), 1.0)
    assert far == pytest.approx(1800 + math.log(2 * math.pi) / 2)  # where exp(-1800) is 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: metrics.rmse(torch.zeros(3), torch.zeros(3, 1)), r"shape \(3,\) and targets \(3, 1\)"),
        (lambda: metrics.gaussian_nll(torch.zeros(3), torch.zeros(3), 1.0), r"predictions have shape \(3,\)"),
        (lambda: metrics.gaussian_nll(torch.zeros(()), torch.zeros(()), 1.0), r"must be \[S, ...\]"),
        (lambda: metrics.coverage(torch.zeros(2, 3), torch.zeros(3), 0.0), "std must be above 0"),
        (lambda: metrics.coverage(torch.zeros(2, 3), torch.zeros(3), 1.0, level=90), "level is 90"),
    ],
)
def test_numbers_that_do_not_fit_are_named(call, told):
    with pytest.raises(metrics.MetricError, match=told):
        call()
