"""Recorded results: a training run and its evaluation as one small JSON file, to be shown where the run is not.

A record holds what was computed (recipe, images, versions, hardware, seconds), how training went, and what the
evaluation said, ready to draw. It holds no weights and no path of the machine. Of a single image it tells whether
the ensemble was right, how sure it was, and its NLL, so that two results can be compared image by image (`compare`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lpsgld import metrics
from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.data.datasets import PREFIXES
from lpsgld.bnn.judging import paired
from lpsgld.bnn.judging.ensemble import Evaluation
from lpsgld.bnn.judging.paired import Difference, Outcomes
from lpsgld.bnn.training import runs
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.bnn.training.runs import Run
from lpsgld.files import user_path, write_atomically
from lpsgld.metrics import Reliability
from lpsgld.storage import StorageError
from lpsgld.text import json_by_rows, parse_json

WHO = ("ensemble", "last_sample")

_KIND, _VERSION = "lpsgld result", 1
_DIGITS = 6  # significant ones: finer than any test set can tell
_BINS, _ENTROPY_BINS = 15, 25
_MOST_OUTCOMES = 50_000  # 6 bytes each
_KEPT = torch.linspace(0.05, 1, 20, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A recorded result. All numbers have 6 significant digits.

    label       the data, in the words of who recorded it
    recipe      of the run; "folder:PATH" and the like keep only the last part of the path, here and in `dataset`
    dataset     what `runs.describe` tells of the test images; "trained_on" (name, number of images "train",
                fingerprint), if the run was trained on others
    rounding    of the activations at test time
    commit      of the code, or None
    chains      one dict a chain: its number "chain", its "seed" (not in older files: that of the recipe), "seconds"
                over all epochs, "provenance" and "history" as in `Run` (with "branches" in at most 25 of the epochs)
    scores      `Evaluation.summary`
    curve       one dict a number of samples: "samples" and `metrics.summary` of the average of the first ones
    reliability, abstention
                of the "ensemble" and the "last_sample": 15 bins; "accuracy" on the most confident shares "kept"
    entropy     histogram of the ensemble's predictive entropy, from 0 to log C nats: "edges", and the numbers of
                images in each bin that it got "right" and "wrong"
    outcomes    `Outcomes.to_rows` of the ensemble on each image; empty for more than 50,000 predictions, and
                in results of before
    """

    label: str
    recipe: Recipe
    dataset: dict[str, Any]
    rounding: str
    commit: str | None
    chains: list[dict[str, Any]]
    scores: dict[str, Any]
    curve: list[dict[str, float]]
    reliability: dict[str, dict[str, list]]
    abstention: dict[str, dict[str, list]]
    entropy: dict[str, list]
    outcomes: list[list[str]] = dataclasses.field(default_factory=list)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The epochs of the first chain, see `Run.history`."""
        return self.chains[0]["history"]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all epochs of all chains."""
        return sum(chain["seconds"] for chain in self.chains)

    @cached_property
    def each(self) -> Outcomes:
        """What became of each prediction of the ensemble. Raises StorageError if that was not recorded."""
        if not self.outcomes:
            raise StorageError(
                f"what became of each image of {self.label} was not recorded: evaluate again, with --json"
            )
        return Outcomes.from_rows(self.outcomes, self.dataset["test"])

    def diagram(self, who: str) -> Reliability:
        """The reliability diagram of the "ensemble" or the "last_sample"."""
        return Reliability(**{name: _tensor(column) for name, column in self.reliability[who].items()})


def make(
    run: Run | Sequence[Run],
    evaluation: Evaluation,
    *,
    rounding: str = "stochastic",
    dataset: Data | None = None,
    label: str | None = None,
    commit: str | None = None,
) -> Record:
    """The record of a run, or of several chains of one recipe.

    dataset: the one evaluated on, if it is not the run's own. label: what the images are, for example "CIFAR-10 as
    JPEG files"; the dataset's name, if None.
    """
    chains = [run] if isinstance(run, Run) else list(run)
    described = _described(chains[0], dataset) | {"test": len(evaluation.labels)}
    predictions = dict(zip(WHO, (evaluation.probabilities, evaluation.last), strict=True))
    labels = evaluation.labels
    parts = {
        "dataset": described,
        "rounding": rounding,
        "commit": commit,
        "chains": [
            {
                "chain": chain.chain,
                "seed": chain.recipe.seed,
                "seconds": sum(row["seconds"] for row in chain.history),
                "provenance": chain.provenance,
                "history": _with_fewer_branches(chain.history),
            }
            for chain in chains
        ],
        "scores": evaluation.summary(),
        "curve": evaluation.curve,
        "reliability": {
            who: {name: part.tolist() for name, part in metrics.reliability(p, labels, _BINS)._asdict().items()}
            for who, p in predictions.items()
        },
        "abstention": {
            who: {"kept": _KEPT.tolist(), "accuracy": metrics.abstention(p, labels, _KEPT).tolist()}
            for who, p in predictions.items()
        },
        "entropy": evaluation.entropy_histogram(_ENTROPY_BINS),
        "outcomes": Outcomes.of(predictions["ensemble"], labels).to_rows() if len(labels) <= _MOST_OUTCOMES else [],
    }
    recipe = chains[0].recipe
    recipe = recipe.override(dataset=_without_path(recipe.dataset))
    return Record(label=label or described["name"], recipe=recipe, **_rounded(parts))


