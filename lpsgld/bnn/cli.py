"""The command line of the neural half: `lpsgld train`, `evaluate`, `reproduce`, `recipes`.

Each command is a pair of functions, one that adds its arguments and one that runs it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Data
from lpsgld.bnn.judging import ensemble, records
from lpsgld.bnn.network import models, sequences
from lpsgld.bnn.studies import reproduce
from lpsgld.bnn.training import loop, recipes, runs, torchrun
from lpsgld.bnn.training.recipes import Recipe, RecipeError
from lpsgld.files import user_path
from lpsgld.text import columns

_DATASETS = (
    f"{', '.join(datasets.NAMES)}, {datasets.FOLDER}PATH (images in train/<class>/ and test/<class>/), "
    f"{datasets.TEXTS}PATH (texts there), or a function "
    "of yours that returns data, package.module:function"
)
_OWN = "a function of yours that makes the network, package.module:function, found here or where Python finds modules"


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        "  lpsgld train train_bfp --dataset digits --set width=8 --set epochs=20 --set samples=4 --out runs/first\n"
        "  lpsgld train train_bfp --out runs/bfp          (the paper's run; a killed one goes on where it stopped)\n"
        "  torchrun --nproc-per-node 2 -m lpsgld train train_bfp --out runs/chains          (two chains at once)"
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a name from `lpsgld recipes`, or a .json file")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run; new, or of this run")
    parser.add_argument("--dataset", metavar="D", help=f"{_DATASETS}; the recipe's, if not given")
    parser.add_argument(
        "--model",
        metavar="M",
        help=f"{', '.join((*models.MODELS, *sequences.MODELS))}, or {_OWN}; the recipe's, if not given",
    )
    _add_settings(parser)
    _add_speed(parser)
    _add_device_and_cache(parser)


def train_command(options: argparse.Namespace) -> int:
    """Train as asked, then say where the samples are."""
    _find_modules_here()
    recipe = _recipe(options.recipe).override(**_fields(options))
    function = torchrun.train_own_chain if torchrun.under_torchrun() else loop.train
    run = function(recipe, options.out, **_training(options))
    last = run.history[-1]
    print(
        f"{run.path}: {len(run.history)} epochs, posterior samples: {len(run.samples)}, "
        f"test error of the last epoch {last['test_error']:.2%}"
    )
    if run.finished:
        print(f"next: lpsgld evaluate {options.out}")
    else:
        left = recipe.epochs - len(run.history)
        print(f"stopped at the time limit with {left} epochs to go: give the same command again")
    return 0


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run, or of several chains")
    parser.add_argument("--dataset", metavar="D", help=f"{_DATASETS}; the run's, if not given")
    parser.add_argument("--model", metavar="M", help=f"{_OWN}; the run's, if not given")
    parser.add_argument(
        "--rounding",
        choices=("stochastic", "nearest"),
        default="stochastic",
        help="how activations are rounded at test time (default: stochastic, as in the paper)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="record scores, curves and history, too; replaces a record"
    )
    _add_record(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_device_and_cache(parser)


def evaluate_command(options: argparse.Namespace) -> int:
    """Print the scores of the ensemble beside those of its last sample."""
    _find_modules_here()
    if options.json:  # before minutes of evaluation
        records.require_replaceable(options.json)
    chain_runs = runs.open_all(options.run)
    if options.dataset:
        dataset = datasets.load(options.dataset, options.cache)
    else:
        dataset = ensemble.images_of(chain_runs[0], options.cache)
    evaluation = ensemble.evaluate(
        chain_runs,
        dataset,
        model=options.model,
        rounding=options.rounding,
        device=options.device,
        progress=not options.quiet,
    )
    print(_scores(evaluation.summary(), dataset))
    if options.json:
        about = {name: getattr(options, name) for name in ("rounding", "label", "commit")}
        records.write(options.json, records.make(chain_runs, evaluation, dataset=dataset, **about))
    return 0


def add_reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"Train and record, one after the other: {', '.join(reproduce.ROWS)}. Status 3: more to do."
    parser.add_argument("--dataset", metavar="D", help=f"{_DATASETS}; cifar10, if not given")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs, one a row")
    parser.add_argument("--record", type=Path, required=True, metavar="DIR", help="folder of the results, one a row")
    parser.add_argument("--rows", nargs="+", choices=reproduce.ROWS, metavar="ROW", help="only these, in this order")
    _add_record(parser)
    _add_settings(parser)
    _add_speed(parser)
    _add_device_and_cache(parser)


def reproduce_command(options: argparse.Namespace) -> int:
    """Train and record until all is done, or the time is up."""
    _find_modules_here()
    choices = _training(options) | {"label": options.label, "commit": options.commit}
    done = reproduce.reproduce(options.out, options.record, options.rows, _fields(options), **choices)
    print("every row is recorded" if done else "the time is up: give the same command again to go on")
    return 0 if done else 3


def add_recipes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="show all fields of this recipe")
    parser.add_argument("--json", action="store_true", help="as JSON, to edit and give to `lpsgld train FILE.json`")


def recipes_command(options: argparse.Namespace) -> int:
    """Print the table of recipes, or one of them."""
    if options.recipe:
        chosen = _recipe(options.recipe)
        print(chosen.to_json() if options.json else chosen)
    elif options.json:
        print(json.dumps({name: recipe.to_dict() for name, recipe in recipes.RECIPES.items()}, indent=1))
    else:
        header = ["recipe", "dataset", "sampler", "weights", "activations", "accumulator", "T", "schedule", "samples"]
        rows = [
            [
                name,
                r.dataset,
                r.sampler,
                r.weight if len(r.every("weight")) == 1 else "by name",
                r.activation,
                r.accumulator,
                f"{r.temperature:g}",
                r.schedule,
                str(r.samples),
            ]
            for name, r in recipes.RECIPES.items()
        ]
        print("\n".join(columns(rows, header)))
        print("\nT = 0 is SGD. `lpsgld recipes NAME` shows every field.")
    return 0


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", metavar="TEXT", help='what the data are, for the record: "CIFAR-10 as JPEG files" (default: name)'
    )
    parser.add_argument("--commit", metavar="ID", help="version of the code that trained, for the record")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a field of the recipe, for example epochs=20; may be repeated",
    )
    parser.add_argument(
        "--subset", type=int, nargs=2, metavar=("TRAIN", "TEST"), help="use only so many inputs, a fixed random choice"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


_SWITCH = {"auto": "auto", "yes": True, "no": False}


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--compile", choices=_SWITCH, default="auto", help="the training step (auto: on a GPU whose compiler works)"
    )
    parser.add_argument(
        "--tf32", choices=_SWITCH, default="auto", help="in convolutions on a GPU (auto: for operands of few bits)"
    )
    parser.add_argument(
        "--time-limit", type=seconds, metavar="S", help="stop after an epoch's end within S seconds, to go on later"
    )


def seconds(text: str) -> float:
    """The number of seconds that a text says, from 0 up."""
    number = float(text)
    if math.isnan(number) or number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds from 0 up")
    return number


def _training(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in ("subset", "device", "cache", "time_limit")}
    return (
        given
        | {name: _SWITCH[getattr(options, name)] for name in ("compile", "tf32")}
        | {"progress": not options.quiet}
    )


def _add_device_and_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda, cuda:1")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="downloads (default: $LPSGLD_CACHE, or ~/.cache/lpsgld)"
    )


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    fields = dict(recipes.parse_field(text) for text in options.settings)
    given = {name: getattr(options, name, None) for name in ("dataset", "model")}
    return fields | {name: value for name, value in given.items() if value is not None}


def _find_modules_here() -> None:
    """Python looks for modules beside the script that it runs: beside this command, there are none of the user's."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def _recipe(name: str) -> Recipe:
    if not name.endswith(".json"):
        return recipes.recipe(name)
    path = user_path(name)
    try:
        return Recipe.from_json(path.read_bytes())
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {name}: {error.strerror}") from None


