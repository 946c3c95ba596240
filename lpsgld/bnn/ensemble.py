"""Posterior samples as one prediction: the average of their predictive probabilities.

p(y | x, data) ≈ (1/S) Σ_s softmax(f(x, θ_s)). Samples are read one at a time, so that memory does not grow with S.
How the samples came about is told in `training.py`, how predictions are scored in `metrics.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lpsgld.bnn import datasets, metrics, runs
from lpsgld.bnn.datasets import Dataset
from lpsgld.bnn.devices import pick_device, seeded
from lpsgld.bnn.models import set_activation_rounding
from lpsgld.bnn.runs import Run, RunError
from lpsgld.rounding import Rounding
from lpsgld.storage import load_sample

_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """What an ensemble says about a test set.

    labels: [N]. probabilities: [N, C], the average over all samples. last: [N, C], the last sample alone.
    member_entropy: [N], mean entropy of the samples' own predictions; the entropy of the average exceeds it by the
    mutual information between prediction and weights. disagreement: [N], how often two different samples predict
    different classes. curve: one dict a number of samples, {"samples": s} and `metrics.summary` of the first s.
    """

    labels: Tensor
    probabilities: Tensor
    last: Tensor
    member_entropy: Tensor
    disagreement: Tensor
    curve: list[dict[str, float]]

    @property
    def entropy(self) -> Tensor:
        """[N], entropy of the averaged prediction, in nats."""
        return metrics.entropy(self.probabilities)

    @property
    def mutual_information(self) -> Tensor:
        """[N], the part of the entropy that more data could remove, in nats, at least 0."""
        return (self.entropy - self.member_entropy).clamp(min=0)

    def summary(self) -> dict[str, Any]:
        """`metrics.summary` of "ensemble" and "last_sample", "samples" and the mean "disagreement"."""
        return {
            "samples": len(self.curve),
            "ensemble": metrics.summary(self.probabilities, self.labels),
            "last_sample": metrics.summary(self.last, self.labels),
            "disagreement": self.disagreement.mean().item(),
        }


def evaluate(
    run: Run | str | Path | Sequence[Run],
    dataset: Dataset | None = None,
    *,
    rounding: Rounding = "stochastic",
    device: str = "auto",
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """The ensemble of a run's samples on the test images of `dataset` (the run's own, if None).

    run: a run, several (chains), or the folder of either. Samples of several chains count in turn: the first of
    each, the second of each, ... rounding: how activations are rounded at test time; "stochastic" as in the paper.
    seed: of that rounding. Raises RunError if there is no sample, or if the images do not fit the network.
    """
    chains = _chains(run)
    if dataset is None:
        dataset = datasets.load(chains[0].recipe.dataset, cache)
    _require_fit(chains[0], dataset)
    members = predictions(chains, dataset, rounding=rounding, device=device, seed=seed)
    total = sum(len(chain.samples) for chain in chains)
    return combine(tqdm(members, "evaluate", total, unit="sample", disable=not progress), dataset.test_labels)


def predictions(
    run: Run | str | Path | Sequence[Run],
    dataset: Dataset,
    *,
    rounding: Rounding = "stochastic",
    device: str = "auto",
    seed: int = 0,
) -> Iterator[Tensor]:
    """Probabilities [N, C] of each posterior sample for the test images, one sample in memory at a time."""
    chains = _chains(run)
    where = pick_device(device)
    model = chains[0].recipe.build_model(dataset.image_shape, len(dataset.classes)).to(where)
    set_activation_rounding(model, rounding)
    for number, path in enumerate(_in_turn([chain.samples for chain in chains])):
        model.load_state_dict(load_sample(path).state)
        with seeded(where, seed, number):
            yield predict(model, dataset, dataset.test_images)


def predict(model: nn.Module, dataset: Dataset, images: Tensor) -> Tensor:
    """softmax of the model's logits for uint8 images, [N, C] on the CPU; normalised as the dataset's images are."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        batches = [model(dataset.normalize(batch.to(device))).softmax(1) for batch in images.split(_BATCH)]
    model.train(was_training)
    return torch.cat(batches).cpu()


def combine(members: Iterator[Tensor], labels: Tensor) -> Evaluation:
    """The evaluation of an ensemble whose members' probabilities [N, C] arrive one by one."""
    total, last, entropy, votes, curve = None, None, None, None, []
    for last in members:
        if total is None:
            total, votes = torch.zeros_like(last, dtype=torch.float64), torch.zeros_like(last, dtype=torch.float64)
            entropy = total.new_zeros(len(total))
        total += last
        votes += nn.functional.one_hot(last.argmax(1), last.shape[1])
        entropy += metrics.entropy(last)
        count = len(curve) + 1
        curve.append({"samples": count} | metrics.summary(total / count, labels))
    if last is None:
        raise RunError("there is no posterior sample to evaluate: the run has not come to its first one yet")
    return Evaluation(labels, total / count, last.double(), entropy / count, _disagreement(votes, count), curve)


def _disagreement(votes: Tensor, members: int) -> Tensor:
    """The share of ordered pairs of different members that vote differently; 0 for a single member."""
    pairs = members * (members - 1)
    return 1 - (votes * (votes - 1)).sum(1) / pairs if pairs else torch.zeros(len(votes), dtype=votes.dtype)


def _chains(run: Run | str | Path | Sequence[Run]) -> list[Run]:
    if isinstance(run, Run):
        return [run]
    return runs.open_all(run) if isinstance(run, str | Path) else list(run)


def _in_turn(files: list[list[Path]]) -> list[Path]:
    return [chain[i] for i in range(max(map(len, files), default=0)) for chain in files if i < len(chain)]


def _require_fit(run: Run, dataset: Dataset) -> None:
    trained = (tuple(run.dataset["image_shape"]), tuple(run.dataset["classes"]))
    if (dataset.image_shape, dataset.classes) != trained:
        raise RunError(
            f"{run.path} was trained on images of shape {trained[0]} in {len(trained[1])} classes, but {dataset.name} "
            f"has shape {dataset.image_shape} in {len(dataset.classes)}, or other classes"
        )
