"""Posterior samples as one prediction: the average of their predictive probabilities.

p(y | x, data) ≈ (1/S) Σ_s softmax(f(x, θ_s)). Samples are read one at a time, so that memory does not grow with S.
How the samples came about is told in `training/loop.py`, how predictions are scored in `metrics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lpsgld import diagnostics, metrics
from lpsgld.bnn import own
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.devices import pick_device, plain_torch, seeded
from lpsgld.bnn.judging.posterior import Posterior, in_turn
from lpsgld.bnn.network.models import set_activation_rounding
from lpsgld.bnn.network.prediction import predict
from lpsgld.bnn.training import runs
from lpsgld.bnn.training.recipes import RecipeError
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.rounding import Rounding

Model = str | Callable[..., nn.Module]  # a function that makes the network, or its name


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an ensemble says about a test set of N predictions: one for each input, or for each of its labels.

    labels: [N]. probabilities: [N, C], the average over all samples. last: [N, C], the last sample alone.
    member_nll: the mean NLL of the samples, each alone. member_entropy: [N], mean entropy of the samples' own
    predictions; the entropy of the average exceeds it by the mutual information between prediction and weights.
    disagreement: [N], how often two different samples predict different classes. label_draws: [chains, draws, N], the
    probability that each sample gave to the true label, in as many draws of each chain as the shortest one has. curve:
    one dict a number of samples, {"samples": s} and `metrics.summary` of the first s.
    """

    labels: Tensor
    probabilities: Tensor
    last: Tensor
    member_nll: float
    member_entropy: Tensor
    disagreement: Tensor
    label_draws: Tensor
    curve: list[dict[str, float]]

    @property
    def entropy(self) -> Tensor:
        """[N], entropy of the averaged prediction, in nats."""
        return metrics.entropy(self.probabilities)

    @property
    def mutual_information(self) -> Tensor:
        """[N], the part of the entropy that more data could remove, in nats, at least 0."""
        return (self.entropy - self.member_entropy).clamp(min=0)

    @cached_property
    def scores(self) -> dict[str, float]:
        """The last row of `curve`, which is that of all samples, and the mean "mutual_information"."""
        return self.curve[-1] | {"mutual_information": self.mutual_information.mean().item()}

    def entropy_histogram(self, bins: int) -> dict[str, list]:
        """Numbers of images whose entropy lies between the "edges" (0 to log C nats), "right" and "wrong" ones."""
        edges = torch.linspace(0, math.log(self.probabilities.shape[1]), bins + 1, dtype=torch.float64)
        entropy, wrong = self.entropy.clamp(0, edges[-1].item()), self.probabilities.argmax(1) != self.labels
        counts = {"right": entropy[~wrong], "wrong": entropy[wrong]}
        return {"edges": edges.tolist()} | {name: np.histogram(x, edges)[0].tolist() for name, x in counts.items()}

    def summary(self) -> dict[str, Any]:
        """Numbers of "samples" and "chains", `metrics.summary` of "ensemble" and "last_sample", the mean
        "disagreement", and "rhat": None for a single chain or fewer than 4 draws a chain, else the median R-hat of the
        predictive, the share of predictions above 1.01, and the median effective sample size."""
        mixed = diagnostics.mixing(self.label_draws)
        return {
            "samples": len(self.curve),
            "chains": len(self.label_draws),
            "ensemble": metrics.summary(self.probabilities, self.labels),
            "last_sample": metrics.summary(self.last, self.labels),
            "disagreement": self.disagreement.mean().item(),
            "rhat": mixed and {"median": mixed.rhat, "above_1.01": mixed.suspicious, "ess": mixed.ess},
        }