def write(path: str | Path, record: Record) -> None:
    """Write a record, all or nothing. A file that is there is replaced if it is a record.

    Raises StorageError if it is none, FileError if the file cannot be written.
    """
    require_replaceable(path)
    body = {"kind": _KIND, "version": _VERSION} | _plain(record)
    write_atomically(user_path(path), json_by_rows(body | {"sha256": _digest(body)}))


def read(path: str | Path) -> Record:
    """The record in a file of `write`. Raises StorageError for a missing, foreign, changed or damaged file."""
    path = user_path(path)
    body = _body(path)
    if body.get("version") != _VERSION:
        raise StorageError(
            f"{path} is of version {body.get('version')}, but version {_VERSION} is needed: evaluate again"
        )
    if body.pop("sha256", None) != _digest(body):
        raise StorageError(f"{path} was changed after it was written: its checksum does not match")
    del body["kind"], body["version"]
    try:
        record = Record(**(body | {"recipe": Recipe.from_dict(body["recipe"])}))
        for field in dataclasses.fields(record):
            kind = next((kind for kind in (str, list, dict) if field.type.startswith(kind.__name__)), None)
            if kind and not isinstance(getattr(record, field.name), kind) and field.name != "commit":
                raise TypeError(f"{field.name} is no {kind.__name__}")
        runs.require_described(record.dataset)
        return record
    except (TypeError, KeyError, ValueError) as error:
        raise StorageError(f"{path} is a result of another lpsgld: {error}. Evaluate again") from None


def require_replaceable(path: str | Path) -> None:
    """Raises StorageError if something else than a record, or a damaged one, lies where a record is to be written."""
    path = user_path(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise StorageError(f"{path} is a device or a pipe")  # to read it may wait for ever
        if path.exists():
            _body(path)
    except (StorageError, OSError) as error:
        raise StorageError(f"{error}. It stays as it is: give another file, or move this one away") from None


def require_of(record: Record, recipe: Recipe, dataset: Data) -> None:
    """Raises StorageError, with what differs, unless the record is of chain 0 of that recipe, trained to its end and
    evaluated, with stochastic rounding, on those images."""
    first = record.chains[0] if len(record.chains) == 1 else {"chain": None, "history": []}
    there = {"recipe": record.recipe.to_dict(), "chain": first["chain"], "images": record.dataset.get("fingerprint")}
    named = recipe.override(dataset=_without_path(recipe.dataset))
    problems = runs.differences(there, {"recipe": named.to_dict(), "chain": 0, "images": dataset.fingerprint})
    if not problems and len(first["history"]) != recipe.epochs:
        problems = f"it was recorded after {len(first['history'])} of {recipe.epochs} epochs"
    if not problems and record.rounding != "stochastic":
        problems = f"activations were rounded to {record.rounding}"
    if problems:
        raise StorageError(f"the result is of another run: {problems}")


def read_all(folder: str | Path, pattern: str = "*.json") -> dict[str, Record]:
    """The records in a folder, by the names of their files without .json, sorted; none, if there is no folder."""
    return {path.stem: read(path) for path in sorted(Path(folder).glob(pattern))}


def comparable(results: Mapping[str, Record]) -> dict[str, Record]:
    """Those that tell of each image, all of the same images: of the most results that there are of any."""
    groups: dict[tuple, dict[str, Record]] = {}
    for name, record in results.items():
        if record.outcomes:
            groups.setdefault(_images(record), {})[name] = record
    return max(groups.values(), key=len, default={})


def compare(first: Record, second: Record) -> dict[str, Difference]:
    """`paired.compare` of two ensembles. Raises StorageError if they did not predict the same images, one by one."""
    if _images(first) != _images(second):
        raise StorageError(
            f"{first.label} and {second.label} are not the same test images: evaluate both runs on the same data"
        )
    return paired.compare(first.each, second.each)


def _images(record: Record) -> tuple[str, int]:
    return record.dataset["fingerprint"], record.dataset["test"]


def _body(path: Path) -> dict[str, Any]:
    """What the file of a record holds. Raises StorageError for any other file."""
    try:
        body = parse_json(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read the result {path}: {error.strerror}") from None
    except ValueError as error:
        raise StorageError(f"{path} is truncated, or no JSON: {error}") from None
    if not isinstance(body, dict) or body.get("kind") != _KIND:
        raise StorageError(f"{path} is JSON, but no result that `lpsgld evaluate RUN --json FILE` wrote")
    return body


def _described(run: Run, dataset: Data | None) -> dict[str, Any]:
    described = run.dataset if dataset is None else runs.describe(dataset)
    described = described | {"name": _without_path(described["name"])}
    if described["fingerprint"] != run.dataset["fingerprint"]:
        trained = {what: run.dataset[what] for what in ("name", "train", "fingerprint")}
        described["trained_on"] = trained | {"name": _without_path(trained["name"])}
    return described


def _with_fewer_branches(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history with `branches` in at most 25 epochs, the last among them: they are most of its size."""
    every = math.ceil(len(history) / 25)
    last = len(history) - 1
    return [
        {name: value for name, value in row.items() if name != "branches" or (last - i) % every == 0}
        for i, row in enumerate(history)
    ]


def _without_path(name: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), None)
    return name if prefix is None else prefix + Path(name.removeprefix(prefix)).name


def _rounded(value: Any) -> Any:
    """Floats to 6 significant digits, NaN (an empty bin) to None, in all depths."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def _tensor(column: list[float | None]) -> torch.Tensor:
    return torch.tensor([math.nan if value is None else value for value in column])


def _plain(record: Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)} | {
        "recipe": record.recipe.to_dict()
    }


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
