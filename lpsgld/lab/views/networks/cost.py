"""What notebook 10 shows: memory of training in 32 and 8 bits, the roofline, measurements, what stored bytes buy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from lpsgld import formats
from lpsgld.bnn.costs import footprint, roofline, timing
from lpsgld.bnn.costs.footprint import Memory
from lpsgld.bnn.costs.roofline import Machine
from lpsgld.bnn.data import datasets
from lpsgld.bnn.network import models
from lpsgld.bnn.studies.sweep import Point, Sweep
from lpsgld.bnn.training.recipes import RECIPES, Recipe
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, paper, role
from lpsgld.lab.views.networks.bits_sweep import MODELS

FLOAT32 = Recipe()
EIGHT_BITS = RECIPES["train_bfp"]  # weights, gradients, activations and errors in block(8,0); corrected accumulator
EIGHT_BITS_AND_COPY = EIGHT_BITS.override(accumulator="full")
# name: the recipe, and whether it is counted as this library holds it
CASES: dict[str, tuple[Recipe, bool]] = {
    "32 bits": (FLOAT32, False),
    "8 bits, simulated here": (EIGHT_BITS, True),
    "8 bits in hardware, 32-bit copy kept": (EIGHT_BITS_AND_COPY, False),
    "8 bits in hardware, corrected": (EIGHT_BITS, False),
}
# part of `footprint.Memory`: label, role, hatch
_PARTS = {
    "weights": ("weights", "vc", ""),
    "copy": ("32-bit copy", "naive", "//"),
    "gradients": ("gradients", "sgd", ".."),
    "activations": ("activations", "full", ""),
    "samples": ("samples", "bound", "\\\\"),
}
WIDTHS = (8, 16, 32, 64, 128)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SAMPLES = (1, 2, 5, 10, 20, 35, 50, 100)


def cases(width: int, batch: int, samples: int = 1) -> dict[str, Memory]:
    """The memory of each of `CASES`: ResNet-18 of that width on images of CIFAR-10's size."""
    sizes = dict(width=width, batch_size=batch, samples=samples, epochs=max(samples, FLOAT32.epochs))
    return {name: footprint.memory(recipe.override(**sizes), simulated=held) for name, (recipe, held) in CASES.items()}


# ---- memory ----------------------------------------------------------------------------------------------------------


def build_memory(width, batch, samples):
    figure, ax = new_figure(title="What training a ResNet-18 keeps in memory", left=0.2, top=0.8)
    rows = np.arange(len(CASES))
    artists = {"axes": ax, "totals": [ax.text(0, row, "", va="center") for row in rows]}
    for part, (label, who, hatch) in _PARTS.items():
        look = dict(color=color(who), edgecolor=paper(), hatch=hatch, linewidth=0)
        artists[part] = ax.barh(rows, np.ones(len(CASES)), 0.6, label=label, **look)
    ax.set_yticks(rows, [name.replace(", ", ",\n") for name in CASES])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(_PARTS), handlelength=1.4, columnspacing=1.4)
    update_memory(artists, width, batch, samples)
    return figure, artists


def update_memory(artists, width, batch, samples):
    found = list(cases(width, batch, samples).values())
    unit, scale = ("GB", 1e9) if found[0].total >= 1e9 else ("MB", 1e6)
    start = np.zeros(len(CASES))
    for part in _PARTS:
        for bar, left, entry in zip(artists[part], start, found, strict=True):
            bar.set_x(left)
            bar.set_width(getattr(entry, part) / scale)
        start += [getattr(entry, part) / scale for entry in found]
    artists["axes"].set_xlim(0, 1.14 * start.max())
    noun = "sample" if samples == 1 else "samples"
    artists["axes"].set_xlabel(f"{unit}, for width {width}, batch {batch} and {samples} posterior {noun}")
    for text, total in zip(artists["totals"], start, strict=True):
        text.set_x(total + 0.012 * start.max())
        text.set_text(f"{total:.3g} {unit}")
    totals = [entry.total for entry in found]
    return {
        "32 bits, MB": totals[0] / 1e6,
        "simulated, MB": totals[1] / 1e6,
        "8 bits, MB": totals[3] / 1e6,
        "32 bits over 8 bits": totals[0] / totals[3],
    }


