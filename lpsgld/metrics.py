"""How good are predictions? Accuracy, proper scores, calibration, uncertainty.

Of classes: pure functions of probabilities [..., C] (rows sum to 1) and labels [...] (whole numbers below C), computed
in float64. The axes before the last may be any, such as those of images, or of sentences and their tokens.
Softmax outputs of float16, bfloat16 and autocast are taken, too: rows that miss 1 by their rounding are scaled to it.
Where the probabilities come from (one network, or an average over posterior samples) is told in
`bnn/judging/ensemble.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_TINY = torch.finfo(torch.float32).tiny  # keeps log finite where a float32 softmax underflows
_TINY_HALF = 2.0**-24  # where a float16 softmax does: its smallest number
_MISSED = 2.0**-7  # twice what rounding a row to bfloat16 can take from its sum, or add to it


class MetricError(ValueError):
    """Probabilities or labels that cannot be scored."""


class Reliability(NamedTuple):
    """One row a bin of the reliability diagram; confidence and accuracy are NaN in an empty bin.

    edges: [B+1], bin i holds confidences in (edges[i], edges[i+1]] (0 belongs to the first bin). confidence,
    accuracy: [B], means over the bin's predictions. count: [B].
    """

    edges: Tensor
    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def error(probabilities: Tensor, labels: Tensor) -> float:
    """The share of wrong predictions, in [0, 1]. Ties go to the class with the lowest number."""
    p, y = _checked(probabilities, labels)
    return (p.argmax(1) != y).double().mean().item()


def nll(probabilities: Tensor, labels: Tensor) -> float:
    """Negative log likelihood, -mean log p(label), in nats. p is taken to be at least 1.2e-38 (6e-8 in float16)."""
    return nll_each(probabilities, labels).mean().item()


def nll_each(probabilities: Tensor, labels: Tensor) -> Tensor:
    """-log p(label) of each prediction, in nats [N], all axes but the last as one. p is bounded as in `nll`."""
    p, y = _checked(probabilities, labels)
    smallest = _TINY_HALF if torch.as_tensor(probabilities).dtype == torch.float16 else _TINY
    return -_of_label(p, y).clamp(min=smallest).log()


def brier(probabilities: Tensor, labels: Tensor) -> float:
    """Brier score, mean over predictions of Σ_c (p_c - [c = label])², in [0, 2] (Brier 1950)."""
    p, y = _checked(probabilities, labels)
    return (p.square().sum(1) - 2 * _of_label(p, y) + 1).mean().item()


def ece(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error, Σ_b (n_b/N) |accuracy_b - confidence_b|, equal-width bins (Guo et al. 2017)."""
    r = reliability(probabilities, labels, bins)
    gaps = (r.accuracy - r.confidence).abs().nan_to_num(0.0)
    return (r.count * gaps).sum().item() / r.count.sum().item()


def ece_paper(probabilities: Tensor, labels: Tensor) -> float:
    """ECE as in the paper's released evaluation: edges linspace(0, 1, 10), which makes 9 bins, not 10."""
    return ece(probabilities, labels, bins=9)


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Reliability:
    """Data of the reliability diagram: predictions grouped by confidence, the largest probability of each."""
    if not isinstance(bins, int) or bins < 1:
        raise MetricError(f"bins is {bins!r}, but must be a whole number from 1 up")
    p, y = _checked(probabilities, labels)
    confidence, predicted = p.max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=p.device)
    index = torch.bucketize(confidence, edges[1:-1])  # inner edges only: 0 and 1 stay in the outer bins
    count = torch.bincount(index, minlength=bins)
    correct = torch.bincount(index, weights=(predicted == y).double(), minlength=bins)
    total = torch.bincount(index, weights=confidence, minlength=bins)
    return Reliability(edges, total / count, correct / count, count)


def entropy(probabilities: Tensor) -> Tensor:
    """Predictive entropy -Σ_c p_c log p_c of each row, in nats: 0 (certain) to log C (no idea). [...]"""
    p = _checked_probabilities(probabilities)
    return torch.special.entr(p).sum(1).reshape(torch.as_tensor(probabilities).shape[:-1])


def abstention(probabilities: Tensor, labels: Tensor, kept: Tensor, doubt: Tensor | None = None) -> Tensor:
    """Accuracy when the network may say "I do not know": on the share `kept` of most confident predictions.

    kept: [K] shares in (0, 1]; at least one prediction is always kept. doubt: [...], by which to reject instead, the
    largest first. Returns [K]. Equal doubts keep their order in the data.
    """
    p, y = _checked(probabilities, labels)
    shares = torch.as_tensor(kept, dtype=torch.float64, device=p.device)
    if not bool(((shares > 0) & (shares <= 1)).all()):
        raise MetricError(f"shares kept are {shares.tolist()}, but each must be above 0 and at most 1")
    confidence, predicted = p.max(1)
    order = (-confidence if doubt is None else doubt.reshape(-1)).argsort(stable=True)
    running = (predicted == y)[order].double().cumsum(0)
    count = (shares * len(y)).round().long().clamp(min=1)
    return running[count - 1] / count


# ---- numbers -------------------------------------------------------------------------------------------------------
# members: [S, ...], what each of S networks predicts for targets [...]; std: of what is observed around a prediction, a
# number or [...]. The predictive distribution of a target is the mixture of the S Gaussians.


def rmse(prediction: Tensor, targets: Tensor) -> float:
    """Root of the mean squared error of predictions [...], such as `members.mean(0)`."""
    prediction, targets = _checked_numbers(prediction, targets)
    return (prediction - targets).square().mean().sqrt().item()