def evaluate(
    run: Run | str | Path | Sequence[Run],
    dataset: Data | None = None,
    *,
    model: Model | None = None,
    rounding: Rounding = "stochastic",
    device: str = "auto",
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """The ensemble of a run's samples on the test inputs of `dataset` (the run's own, if None).

    run: a run, several (chains), or the folder of either. Samples of several chains count in turn: the first of
    each, the second of each, ... model: the function that makes the network, or its name, if the run's is not to be
    found by its name here. rounding: how activations are rounded at test time; "stochastic" as in the paper.
    seed: of that rounding. cache: see `datasets.load`. Raises RunError if there is no sample, if the data do not fit
    the network or, not given here, are others now, StorageError for a model that makes another network.
    """
    chains = _chains(run)
    if dataset is None:
        dataset = images_of(chains[0], cache)
    members = predictions(chains, dataset, model=model, rounding=rounding, device=device, seed=seed)
    order = [number for number, _ in in_turn([chain.samples for chain in chains])]
    bar = tqdm(members, "evaluate", len(order), unit="sample", disable=not progress)
    with plain_torch(pick_device(device)):
        return combine(bar, dataset.parts[3], order)


def images_of(run: Run, cache: str | Path | None = None) -> Data:
    """The dataset that a run was trained on, as a whole if that was a subset. Raises RunError if it is another one now.

    cache: see `datasets.load`.
    """
    dataset, trained = datasets.load(run.recipe.dataset, cache), run.dataset
    parts = [dataset]
    if trained["train"] <= len(dataset.parts[0]) and trained["test"] <= len(dataset.parts[2]):
        parts.append(dataset.subset(trained["train"], trained["test"]))
    if trained["fingerprint"] not in [part.fingerprint for part in parts]:
        raise RunError(
            f"{run.path} was trained on other data than {dataset.name} has now (fingerprint {trained['fingerprint']} "
            f"then, {dataset.fingerprint} now). Bring those back, or name the dataset to be scored (--dataset)"
        )
    return dataset


def predictions(
    run: Run | str | Path | Sequence[Run],
    dataset: Data,
    *,
    model: Model | None = None,
    rounding: Rounding = "stochastic",
    device: str = "auto",
    seed: int = 0,
) -> Iterator[Tensor]:
    """Probabilities [N, C] or [N, L, C] of each posterior sample for the test inputs, one sample in memory at a time.

    Raises RunError for data that do not fit the network and, on the way, for a sample of another run or epoch,
    StorageError for a damaged one or another network's.
    """
    samples, where = posterior(run, dataset, model=model, rounding=rounding, device=device), pick_device(device)

    def predicted(number: int, net: nn.Module) -> Tensor:
        with seeded(where, seed, number), plain_torch(where):
            return predict(net, dataset, dataset.parts[2])

    return (predicted(number, net) for number, net in enumerate(samples.members()))


def posterior(
    run: Run | str | Path | Sequence[Run],
    dataset: Data,
    *,
    model: Model | None = None,
    rounding: Rounding = "stochastic",
    device: str = "auto",
) -> Posterior:
    """The samples of a run, of several, or of the folder of either, to be read: `average`, `draws`, `rhat`, ...

    dataset: any of the shape and the classes that the network was trained on, else RunError is raised. The others as in
    `evaluate`.
    """
    chains, where = _chains(run), pick_device(device)
    _require_fit(chains[0], dataset)
    recipe = chains[0].recipe
    if model is not None:
        recipe = recipe.override(model=own.name_of("model", model, RecipeError))
    # seeded only so that the caller's random numbers are left alone: weights come from files
    with seeded(where, 0), plain_torch(where):
        net = recipe.network(dataset).to(where)
    set_activation_rounding(net, rounding)
    return _OfRuns(chains, recipe.model, net)


def combine(members: Iterable[Tensor], labels: Tensor, order: Sequence[int] | None = None) -> Evaluation:
    """The evaluation of an ensemble whose members' probabilities [N, C] (or [N, L, C]) arrive one by one.

    order: the number of the chain that each member comes from; one chain, if None.
    """
    total, last, nll, entropy, votes, curve, drawn = None, None, 0.0, None, None, [], []
    labels = labels.flatten()
    for member in members:
        last = member.flatten(0, -2)
        if total is None:
            total, votes = torch.zeros_like(last, dtype=torch.float64), torch.zeros_like(last, dtype=torch.float64)
            entropy = total.new_zeros(len(total))
        total += last
        votes += nn.functional.one_hot(last.argmax(1), last.shape[1])
        nll += metrics.nll(last, labels)
        entropy += metrics.entropy(last)
        drawn.append(last.gather(1, labels[:, None])[:, 0])
        count = len(curve) + 1
        curve.append({"samples": count} | metrics.summary(total / count, labels))
    if last is None:
        raise RunError("there is no posterior sample to evaluate: the run has not come to its first one yet")
    return Evaluation(
        labels=labels,
        probabilities=total / count,
        last=last.double(),
        member_nll=nll / count,
        member_entropy=entropy / count,
        disagreement=metrics.disagreement(votes),
        label_draws=_by_chain(drawn, order or [0] * count),
        curve=curve,
    )


def accuracy_on_rest(
    evaluations: Sequence[Evaluation], rejected: Sequence[float], doubt: str | None = None
) -> list[float]:
    """The accuracy on the images of all these test sets that are left when each of the shares `rejected` of them is
    handed to somebody else: those of the least confidence, or of the most `doubt`, "entropy" or "mutual_information".
    """
    probabilities, labels = (torch.cat([getattr(e, of) for e in evaluations]) for of in ("probabilities", "labels"))
    doubts = None if doubt is None else torch.cat([getattr(e, doubt) for e in evaluations])
    return metrics.abstention(probabilities, labels, [1 - share for share in rejected], doubts).tolist()


def _by_chain(drawn: list[Tensor], order: Sequence[int]) -> Tensor:
    chains: dict[int, list[Tensor]] = {}
    for chain, values in zip(order, drawn, strict=True):
        chains.setdefault(chain, []).append(values)
    shortest = min(map(len, chains.values()))
    return torch.stack([torch.stack(values[:shortest]) for values in chains.values()])


def _chains(run: Run | str | Path | Sequence[Run]) -> list[Run]:
    if isinstance(run, str | Path):
        return runs.open_all(run)
    chains = [run] if isinstance(run, Run) else list(run)
    runs.require_chains(chains)
    return chains


class _OfRuns(Posterior):
    """The samples that training kept, each with the run and the epoch that it must be of."""

    def __init__(self, runs_of_chains: list[Run], model: str, net: nn.Module) -> None:
        super().__init__(runs_of_chains[0].path, net)
        self._named = f"{model} makes here"
        self._owners = {path: run for run in runs_of_chains for path in run.samples}
        self._runs = runs_of_chains

    @property
    def chains(self) -> list[list[Path]]:
        return [run.samples for run in self._runs]

    def keep(self, **origin: object) -> Path:
        raise RunError(f"{self.folder} is a run, whose samples its training keeps: keep others in another folder")

    def _state(self, path: Path) -> dict[str, Tensor]:
        return runs.load_sample(self._owners[path], path).state


def _require_fit(run: Run, dataset: Data) -> None:
    trained, given = run.dataset, runs.describe(dataset)
    if any(trained.get(of) != given.get(of) for of in ("classes", "image_shape", "input_shape", "vocabulary")):
        what = "images" if "image_shape" in trained else "inputs"
        shape = tuple(trained.get("image_shape") or trained["input_shape"])
        raise RunError(
            f"{run.path} was trained on {what} of shape {shape} in {len(trained['classes'])} classes, but "
            f"{dataset.name} has shape {dataset.shape} in {len(dataset.classes)}, or other classes, or counts other "
            "words"
        )