memory = View(
    name="memory",
    title="What training keeps in memory",
    build=build_memory,
    update=update_memory,
    controls=(
        Control("width", "width of the network", WIDTHS, 64),
        Control("batch", "images in a batch", BATCHES, 128),
        Control("samples", "posterior samples", SAMPLES, 1),
    ),
    continuous=False,  # the first visit of a setting counts a network: up to 0.2 s
    static=({}, {"batch": 1}, {"samples": 50}),
    ghosts=("activations",),
    slide=Slide(
        "Bytes of a training step of ResNet-18 (width 64, batch 128) and of ten posterior samples, counted from "
        "shapes: in 32 bits; in 8 bits as simulated with float32 tensors; in 8 bits on hardware that computes in them, "
        "with and without a 32-bit copy of the weights.",
        "Four stacked bars. In 32 bits 1.14 gigabytes, most of it activations and samples; simulated 8 bits take 0.96; "
        "on 8-bit hardware 448 megabytes with a 32-bit copy of the weights, 404 without.",
        "What training a ResNet-18 keeps in memory",
        {"samples": 10},
    ),
)


# ---- roofline --------------------------------------------------------------------------------------------------------

# what bounds an operation: label, role, hatch
_BOUNDS = {
    "arithmetic": ("products, bound by arithmetic", "vc", ""),
    "traffic": ("products, bound by memory", "naive", "//"),
    "elementwise": ("everything else, bound by memory", "bound", ".."),
}
# kind of numbers: role, height of its row of ticks
_KINDS = {
    "float32": ("naive", 0.17),
    "TF32": ("naive", 0.17),
    "bfloat16": ("full", 0.11),
    "int8": ("vc", 0.05),
}
_INTENSITIES = np.logspace(-1.5, 5, 200)


def trained_in(machine: Machine) -> tuple[str, ...]:
    """The kinds of numbers to compare: int8, and those that people train with on that machine."""
    others = [kind for kind in machine.rates if kind not in ("float32", "int8")]
    return (*(others or ["float32"]), "int8")


