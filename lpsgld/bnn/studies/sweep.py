"""The bits sweep: how good are small networks whose weights have 1, 2, 3, ... fractional bits?

For SGD and SGLD, each accumulator and each number of bits, a few independent chains train at once and give networks,
which are scored alone and averaged. A `Sweep` is the result as data, read from and written to JSON; how it is drawn is
told in `lab/views/networks/bits_sweep.py`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from lpsgld import diagnostics, metrics
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.devices import pick_device, plain_torch, provenance, seeded
from lpsgld.bnn.network import models
from lpsgld.bnn.training import runs
from lpsgld.diagnostics import Mixing
from lpsgld.files import user_path, write_atomically
from lpsgld.samplers.accumulators import Accumulator
from lpsgld.samplers.sgld import SGLD
from lpsgld.text import Mistake, check_fields, json_by_rows, one_of, parse_json

SAMPLERS = ("sgd", "sgld")
ACCUMULATORS: tuple[Accumulator, ...] = ("full", "naive", "vc")
CURVES = (("sgd", "full"), ("sgd", "naive"), ("sgld", "full"), ("sgld", "naive"), ("sgld", "vc"))
SCORES = {"nll": metrics.nll, "error": metrics.error, "ece": metrics.ece}
BIN = 1 / 16  # width of the bins of the weights' histograms
_CENTRES = (np.arange(129) - 64) * BIN  # of the bins: -4, ..., 4


class SweepError(Mistake, ValueError):
    """Settings that make no sense, or a file that holds no sweep."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what a sweep computes: one model at one step size.

    dataset        a name of `datasets.load`; train, test: how many of its images are used, at most
    model          "logistic", or "mlp" with `width` hidden units
    samplers       of "sgd" (no noise) and "sgld" (temperature 1: the posterior itself)
    bits           the fractional bits F; weights are fixed(F + integer_bits, F), one integer bit being the sign
    lr             constant step size on the mean loss: α = lr/N
    prior_std      σ of the Gaussian prior N(0, σ²) of every weight and bias; SGD has it as weight decay 1/(Nσ²)
    round_gradients  whether the gradients of the mean loss are rounded to the weights' format too
    burn_in, steps   optimizer steps before the first and in which all networks are kept
    networks       how many networks each chain gives, at equal distances; a power of two
    seeds          independent chains: initial weights, batches and noise all differ
    seed           root of all randomness
    """

    dataset: str = "digits"
    train: int = 2000
    test: int = 2000
    model: str = "logistic"
    width: int = 100
    samplers: tuple[str, ...] = ("sgd", "sgld")
    bits: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    integer_bits: int = 3
    lr: float = 0.4
    prior_std: float = 0.3
    round_gradients: bool = False
    batch_size: int = 64
    burn_in: int = 1200
    steps: int = 4096
    networks: int = 32
    seeds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, SweepError)
        if not self.samplers or not set(self.samplers) <= set(SAMPLERS):
            raise SweepError(f'samplers are {self.samplers}, but must be some of "sgd" and "sgld"')
        if not self.bits or list(self.bits) != sorted(set(self.bits)):
            raise SweepError(f"bits are {self.bits}, but must be different numbers in rising order")
        if self.networks < 1 or self.networks & (self.networks - 1) or self.steps % self.networks:
            raise SweepError(
                f"networks is {self.networks} and steps is {self.steps}, but networks must be a power of two that "
                "divides steps"
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """How many networks are averaged: 1, 2, 4, ..., `networks`."""
        return tuple(2**k for k in range(self.networks.bit_length()))

    @property
    def curves(self) -> list[tuple[str, str]]:
        """The pairs (sampler, accumulator) of the sweep."""
        return [curve for curve in CURVES if curve[0] in self.samplers]

    def usual_count(self, sampler: str) -> int:
        """How many networks predict together, as each sampler is used: the last one of SGD, all of SGLD."""
        return 1 if sampler == "sgd" else self.networks

    def points(self) -> list[Point]:
        """Every point of the sweep: float32 first, for each sampler, then each accumulator with each number of bits."""
        reference = [Point(sampler, "full", None) for sampler in self.samplers]
        return reference + [Point(*curve, bits) for curve in self.curves for bits in self.bits]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Settings:
        """Reads what `to_json` wrote. Raises SweepError for an unknown field."""
        if not isinstance(fields, dict):
            raise SweepError("settings are an object of fields")
        for name in fields:
            one_of("setting", name, cls.__dataclass_fields__, SweepError)
        return cls(**fields)


@dataclass(frozen=True)
class Point:
    """One setting of sampler ("sgd", "sgld"), accumulator and fractional bits; None is float32."""

    sampler: str
    accumulator: str
    bits: int | None

    @property
    def key(self) -> tuple[int, int, int]:
        """Its own stream of random numbers, whatever other points a sweep has (see `devices.seeded`)."""
        return SAMPLERS.index(self.sampler), ACCUMULATORS.index(self.accumulator), self.bits or 0

    def __str__(self) -> str:
        return f"{self.sampler}-{self.accumulator}-{'float32' if self.bits is None else self.bits}"


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    rows: by `str(point)`, {"nll": {count: [a number a seed]}, "error": ..., "ece": ..., "unrounded": [a number a seed],
    "mixing": `diagnostics.mixing` of the probability of each test image's label, "std": [a number a seed], "histogram":
    [129], "seconds"}. The score of `count` networks is that of their averaged prediction, and the mean over all sets of
    so many networks at equal distances in the chain. unrounded: NLL of the average of all networks, had they what the
    accumulator remembers for weights. std: root mean square weight. histogram: share of weights around -4, -4 + 1/16,
    ..., 4 (beyond: in the outermost), over all networks and seeds.
    """

    settings: Settings
    dataset: dict[str, Any]
    provenance: dict[str, Any]
    rows: dict[str, dict[str, Any]]

    def scores(self, sampler: str, accumulator: str, score: str = "nll", count: int | None = None) -> np.ndarray:
        """[bits, seeds] scores of `count` networks averaged (as the sampler is used, if None)."""
        points = (Point(sampler, accumulator, bits) for bits in self.settings.bits)
        return np.array([self._score(point, score, count) for point in points])

    def reference(self, sampler: str, score: str = "nll", count: int | None = None) -> np.ndarray:
        """[seeds] the same in float32."""
        return self._score(Point(sampler, "full", None), score, count)

    def spread(
        self, sampler: str, accumulator: str, score: str = "nll", count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """[bits] mean and standard deviation over seeds of `scores`."""
        scores = self.scores(sampler, accumulator, score, count)
        return scores.mean(axis=1), scores.std(axis=1, ddof=1)

    def excess(self, sampler: str, accumulator: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """[bits] NLL above that of the same sampler in float32, mean over seeds, and its standard error."""
        few, many = self.scores(sampler, accumulator, "nll", count), self.reference(sampler, "nll", count)
        variance = few.var(axis=1, ddof=1) + many.var(ddof=1)
        return few.mean(axis=1) - many.mean(), np.sqrt(variance / self.settings.seeds)

    def needed_bits(
        self, sampler: str, accumulator: str, tolerance: float, count: int | None = None, errors: float = 0.0
    ) -> int | None:
        """The fewest bits from which on the NLL exceeds that in float32 by less than the tolerance; None: more.

        errors: standard errors that are added to each excess first. With -2 and 2, what comes out are the fewest bits
        that the chains do not exclude, and the fewest that they vouch for.
        """
        mean, error = self.excess(sampler, accumulator, count)
        fits = mean + errors * error < tolerance
        return next((b for i, b in enumerate(self.settings.bits) if fits[i:].all()), None)

    def seen(self, sampler: str, accumulator: str, count: int | None = None) -> int:
        """With how many numbers of bits, from the fewest on, the excess is above twice its standard error."""
        mean, error = self.excess(sampler, accumulator, count)
        return int((mean > 2 * error).cumprod().sum())

    def power(self, sampler: str, accumulator: str, count: int | None = None) -> tuple[float, float]:
        """The p of `excess` ∝ Δ^p, and its standard error: a line through the logarithms of those that are `seen`.

        Generalised least squares, since the errors are not independent: all have the same float32 taken off. At least
        two must be seen.
        """
        n = self.seen(sampler, accumulator, count)
        mean = self.excess(sampler, accumulator, count)[0][:n]
        few, many = self.scores(sampler, accumulator, "nll", count)[:n], self.reference(sampler, "nll", count)
        covariance = np.diag(few.var(axis=1, ddof=1)) + many.var(ddof=1)
        weight = np.linalg.inv(covariance / np.outer(mean, mean) / self.settings.seeds)
        line = np.column_stack([np.ones(n), -np.log(2) * np.array(self.settings.bits[:n])])
        inverse = np.linalg.inv(line.T @ weight @ line)
        return float((inverse @ line.T @ weight @ np.log(mean))[1]), float(np.sqrt(inverse[1, 1]))

    def rivals(self) -> np.ndarray:
        """[3, bits] averages of SGLD less those of SGD, in standard errors: with accumulators full and full, naive and
        naive, VC and naive."""
        pairs, count = (("full", "full"), ("naive", "naive"), ("vc", "naive")), self.settings.networks
        both = [(self.scores("sgld", a, count=count), self.scores("sgd", b, count=count)) for a, b in pairs]
        return np.array([[standard_errors(*at) for at in zip(*pair, strict=True)] for pair in both])

    def unrounded(self, bits: int) -> np.ndarray:
        """[seeds] NLL of the average of SGLD with a full-precision accumulator, of θ itself in place of Q_W(θ)."""
        return np.array(self.rows[str(Point("sgld", "full", bits))]["unrounded"])

    def mixing(self, point: Point) -> Mixing | None:
        """What the chains of a point are worth for the probability that each test image's label gets, if anything."""
        told = self.rows[str(point)]["mixing"]
        return told and Mixing(**told)

    def std(self, sampler: str, accumulator: str, bits: int) -> float:
        """Root mean square weight, mean over seeds."""
        return float(np.mean(self.rows[str(Point(sampler, accumulator, bits))]["std"]))

    def density(self, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """Density of a point's weights [B] and the edges of its bins [B+1], as wide as the gap, or `BIN` if that is
        finer."""
        width = BIN if point.bits is None else max(BIN, 2.0**-point.bits)
        every = round(width / BIN)  # the bins between the numbers of the grid are empty
        shares, centres = np.array(self.rows[str(point)]["histogram"])[::every], _CENTRES[::every]
        return shares / width, np.append(centres - width / 2, centres[-1] + width / 2)

    def _score(self, point: Point, score: str, count: int | None) -> np.ndarray:
        return np.array(self.rows[str(point)][score][str(count or self.settings.usual_count(point.sampler))])

    def write(self, path: Path) -> None:
        """One JSON file, with a line for each list of numbers. Raises SweepError if another kind of file is there."""
        path = user_path(path)
        if path.exists():
            _object(path, "settings")
        write_atomically(path, json_by_rows(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """Reads what `write` wrote. Raises SweepError for anything else."""
        path = user_path(path)
        data = _object(path, "settings")
        try:
            sweep = cls(Settings.from_dict(data.pop("settings")), **data)
            missing = [str(point) for point in sweep.settings.points() if str(point) not in sweep.rows.keys()]
        except (ValueError, TypeError, AttributeError) as error:
            raise SweepError(f"{path} holds no sweep ({error}): move it away, or restore it") from None
        if missing:
            raise SweepError(f"{path} lacks {missing[0]}: move it away, or restore it")
        return sweep


def standard_errors(higher: np.ndarray, lower: np.ndarray) -> float:
    """The difference of two means over independent seeds, in its standard errors."""
    error = np.sqrt(higher.var(ddof=1) / len(higher) + lower.var(ddof=1) / len(lower))
    return float((higher.mean() - lower.mean()) / error)


def find(settings: Settings, folder: Path) -> Sweep | None:
    """The sweep among a folder's *.json that has these settings, whatever its bits and its number of seeds."""
    sweeps = (Sweep.read(path) for path in sorted(folder.glob("*.json")))
    free = {"bits": settings.bits, "seeds": settings.seeds}
    return next((sweep for sweep in sweeps if dataclasses.replace(sweep.settings, **free) == settings), None)


def compute(
    settings: Settings,
    folder: Path,
    *,
    dataset: Dataset | None = None,
    device: str = "auto",
    progress: bool = True,
    cache: str | Path | None = None,
) -> Sweep:
    """Compute a sweep in `folder`, point by point; points that are there already are not computed again.

    dataset: the settings' own, if None. Raises DatasetError; RunError if another process writes there; SweepError for a
    file there that is no point, or one of other settings or images; NonFiniteGradient if a chain diverges.
    """
    folder = user_path(folder)
    where = pick_device(device)
    data = reduced(datasets.load(settings.dataset, cache) if dataset is None else dataset, settings)
    with runs.locked(folder):
        about = folder / "about.json"
        if not about.exists():
            write_atomically(about, json.dumps(provenance(where)))
        made = _object(about, "started")
        rows = {}
        with tqdm(settings.points(), unit="point", disable=not progress, desc=settings.model) as bar:
            for point in bar:
                bar.set_postfix_str(str(point))
                path, origin = folder / f"{point}.json", _origin(point, settings, data)
                if not path.exists():
                    with seeded(where, settings.seed, *point.key), plain_torch(where):
                        write_atomically(path, json.dumps({"of": origin} | _measure(point, settings, data, where)))
                rows[str(point)] = _row(path, origin)
    seconds = sum(row["seconds"] for row in rows.values())
    described = runs.describe(data)
    kept = {name: described[name] for name in ("name", "train", "test", "image_shape", "fingerprint")}
    return Sweep(settings, kept, made | {"seconds": round(seconds, 1)}, rows)


def _origin(point: Point, settings: Settings, data: Dataset) -> dict[str, Any]:
    """What decides a point's numbers: itself, the settings that it shares with the others, and the images."""
    shared = {name: value for name, value in dataclasses.asdict(settings).items() if name not in ("bits", "samplers")}
    return shared | {"point": str(point), "images": data.fingerprint}


def _row(path: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a point. Raises SweepError for another file, or if they are of another origin."""
    row = _object(path, *SCORES, "unrounded", "mixing", "std", "histogram", "seconds")
    told = row.pop("of", origin)  # a file of an older lpsgld does not tell
    told = told if isinstance(told, dict) else {}
    others = [f"{n} is {told.get(n)!r} there and {value!r} here" for n, value in origin.items() if told.get(n) != value]
    if others:
        raise SweepError(f"{path} is of another sweep: {'; '.join(others)}. Move it away, or give another folder")
    return row


def _object(path: Path, *names: str) -> dict[str, Any]:
    """The object in a JSON file, which has these fields at least. Raises SweepError for any other file."""
    try:
        found = parse_json(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        for name in names:
            one_of("field", name, found)
    except OSError as error:
        raise SweepError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SweepError(f"{path} holds no sweep ({error}): move it away, or restore it") from None
    return found


def reduced(data: Dataset, settings: Settings) -> Dataset:
    """At most as many images as the settings say; the whole dataset if it has no more."""
    sizes = min(settings.train, len(data.train_labels)), min(settings.test, len(data.test_labels))
    whole = sizes == (len(data.train_labels), len(data.test_labels))
    return data if whole else data.subset(*sizes, seed=0)


def inputs(data: Dataset, images: Tensor) -> Tensor:
    """[N, D]: normalised pixels, scaled so that the mean |x|² is about 64 whatever the number of pixels.

    That is what 8x8 images have by themselves: so step size, prior and grid mean the same on every dataset.
    """
    flat = data.normalize(images).flatten(1)
    return flat * (8 / flat.shape[1] ** 0.5)


class Networks(NamedTuple):
    """The networks of all chains at one step.

    weights: [seeds, P], what they compute with. accumulator: [seeds, P], what the chain remembers, which is the same
    unless the accumulator is "full". predict: (weights, inputs [N, D]) -> probabilities [seeds, N, C].
    """

    weights: Tensor
    accumulator: Tensor
    predict: Callable[[Tensor, Tensor], Tensor]


def draw_networks(
    point: Point, settings: Settings, data: Dataset, device: torch.device, sampler: Callable[..., Any] = SGLD
) -> Iterator[Networks]:
    """Train `settings.seeds` chains side by side and give their networks, `settings.networks` times.

    sampler: what makes the optimizer, with the arguments of `SGLD`. Random numbers come from torch's default
    generators.
    """
    build = lambda: models.build(settings.model, data.image_shape, len(data.classes), width=settings.width)  # noqa: E731
    layers = [m for m in build().modules() if isinstance(m, nn.Linear)]
    rows = [torch.cat([p.flatten() for p in build().parameters()]) for _ in range(settings.seeds)]
    weights = torch.stack(rows).detach().to(device).requires_grad_()

    def logits(rows: Tensor, x: Tensor) -> Tensor:
        """[seeds, B, C]: the networks of all chains at once, each on its own batch [seeds, B, D]."""
        parts = iter(rows.split([p.numel() for layer in layers for p in (layer.weight, layer.bias)], dim=1))
        for number, layer in enumerate(layers):
            matrix = next(parts).view(-1, *layer.weight.shape).mT
            x = torch.baddbmm(next(parts)[:, None], x.relu() if number else x, matrix)
        return x

    @torch.no_grad()
    def predict(rows: Tensor, x: Tensor) -> Tensor:
        return logits(rows, x.expand(len(rows), *x.shape)).softmax(-1)

    fmt = None if point.bits is None else f"fixed({point.bits + settings.integer_bits},{point.bits})"
    x, labels = inputs(data, data.train_images).to(device), data.train_labels.to(device)
    optimizer = sampler(
        [weights],
        settings.lr,
        num_data=len(labels),
        temperature=1.0 if point.sampler == "sgld" else 0.0,
        weight_decay=1 / (len(labels) * settings.prior_std**2),
        weight=fmt,
        grad=fmt if settings.round_gradients else None,
        accumulator=point.accumulator,
    )
    each = settings.steps // settings.networks
    for step in range(1 - settings.burn_in, settings.steps + 1):
        batch = torch.randint(len(labels), (settings.seeds, settings.batch_size), device=device)
        predicted = logits(weights, x[batch])
        # the mean loss of each chain, summed over chains, which do not touch each other
        loss = F.cross_entropy(predicted.flatten(0, 1), labels[batch].flatten(), reduction="sum") / settings.batch_size
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step > 0 and step % each == 0:
            yield Networks(weights.detach(), optimizer.state[weights].get("theta", weights.detach()), predict)
    optimizer.raise_if_nonfinite()


def _measure(point: Point, settings: Settings, data: Dataset, device: torch.device) -> dict[str, Any]:
    """The row of one point, see `Sweep`."""
    began = time.perf_counter()
    x, labels = inputs(data, data.test_images).to(device), data.test_labels
    members, unrounded, squares, histogram = [], 0, 0, torch.zeros(len(_CENTRES))
    for weights, accumulator, predict in draw_networks(point, settings, data, device):
        members.append(predict(weights, x).cpu())
        unrounded = unrounded + predict(accumulator, x).cpu() / settings.networks
        squares = squares + weights.square().mean(1).cpu() / settings.networks
        middle = len(_CENTRES) // 2
        index = (weights / BIN).round().clamp(-middle, middle).long().flatten().cpu() + middle
        histogram += torch.bincount(index, minlength=len(_CENTRES)) / index.numel() / settings.networks
    told = torch.stack(members)
    scores = ensemble_scores(told, labels, settings.counts)
    draws = told[..., torch.arange(len(labels)), labels].transpose(0, 1)  # [seeds, networks, N]
    lists = {"unrounded": [metrics.nll(p, labels) for p in unrounded], "std": squares.sqrt().tolist()}
    lists["histogram"] = histogram.tolist()
    lists = {name: [float(f"{value:.4g}") for value in values] for name, values in lists.items()}
    mixed = diagnostics.mixing(draws)
    return scores | lists | {"mixing": mixed and mixed.told(), "seconds": round(time.perf_counter() - began, 2)}


def ensemble_scores(members: Tensor, labels: Tensor, counts: tuple[int, ...]) -> dict[str, dict[str, list[float]]]:
    """{score: {count: [a number a seed]}} of members' probabilities [networks, seeds, N, C].

    `count` networks are averaged that lie networks/count apart; the score is the mean over all such sets.
    """
    result: dict[str, dict[str, list[float]]] = {name: {} for name in SCORES}
    for count in counts:
        averages = members.unflatten(0, (count, -1)).mean(0)  # [networks/count, seeds, N, C]
        for name, score in SCORES.items():
            means = [np.mean([score(p, labels) for p in sets]) for sets in averages.unbind(1)]
            result[name][str(count)] = [float(f"{mean:.5g}") for mean in means]
    return result