def _scores(summary: dict[str, Any], dataset: Data) -> str:
    forms = {"error": "{:.2%}", "nll": "{:.4f}", "brier": "{:.4f}", "ece": "{:.2%}", "ece_paper": "{:.2%}"}
    names = {"nll": "NLL", "brier": "Brier", "ece": "ECE (15 bins)", "ece_paper": "ECE (paper's 9 bins)"}
    both = [summary[who] for who in ("ensemble", "last_sample")]
    rows = [[names.get(key, key)] + [form.format(scores[key]) for scores in both] for key, form in forms.items()]
    if dataset.parts[3].dim() > 1:  # what comes next, at each place of a sequence
        rows.append(["perplexity", *(f"{math.exp(scores['nll']):.3f}" for scores in both)])
        rows.append([f"bits a {dataset.unit}", *(f"{scores['nll'] / math.log(2):.3f}" for scores in both)])
    lines = columns(rows, ["", f"ensemble of {summary['samples']}", "last sample"])
    if summary["samples"] > 1:
        origin = f"of {summary['chains']} chains " if summary["chains"] > 1 else ""
        lines.append(f"\nTwo samples {origin}disagree on {summary['disagreement']:.2%} of the {dataset.unit}s.")
    if summary["rhat"] is not None:
        lines.append(
            f"R-hat of the probability of the true class: median {summary['rhat']['median']:.3f}, "
            f"above 1.01 for {summary['rhat']['above_1.01']:.1%} of the {dataset.unit}s. "
            f"Effective sample size: median {summary['rhat']['ess']:.0f} of {summary['samples']}."
        )
    return "\n".join(lines)