def roofline_of(machine: Machine) -> View:
    """A view of a training step under the roofs of that machine, or of an H100 as its data sheet has it."""
    machines = {"this machine": machine, "H100, data sheet": roofline.H100}

    def build(machine, width, batch):
        figure, (ax, bars) = new_figure(
            1, 2, title="A training step under the roofline", width_ratios=(3, 2), wspace=0.25, left=0.095, top=0.8
        )
        artists = {"axes": ax, "bars": bars}
        most = max(len(trained_in(m)) for m in machines.values())
        artists["totals"] = [bars.text(row, 0, "", ha="center", va="bottom") for row in range(most)]
        for kind, (who, _) in _KINDS.items():
            artists[f"roof {kind}"] = ax.plot([], [], **role(who, label=kind))[0]
            look = dict(color=color(who), marker="|", markersize=15, markeredgewidth=2.5, linestyle="none", label="_")
            artists[f"products {kind}"] = ax.plot([], [], transform=ax.get_xaxis_transform(), **look)[0]
        ax.text(0.985, 0.235, "ticks: the step's products", transform=ax.transAxes, ha="right", fontsize=15)
        for bound, (label, who, hatch) in _BOUNDS.items():
            look = dict(color=color(who), edgecolor=paper(), hatch=hatch, linewidth=0)
            artists[bound] = bars.bar(range(most), np.ones(most), 0.6, label=label, **look)
        ax.set(xscale="log", yscale="log", xlim=(_INTENSITIES[0], 3e4))
        ax.set(xlabel="arithmetic intensity, operations a byte", ylabel="billion operations a second")
        ax.minorticks_off()
        bars.grid(axis="x", visible=False)
        bars.legend(loc="lower right", bbox_to_anchor=(1.02, 1.0), handlelength=1.4, labelspacing=0.25, fontsize=14)
        update(artists, machine, width, batch)
        return figure, artists

    def update(artists, machine, width, batch):
        chosen, work = machines[machine], roofline.step("resnet18", width, batch)
        kinds, ax, bars = trained_in(chosen), artists["axes"], artists["bars"]
        for kind, (_, height) in _KINDS.items():
            lines, shown = artists[f"roof {kind}"], kind in kinds
            lines.set_data(_INTENSITIES, chosen.roof(_INTENSITIES, kind) / 1e9)
            intensity = work.intensity(kind)[work.products]
            artists[f"products {kind}"].set_data(intensity, np.full(len(intensity), height))
            for artist in (lines, artists[f"products {kind}"]):
                artist.set_visible(shown)
        ax.set_ylim(chosen.roof(_INTENSITIES[0], "float32") / 1e9, 4 * max(map(chosen.rate, kinds)) / 1e9)
        ax.set_title(f"{machine}: width {width}, batch {batch}")
        ax.legend(handles=[artists[f"roof {kind}"] for kind in kinds], loc="upper left", title="matrix products in")
        spent = [work.bounds(chosen, kind) for kind in kinds]
        totals = np.array([sum(seconds.values()) for seconds in spent])
        unit, scale = ("s", 1) if totals[0] >= 1 else ("ms", 1e-3) if totals[0] >= 1e-3 else ("µs", 1e-6)
        start = np.zeros(len(kinds))
        for bound in _BOUNDS:
            for bar, bottom, seconds in zip(artists[bound], start, spent, strict=False):  # other bars are out of view
                bar.set_y(bottom)
                bar.set_height(seconds[bound] / scale)
            start += [seconds[bound] / scale for seconds in spent]
        for row, text in enumerate(artists["totals"]):
            text.set_visible(row < len(kinds))
            if row < len(kinds):
                text.set_y(start[row] + 0.01 * start.max())
                text.set_text(f"{start[row]:.3g} {unit}")
        bars.set(xlim=(-0.6, len(kinds) - 0.4), ylim=(0, 1.12 * start.max()), ylabel=f"{unit} a step, on the roof")
        missing = "int8" not in chosen.rates
        bars.set_xticks(range(len(kinds)), [*kinds[:-1], "int8 (no such\nproduct)" if missing else "int8"])
        return {
            "usual, ms": 1e3 * totals[0],
            "int8, ms": 1e3 * totals[-1],
            "usual over int8": totals[0] / totals[-1],
            "share of memory-bound time in int8": 1 - spent[-1]["arithmetic"] / totals[-1],
        }

    return View(
        name="roofline",
        title="A training step under the roofline",
        build=build,
        update=update,
        controls=(
            Control("machine", "machine", tuple(machines), "this machine"),
            Control("width", "width of the network", WIDTHS, 64),
            Control("batch", "images in a batch", BATCHES, 128),
        ),
        continuous=False,  # as above
        static=({}, {"machine": "H100, data sheet"}),
        ghosts=("roof int8",),
        slide=Slide(
            "Left: the roofs of an H100 for three kinds of numbers, as its data sheet has them (dense, tensor cores); "
            "the ticks tell where the products of a training step of ResNet-18 lie (width 64, batch 128). Right: the "
            "time of the step if every operation reached its roof and every number were of that kind, by what bounds "
            "it.",
            "Left: three roofs that share one slope, each flat part twice as high as the one before; below, three rows "
            "of ticks, each twice as many operations a byte to the right of the one before. Right: 2.15 milliseconds "
            "in TF32, 1.07 in bfloat16, 0.54 in int8; in each of them two thirds wait for memory.",
            "A training step under the roofline of an H100",
            {"machine": "H100, data sheet"},
        ),
    )


# ---- what the bytes buy ----------------------------------------------------------------------------------------------

# what is stored, in so many fractional bits (None: float32): sampler, accumulator, bits, role, label
_STORED = (
    ("sgld", "full", None, "target", "SGLD, 32 bits"),
    ("sgld", "vc", 5, "vc", "SGLD, 8 bits, corrected"),
    ("sgld", "naive", 5, "naive", "SGLD, 8 bits, naive"),
    ("sgd", "full", None, "sgd", "one network of SGD, 32 bits"),
    ("sgd", "naive", 5, "full", "one network of SGD, 8 bits"),
)


