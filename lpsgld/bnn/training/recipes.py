"""Recipes: everything that decides what a training run computes, as data.

A `Recipe` is a frozen, validated record that survives JSON and can be overridden field by field. `RECIPES` holds the
CIFAR experiments of Zhang, Wilson and De Sa (2022), section 5, under systematic names, two of them with momentum, and
two on texts: "prose", which takes a minute on a CPU, and "reviews", of films.
A network, a data set and a loss of your own are named in it (see `lpsgld.bnn.own`). Where a run is stored and on
which device it computes are no part of a recipe.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpsgld import formats
from lpsgld.bnn import own
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.network import models, sequences
from lpsgld.bnn.network.quantizing import is_quantized, quantize_network
from lpsgld.bnn.training import schedules
from lpsgld.bnn.training.schedules import Schedule
from lpsgld.formats import AnyFormat, Format
from lpsgld.samplers.accumulators import Accumulator, require_accumulator
from lpsgld.samplers.optimizer import LowPrecisionOptimizer
from lpsgld.samplers.sghmc import SGHMC
from lpsgld.samplers.sgld import SGLD
from lpsgld.text import Mistake, check_fields, from_text, one_of, parse_json, typed

SAMPLERS: Mapping[str, type[LowPrecisionOptimizer]] = MappingProxyType({"sgld": SGLD, "sghmc": SGHMC})

CROSS_ENTROPY = "cross_entropy"

_OR_OWN = ', or "package.module:function"'
_WRITTEN = "Write one as `lpsgld recipes NAME` shows it"


class RecipeError(Mistake, ValueError):
    """A recipe that makes no sense, or a field or recipe that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. The defaults are those of the paper's CIFAR-10 runs, in full precision.

        dataset       a name of `datasets.load`: "digits", "cifar10", ..., "folder:PATH", "package.module:function"
        sampler       "sgld", or "sghmc": with momentum
        model         a name of `models.build`: "resnet18", "mlp", "logistic", ..., or, for texts, of `sequences.build`:
                      "lstm", "transformer"; or "package.module:function", see `network`
        loss          "cross_entropy", or "package.module:function": the mean loss of logits [N, C] or [N, L, C] and
                      labels [N] or [N, L]. Only training asks it
        width         channels of a ResNet's first stage, hidden units of an MLP, size of a word's vector; ignored by
                      "logistic" and by networks of your own
        epochs        passes over the training inputs
        batch_size    inputs in one stochastic gradient
        lr            base step size on the *mean* loss
        weight_decay  λ: the prior adds λ/2·|θ|² to the mean loss
        momentum      of "sghmc", below 1; ignored by "sgld"
        temperature   T: the noise variance is 2·lr·T/N, with momentum 2·(1 - momentum)·lr·T/N; 0 is SGD
        weight, grad, activation, error
                      number formats: "full", "fixed(8,8)", "block(8,0)", "float(4,3)"; of weights and gradients also
                      several, by patterns of the parameters' names as in `formats.of_each`: a mapping, such as
                      {"*norm*": None, "*": "block(8,0)"}, or it in JSON, which is how it is kept: the order counts
        sites         where activations and errors are rounded: "paper", or in more places "residual" or "all" (see
                      `lpsgld.bnn.network.models`); ignored by networks of your own
        accumulator   "full", "naive", "vc" or "vc-released" (see `lpsgld.samplers.accumulators`)
        schedule      "constant", "decay" or "cyclical"
        cycles        number of cosine cycles, 1 unless the schedule is cyclical
        samples       posterior samples kept: one after each of the last epochs (of each cycle)
        seed          root of all randomness of the run

    Raises RecipeError for a wrong type or value, with what is allowed.
    """

    dataset: str = "cifar10"
    sampler: str = "sgld"
    model: str = "resnet18"
    width: int = 64
    epochs: int = 245
    batch_size: int = 128
    lr: float = 0.5
    weight_decay: float = 5e-4
    momentum: float = 0.9
    temperature: float = 1e-3
    weight: str = "full"
    grad: str = "full"
    activation: str = "full"
    error: str = "full"
    sites: str = "paper"
    accumulator: str = "full"
    schedule: str = "decay"
    cycles: int = 1
    samples: int = 50
    seed: int = 0
    loss: str = CROSS_ENTROPY

    def __post_init__(self) -> None:
        for field in ("weight", "grad"):
            if isinstance(given := getattr(self, field), Mapping):
                object.__setattr__(self, field, _written_by_name(field, given))
        check_fields(self, RecipeError)
        for field in ("weight", "grad", "activation", "error"):
            object.__setattr__(self, field, _format_name(field, getattr(self, field)))
        one_of("sampler", self.sampler, SAMPLERS, RecipeError)
        if not own.is_name(self.model):
            one_of("model", self.model, (*models.MODELS, *sequences.MODELS), RecipeError, _OR_OWN)
        if not own.is_name(self.loss):
            one_of("loss", self.loss, [CROSS_ENTROPY], RecipeError, _OR_OWN)
        one_of("set of sites", self.sites, models.SITES, RecipeError)
        one_of("accumulator", self.accumulator, get_args(Accumulator), RecipeError)
        try:
            for fmt in self.every("weight"):
                require_accumulator(self.accumulator, fmt)
        except formats.FormatError as error:
            raise RecipeError(f"weight: {error}") from None
        one_of("schedule", self.schedule, ("constant", "decay", "cyclical"), RecipeError)
        datasets.require_name(self.dataset, RecipeError)
        for field in ("width", "epochs", "batch_size", "cycles", "samples"):
            _require(getattr(self, field) >= 1, f"{field} is {getattr(self, field)}, but must be at least 1")
        _require(self.width < 2**31, f"width is {self.width}, but no network is as wide: take some tens or hundreds")
        _require(0 < self.lr < math.inf, f"lr is {self.lr}, but must be a finite number above 0")
        for field in ("weight_decay", "temperature"):
            _require(0 <= getattr(self, field) < math.inf, f"{field} is {getattr(self, field)}, but must be ≥ 0")
        _require(0 <= self.momentum < 1, f"momentum is {self.momentum}, but must be ≥ 0 and below 1")
        _require(self.seed >= 0, f"seed is {self.seed}, but must be ≥ 0")
        self._check_cycles()

    def _check_cycles(self) -> None:
        _require(
            self.schedule == "cyclical" or self.cycles == 1,
            f'cycles is {self.cycles}, but the schedule "{self.schedule}" has none: '
            'set schedule="cyclical" or cycles=1',
        )
        for field in ("epochs", "samples"):
            _require(
                getattr(self, field) % self.cycles == 0,
                f"{field} is {getattr(self, field)}, but must be a multiple of cycles, {self.cycles}",
            )
        _require(
            self.samples <= self.epochs,
            f"samples is {self.samples}, but a run of {self.epochs} epochs has at most one sample an epoch: "
            "set samples or epochs",
        )

    def by_name(self, field: str) -> str | dict[str, str]:
        """That format, or formats by patterns of names, as samplers and storage take them."""
        told = getattr(self, field)
        return json.loads(told) if told.startswith("{") else told

    def every(self, field: str) -> list[Format | None]:
        """All formats that the field names."""
        told = self.by_name(field)
        return [formats.parse(fmt) for fmt in (told.values() if isinstance(told, dict) else [told])]

    def build_model(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The recipe's network for images, see `models.build`; weights of convolutions lie channels last."""
        rounded = dict(activation=self.activation, error=self.error, sites=self.sites)
        model = models.build(self.model, image_shape, classes, width=self.width, **rounded)
        # convolutions follow the layout of their weights; a training step on a CPU is a fifth faster in this one
        return model.to(memory_format=torch.channels_last)

    def network(self, data: Data) -> nn.Module:
        """A network with fresh weights for these data: the recipe's own, or what a function of yours makes.

        That is called with the data set if it asks for something, else with nothing, and returns any module whose
        outputs are logits [N, C], or [N, L, C] where there are labels [N, L]. Where the recipe rounds activations or
        errors, `quantize_network` puts Quantizers after all parts that it knows, unless the network has some already:
        then those stay. Raises RecipeError where there is no such function, if it returns something else, and if a
        network for images is asked to take other data.
        """
        if not own.is_name(self.model):
            of_words = self.model in sequences.MODELS
            if of_words != bool(data.words) or len(data.shape) != (1 if of_words else 3):
                what = "words of a vocabulary" if of_words else "images"
                raise RecipeError(
                    f"a model {self.model!r} reads {what}, but {data.name} has {data.noun}s of shape {data.shape}: "
                    "choose another model, or another dataset"
                )
            return self._of_words(data) if of_words else self.build_model(data.shape, len(data.classes))
        made = own.called("model", self.model, RecipeError, data)
        if not isinstance(made, nn.Module):
            raise RecipeError(f"model {self.model!r} returned {type(made).__name__}, but must return a torch.nn.Module")
        if not any(p.requires_grad for p in made.parameters()):
            raise RecipeError(f"model {self.model!r} returned {type(made).__name__} without a parameter to be sampled")
        if {self.activation, self.error} != {"full"} and not any(map(is_quantized, made.modules())):
            try:
                quantize_network(made, self.activation, self.error)
            except ValueError as error:
                raise RecipeError(
                    f"model {self.model!r}: activations and errors cannot be rounded, since {error}. Put Quantizers "
                    "into the network yourself, or set activation and error to full"
                ) from None
        return made

    def _of_words(self, data: Data) -> nn.Module:
        rounded = {field: formats.parse(getattr(self, field)) for field in ("activation", "error")}
        sizes = data.words, data.shape[0], len(data.classes)
        everywhere = data.parts[1].dim() == 2
        return sequences.build(self.model, *sizes, everywhere=everywhere, width=self.width, sites=self.sites, **rounded)

    def loss_function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The mean loss of logits [..., C] and labels [...]. Raises RecipeError if there is none of that name."""
        if own.is_name(self.loss):
            return own.find("loss", self.loss, RecipeError)
        return lambda logits, labels: F.cross_entropy(logits.flatten(0, -2), labels.flatten())

    def schedule_function(self) -> Schedule:
        """The step-size multiplier as a function of progress, the share of all optimizer steps done so far."""
        if self.schedule == "cyclical":
            return schedules.cyclical(self.cycles)
        return {"constant": schedules.constant, "decay": schedules.decay}[self.schedule]()

    def is_sampled(self, epoch: int) -> bool:
        """Whether a sample is kept after that epoch (1 to `epochs`): the last samples/cycles of each cycle are."""
        length = self.epochs // self.cycles
        return (epoch - 1) % length >= length - self.samples // self.cycles

    def override(self, **fields: Any) -> Recipe:
        """The same recipe with other values of some fields. Raises RecipeError, with the nearest name, for no field."""
        _require_known(fields)
        return dataclasses.replace(self, **fields)

    def as_sgd(self) -> Recipe:
        """Its point estimate: the same network and formats trained by SGD, one descent that ends in one network.

        Without noise there is nothing to correct: "vc" becomes "naive", which is the same law then.
        """
        accumulator = "naive" if self.accumulator.startswith("vc") else self.accumulator
        return self.override(temperature=0.0, accumulator=accumulator, schedule="decay", cycles=1, samples=1)

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """The fields in which two recipes differ, with both values."""
        mine, theirs = self.to_dict(), other.to_dict()
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The recipe as a JSON object that `from_json` reads back."""
        return json.dumps(self.to_dict() | {field: self.by_name(field) for field in ("weight", "grad")}, indent=2)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """The recipe with these fields, defaults for the others. Raises RecipeError as the constructor does."""
        if not isinstance(fields, Mapping):
            raise RecipeError(f"a recipe is an object of fields, but a {type(fields).__name__} was given. {_WRITTEN}")
        _require_known(fields)
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """Reads what `to_json` wrote; bytes may be of any encoding of Unicode. Raises RecipeError for anything else."""
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise RecipeError(f"this is no recipe in JSON: {error}. {_WRITTEN}") from None
        return cls.from_dict(fields)

    def __str__(self) -> str:
        return "\n".join(f"{name:<13} {value}" for name, value in self.to_dict().items())


