"""What do posterior samples buy that averaging alone would not? One network at several temperatures (notebook 09).

At temperature 0 nothing is sampled, but the networks at the end of the cycles can be averaged all the same: such
snapshots of a descent, on the same schedule, are the control of every sentence about samples. SGD as it is used stands
beside them: one descent to a small step size, and the average of its last networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lpsgld import diagnostics, metrics
from lpsgld.bnn.data import datasets
from lpsgld.bnn.devices import pick_device, provenance
from lpsgld.bnn.judging.ensemble import accuracy_on_rest, combine
from lpsgld.bnn.studies import shifts
from lpsgld.bnn.studies.shifts import Setting
from lpsgld.bnn.training import runs
from lpsgld.bnn.training.loop import train
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.diagnostics import Mixing
from lpsgld.files import user_path, write_atomically
from lpsgld.storage import StorageError
from lpsgld.text import json_by_rows, parse_json

SGD = "SGD"
SOURCES: Mapping[str, Setting] = {
    "as they are": ("rotated", 0.0),
    "rotated": ("rotated", 0.5),
    "noisy": ("noisy", 1.0),
    "inverted": ("inverted", 0.5),
}
_PLAIN = "as they are"


def name(temperature: float) -> str:
    """How the networks of a temperature are called: "T = 0" are the snapshots."""
    return f"T = {temperature:g}"


@dataclass(frozen=True)
class Control:
    """A finished study.

    recipe: of the sampler; each temperature takes the place of its own. chains: how many there are of each.
    rows: by who ("T = 0", ..., "SGD") and source (a name in SOURCES), {score: [a number a chain]}, see `scored`, and
    "mixing": `diagnostics.mixing` of the probability of each image's label.
    """

    recipe: Recipe
    chains: int
    dataset: dict[str, Any]
    provenance: dict[str, Any]
    rows: dict[str, dict[str, dict[str, Any]]]

    def scores(self, who: str, source: str, score: str) -> np.ndarray:
        """[chains, ...] of a row."""
        return np.array(self.rows[who][source][score])

    def spread(self, who: str, source: str, score: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean over chains of a score, and its standard error: [] or, of "cycle_nll", [cycles]."""
        return _mean_and_error(self.scores(who, source, score))

    def less(self, first: str, second: str, source: str, score: str) -> tuple[float, float]:
        """The score of the first less that of the second, mean over chains, and its standard error.

        Chains are paired: those of one number begin at the same weights and see the same batches.
        """
        return _mean_and_error(self.scores(first, source, score) - self.scores(second, source, score))

    def in_errors(self, first: str, second: str, source: str, score: str) -> float:
        """`less`, in its standard errors."""
        mean, error = self.less(first, second, source, score)
        return mean / error

    def drift(self, who: str, source: str) -> float:
        """NLL of the last cycle less that of the first, mean over chains, in standard errors."""
        nll = self.scores(who, source, "cycle_nll")
        mean, error = _mean_and_error(nll[:, -1] - nll[:, 0])
        return mean / error

    def mixing(self, who: str, source: str) -> Mixing | None:
        told = self.rows[who][source]["mixing"]
        return told and Mixing(**told)

    def table(self, scores: Mapping[str, str] = MappingProxyType({"nll": ".3f", "ece": ".1%", "error": ".1%"})) -> str:
        """Means over chains and their standard errors, and what the chains are worth; scores: name -> format."""
        lines = []
        for source in SOURCES:
            lines.append(f"\n{source:13}" + "".join(f"{score:>20}" for score in scores))
            for who in self.rows:
                told = ((self.spread(who, source, score), form) for score, form in scores.items())
                numbers = "".join(f"{f'{mean:{form}} ± {error:{form}}':>20}" for (mean, error), form in told)
                lines.append(f"  {who:11}{numbers}   {self.mixing(who, source)}")
        return "\n".join(lines)

    def write(self, path: str | Path) -> None:
        """One JSON file, with a line for each list of numbers."""
        write_atomically(user_path(path), json_by_rows(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: str | Path) -> Control:
        """Reads what `write` wrote. Raises StorageError for anything else."""
        try:
            fields = parse_json(user_path(path).read_bytes())
            return cls(**fields | {"recipe": Recipe.from_dict(fields["recipe"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StorageError(f"{path} holds no study of temperatures: {error}") from None


def compute(
    recipe: Recipe, temperatures: Sequence[float], chains: int, folder: str | Path, *, device: str = "auto"
) -> Control:
    """Train every chain at every temperature, and SGD, in `folder`, and judge them; what is trained already is kept."""
    data, folder = datasets.load(recipe.dataset), user_path(folder)
    images = shifts.series(data.test_images, sorted({strength for _, strength in SOURCES.values()}), recipe.seed)
    images = {setting: images[setting] for setting in SOURCES.values()}
    recipes = {name(t): recipe.override(temperature=t) for t in temperatures}
    recipes[SGD] = recipe.as_sgd().override(samples=recipe.samples)
    rows = {}
    for who, of in recipes.items():
        trained = [
            train(of, folder / f"{who}-{c}", dataset=data, device=device, chain=c, progress=False)
            for c in range(chains)
        ]
        told = [shifts.members(run, data, images, device=device, seed=recipe.seed) for run in trained]
        rows[who] = {
            source: _row(told, setting, data.test_labels, recipe.cycles) for source, setting in SOURCES.items()
        }
    described = {part: runs.describe(data)[part] for part in ("name", "train", "test", "image_shape", "fingerprint")}
    return Control(recipe, chains, described, provenance(pick_device(device)), rows)


def _row(told: Sequence[Mapping[Setting, Tensor]], setting: Setting, labels: Tensor, cycles: int) -> dict[str, Any]:
    plain = SOURCES[_PLAIN]
    each = [scored(chain[setting], chain[plain], labels, cycles) for chain in told]
    draws = torch.stack([chain[setting][:, torch.arange(len(labels)), labels] for chain in told])
    row = {score: [_short(of[score]) for of in each] for score in each[0]}
    mixed = diagnostics.mixing(draws)
    return row | {"mixing": mixed and mixed.told()}


def scored(members: Tensor, plain: Tensor, labels: Tensor, cycles: int = 1) -> dict[str, Any]:
    """What a chain's networks [S, N, C] say of one set of images, in numbers.

    nll, error, ece: of the average. last_nll, last_error, last_ece: of the last network. member_nll: the mean NLL of
    single networks. entropy, mutual_information: their means, in nats. cycle_nll: [cycles], of the average of the
    networks of each. rejected_by_confidence, rejected_by_mutual_information: error on the rest, if half of these
    images and of the same ones as they are, `plain`, are rejected: those of the least confidence, or those of the
    largest mutual information.
    """
    average, alone = members.double().mean(0), members[-1].double()
    evaluations = [combine(iter(of), labels) for of in (plain, members)]
    cycle = members.double().unflatten(0, (cycles, -1)).mean(1)
    scores = {"nll": metrics.nll, "error": metrics.error, "ece": metrics.ece}
    return (
        {score: judge(average, labels) for score, judge in scores.items()}
        | {f"last_{score}": judge(alone, labels) for score, judge in scores.items()}
        | {
            "member_nll": evaluations[1].member_nll,
            "entropy": evaluations[1].scores["entropy"],
            "mutual_information": evaluations[1].scores["mutual_information"],
            "cycle_nll": [metrics.nll(p, labels) for p in cycle],
            "rejected_by_confidence": 1 - accuracy_on_rest(evaluations, [0.5])[0],
            "rejected_by_mutual_information": 1 - accuracy_on_rest(evaluations, [0.5], "mutual_information")[0],
        }
    )


def _mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5


def _short(value: Any) -> Any:
    return [_short(part) for part in value] if isinstance(value, list) else float(f"{value:.5g}")