def stored(sweep: Sweep, sampler: str, accumulator: str, bits: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Bytes [counts] of so many networks of a sweep as `storage` keeps them, and [counts, seeds] their average's NLL.

    bits: the fractional bits, None for float32. Of SGD the last network alone counts.
    """
    settings, data = sweep.settings, datasets.load(sweep.settings.dataset)
    with torch.device("meta"):
        network = models.build(settings.model, data.image_shape, len(data.classes), width=settings.width)
    fmt = None if bits is None else formats.parse(f"fixed({bits + settings.integer_bits},{bits})")
    one = footprint.total_bytes([p.shape for p in network.parameters()], fmt)
    counts = settings.counts if sampler == "sgld" else (1,)
    scores = [sweep.rows[str(Point(sampler, accumulator, bits))]["nll"][str(count)] for count in counts]
    return one * np.array(counts), np.array(scores)


@Slide(
    "Test NLL on digits against the bytes of the networks that are kept, from the recorded sweep of notebook 07: the "
    "average of 1, 2, 4, ..., 32 posterior samples, and one network of SGD. Weights of 8 bits are fixed(8,5). Means "
    "and standard errors of {chains} chains.",
    "Two panels, logistic regression and MLP. With more samples, that is, to the right, the lines of SGLD fall and "
    "level off. The lines of 8 bits lie four times further left than that of 32 bits; one network of SGD lies below "
    "the averages that have its bytes.",
    "What stored bytes buy",
)
def nll_of_bytes(sweeps: Mapping[str, Sweep]) -> Figure:
    """Test NLL against the bytes of what is stored, a panel a model."""
    figure, axes = new_figure(1, len(sweeps), title="What stored bytes buy", wspace=0.22, left=0.075, top=0.74)
    for ax, (model, sweep) in zip(np.atleast_1d(axes), sweeps.items(), strict=True):
        for *point, who, label in _STORED:
            size, nll = stored(sweep, *point)
            error = nll.std(axis=1, ddof=1) / nll.shape[1] ** 0.5
            look = role(who, label=label) | ({} if len(size) > 1 else dict(linestyle="none", marker="D", markersize=11))
            ax.errorbar(size / 1e3, nll.mean(axis=1), error, capsize=4, **look)
        ax.set(xscale="log", xlabel="kilobytes stored", title=f"test NLL, {MODELS.get(model, model)}")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.065, 0.925), ncols=3, columnspacing=1.6)
    return figure


# ---- pictures without sliders ----------------------------------------------------------------------------------------


@Slide(
    "ResNet-18 of width {width}, batch {batch}, 8-bit numbers simulated in float32 tensors, with a 32-bit copy: bytes "
    "counted from shapes, and growth of a fresh process.",
    "Pairs of bars of nearly the same height for weights, 32-bit copy, activations and gradients; activations are by "
    "far the tallest.",
    "Memory, counted and measured",
)
def measured_memory(counted: Memory, found: Mapping[str, int], title: str) -> Figure:
    """The bytes that were counted beside those by which a process grew, part by part."""
    figure, ax = new_figure(title=title, top=0.8)
    rows = np.arange(len(found))
    known = dataclasses.asdict(counted)
    for offset, who, label, values in (
        (-0.2, "reference", "counted from shapes", [known[part] for part in found]),
        (0.2, "vc", "measured: growth of a process", list(found.values())),
    ):
        bars = ax.bar(rows + offset, np.array(values) / 1e6, 0.38, color=color(who), label=label)
        ax.bar_label(bars, fmt="%.1f", padding=3)
    ax.set_xticks(rows, [_PARTS[part][0] for part in found])
    ax.set_ylabel("MB")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.03), ncols=2, handlelength=1.4)
    return figure


@Slide(
    "Median time of a training step of ResNet-18 (width {width}, batch {batch}) in float32 and with simulated 8-bit "
    "numbers (corrected accumulator), on the machine that ran the notebook.",
    "Two bars: the simulated 8-bit step takes longer than the float32 step, in the forward and backward pass and in "
    "the update.",
    "What simulating 8 bits costs",
)
def step_times(seconds: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """The median time of each recipe's step as simulated, split into pass and update; whiskers: fastest to slowest."""
    figure, ax = new_figure(title=title, left=0.2, top=0.83)
    rows = np.arange(len(seconds))
    start, middles = np.zeros(len(seconds)), [timing.medians(parts) for parts in seconds.values()]
    for part, who, label, hatch in (
        ("pass", "vc", "forward and backward", ""),
        ("update", "naive", "update of the weights", "//"),
    ):
        middle = 1e3 * np.array([middle[part] for middle in middles])
        look = dict(color=color(who), edgecolor=paper(), hatch=hatch, linewidth=0)
        ax.barh(rows, middle, 0.55, left=start, label=label, **look)
        start += middle
    whole = 1e3 * np.array([np.add(parts["pass"], parts["update"]) for parts in seconds.values()])
    ends = [start - np.minimum(whole.min(axis=1), start), np.maximum(whole.max(axis=1), start) - start]
    ax.errorbar(start, rows, xerr=ends, fmt="none", ecolor=color("target"), capsize=6, label="fastest to slowest round")
    ax.set_yticks(rows, seconds)
    ax.invert_yaxis()
    ax.set(xlabel="milliseconds a step", xlim=(0, None))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3, handlelength=1.4, columnspacing=1.4)
    return figure