def recipe(name: str) -> Recipe:
    """The recipe of that name in RECIPES. Raises RecipeError with the nearest name."""
    return RECIPES[one_of("recipe", name, RECIPES, RecipeError)]


def parse_field(text: str) -> tuple[str, Any]:
    """("lr", 0.1) for "lr=0.1": one override as typed on a command line. Raises RecipeError."""
    name, equals, value = (part.strip() for part in text.partition("="))
    _require(equals == "=" and bool(value), f'{text!r} is no override: write field=value, for example "lr=0.1"')
    _require_known([name])
    kind = Recipe.__dataclass_fields__[name].type
    meant = from_text(kind, value)
    if kind == "int" and isinstance(meant, float) and meant.is_integer():
        meant = int(meant)  # 1e2
    return name, typed(name, kind, meant, RecipeError)


# ---- the paper's experiments -----------------------------------------------------------------------------------

_FIXED = dict(weight="fixed(8,8)", grad="fixed(8,8)")
_BLOCK = dict(weight="block(8,0)", grad="block(8,0)", activation="block(8,0)", error="block(8,0)")
_SGD = dict(temperature=0.0, samples=1)
_MOMENTUM = dict(sampler="sghmc", momentum=0.9, lr=0.05)  # 0.5·(1 - momentum): as fast as SGLD
_BY_NAME = {"*bias*": None, "*": "block(8,0)"}
_TEXT = dict(model="lstm", width=64, sampler="sghmc", lr=0.3, schedule="constant", weight=_BY_NAME, grad=_BY_NAME)
_CYCLICAL = dict(schedule="cyclical", cycles=7, samples=35)