def gaussian_nll(members: Tensor, targets: Tensor, std: float | Tensor) -> float:
    """Negative log likelihood -mean log (1/S) Σ_s N(y; f_s, std²), in nats a target."""
    z, std = _standardized(members, targets, std)
    density = torch.logsumexp(-z.square() / 2, 0) - math.log(len(z)) - (std * math.sqrt(2 * math.pi)).log()
    return -density.mean().item()


def coverage(members: Tensor, targets: Tensor, std: float | Tensor, level: float = 0.9) -> float:
    """The share of targets inside the central interval that should hold `level` of them: calibrated where they agree.

    y is inside where its predictive distribution function (1/S) Σ_s Φ((y - f_s)/std) is within level/2 of 1/2.
    """
    if not 0 < level < 1:
        raise MetricError(f"level is {level!r}, but must be between 0 and 1")
    z, _ = _standardized(members, targets, std)
    return ((torch.special.ndtr(z).mean(0) - 0.5).abs() <= level / 2).double().mean().item()


def _standardized(members: Tensor, targets: Tensor, std: float | Tensor) -> tuple[Tensor, Tensor]:
    """(y - f_s)/std [S, ...], and std."""
    members, targets = torch.as_tensor(members), torch.as_tensor(targets)
    if members.dim() == 0 or len(members) == 0:
        raise MetricError(f"members have shape {tuple(members.shape)}, but must be [S, ...] with S at least 1")
    members, targets = _checked_numbers(members, targets[None].expand(len(members), *targets.shape))
    std = torch.as_tensor(std, dtype=torch.float64, device=members.device)
    if not bool((std > 0).all()):
        raise MetricError("std must be above 0 everywhere")
    return (targets - members) / std, std


def _checked_numbers(prediction: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    prediction = torch.as_tensor(prediction).double()
    targets = torch.as_tensor(targets, device=prediction.device).double()
    if prediction.shape != targets.shape or prediction.numel() == 0:
        raise MetricError(
            f"predictions have shape {tuple(prediction.shape)} and targets {tuple(targets.shape)}: these must be equal"
        )
    return prediction, targets


# ---- ensembles -----------------------------------------------------------------------------------------------------


def disagreement(votes: Tensor) -> Tensor:
    """How often two different members of an ensemble predict different classes, in [0, 1]. [N]

    votes: [N, C], how many members predict each class; each row has the same sum. 0 for a single member.
    """
    votes = torch.as_tensor(votes).double()
    members = votes.sum(1)
    agreeing = (votes * (votes - 1)).sum(1)  # ordered pairs of different members
    return torch.where(members > 1, 1 - agreeing / (members * (members - 1)), 0.0)


def pairwise_disagreement(members: Tensor) -> Tensor:
    """The share of predictions on which members i and j of an ensemble differ, in [0, 1]. [S, S]

    members: [S, N, C], the probabilities of each. The mean off the diagonal is that of `disagreement`.
    """
    predicted = members.argmax(2)
    return torch.stack([(predicted != row).double().mean(1) for row in predicted])


def mean_disagreement(shares: Tensor, groups: int = 1) -> float:
    """The mean of `pairwise_disagreement` over pairs of different members of the same group. Groups, such as the cycles
    of a step size, are consecutive members, equally many; one is everybody."""
    group = torch.arange(len(shares), device=shares.device) * groups // len(shares)
    return shares[(group[:, None] == group).fill_diagonal_(False)].mean().item()


def running_averages(members: Tensor) -> Tensor:
    """[S, N, C]: the average of the first 1, 2, ... S members' probabilities."""
    counts = torch.arange(1, len(members) + 1, dtype=torch.float64, device=members.device).view(-1, 1, 1)
    return members.double().cumsum(0) / counts


def shares(counts) -> np.ndarray:
    """Counts over their sum; all zeros stay zeros."""
    counts = np.asarray(counts, dtype=np.float64)
    return counts / max(counts.sum(), 1)


def summary(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """error, nll, brier, ece (15 bins), ece_paper (9 bins) and the mean predictive entropy, as plain numbers."""
    scores = {score.__name__: score(probabilities, labels) for score in (error, nll, brier, ece, ece_paper)}
    return scores | {"entropy": entropy(probabilities).mean().item()}


def _of_label(p: Tensor, y: Tensor) -> Tensor:
    return p.gather(1, y[:, None])[:, 0]


def _checked(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    p, shape = _checked_probabilities(probabilities), torch.as_tensor(probabilities).shape[:-1]
    y = torch.as_tensor(labels, device=p.device)
    if y.shape != shape or y.is_floating_point():
        raise MetricError(
            f"labels have shape {tuple(y.shape)} and type {y.dtype}, but {len(p)} predictions need "
            f"whole numbers of shape {tuple(shape)}"
        )
    y = y.reshape(-1).long()
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise MetricError(
            f"labels run from {y.min()} to {y.max()}, but {p.shape[1]} classes allow 0 to {p.shape[1] - 1}"
        )
    return p, y


def _checked_probabilities(probabilities: Tensor) -> Tensor:
    """[N, C], all axes before the last as one."""
    p = torch.as_tensor(probabilities).double()
    if p.dim() < 2 or 0 in p.shape:
        raise MetricError(f"probabilities have shape {tuple(p.shape)}, but must be [..., C], none of them 0")
    p = p.reshape(-1, p.shape[-1])
    total = p.sum(1, keepdim=True)
    missed = (total - 1).abs()
    if not bool(((p >= 0) & (p <= 1 + 1e-6)).all() & (missed <= _MISSED).all()):
        raise MetricError("probabilities must lie between 0 and 1 and each row must sum to 1: pass softmax outputs")
    return torch.where(missed > 1e-4, p / total, p)