def _rows(dataset: str) -> dict[str, Recipe]:
    """The rows of the paper's CIFAR table for one dataset, named sampler_format_accumulator.

    SGD is a point estimate: its temperature is 0 and its one sample is the last epoch's network. What was published of
    corrected blocks presumably comes from code whose step is "vc-released" here: hence a row for it.
    """
    rows = {"sgld_float32": {}, "sgd_float32": _SGD}
    for name, fmt in (("fixed", _FIXED), ("block", _BLOCK)):
        for accumulator in ("full", "naive", "vc"):
            rows[f"sgld_{name}_{accumulator}"] = fmt | dict(accumulator=accumulator)
        for accumulator in ("full", "naive"):
            rows[f"sgd_{name}_{accumulator}"] = fmt | _SGD | dict(accumulator=accumulator)
    rows["sgld_block_vc_cyclical"] = _BLOCK | _CYCLICAL | dict(accumulator="vc")
    rows["sgld_block_vc_released"] = _BLOCK | dict(accumulator="vc-released")
    return {f"{dataset}_{name}": Recipe(dataset=dataset, **fields) for name, fields in rows.items()}


def _all_recipes() -> dict[str, Recipe]:
    rows = _rows("cifar10") | _rows("cifar100")
    scripts = {
        "train_fixed": rows["cifar10_sgld_fixed_full"],
        "train_bfp": rows["cifar10_sgld_block_vc"],
        "train_bfp_cyclic": rows["cifar10_sgld_block_vc_cyclical"],
        "train_fixed_momentum": rows["cifar10_sgld_fixed_full"].override(**_MOMENTUM),
        "train_bfp_momentum": rows["cifar10_sgld_block_vc"].override(**_MOMENTUM),
    }
    texts = {
        "prose": Recipe(
            dataset="prose", batch_size=8, epochs=10, samples=5, weight_decay=1e-5, temperature=1.0, **_TEXT
        ),
        # settings chosen on 8,311 sentences of film reviews: the archive itself was not at hand
        "reviews": Recipe(
            dataset="aclimdb:aclImdb_v1.tar.gz",
            batch_size=50,
            epochs=8,
            samples=4,
            weight_decay=1e-3,
            temperature=0.01,
            **_TEXT,
        ),
    }
    return scripts | rows | texts


# ---- validation ------------------------------------------------------------------------------------------------


def _format_name(field: str, text: str) -> str:
    try:
        given = parse_json(text) if text.lstrip().startswith("{") and field in ("weight", "grad") else text
        return _written_by_name(field, given) if isinstance(given, Mapping) else formats.name(given)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{field}: {error}") from None


def _written_by_name(field: str, given: Mapping[str, AnyFormat]) -> str:
    """Formats by patterns of names as text, which keeps their order wherever it is stored."""
    if not given or not all(isinstance(pattern, str) for pattern in given):
        raise RecipeError(f'{field} is {given!r}, but must name formats by patterns of names: {{"*": "block(8,0)"}}')
    try:
        return json.dumps({pattern: formats.name(fmt) for pattern, fmt in given.items()})
    except formats.FormatError as error:
        raise RecipeError(f"{field}: {error}") from None


def _require_known(names: Iterable[str]) -> None:
    for name in names:
        one_of("field", name, Recipe.__dataclass_fields__, RecipeError)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


RECIPES: Mapping[str, Recipe] = MappingProxyType(_all_recipes())
