"""What notebook 10 shows: the memory of training in 32 and 8 bits, the roofline of a machine, and what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lpsgld.bnn.costs import footprint, roofline, timing
from lpsgld.bnn.costs.footprint import Memory
from lpsgld.bnn.costs.roofline import Machine
from lpsgld.bnn.training.recipes import RECIPES, Recipe
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, paper, role

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
        "on 8-bit hardware 449 megabytes with a 32-bit copy of the weights, 404 without.",
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
_INTENSITIES = np.logspace(-1.5, 5, 200)


def roofline_of(machine: Machine) -> View:
    """A view of a training step under the roofs of that machine, or of an H100 as its data sheet has it."""
    machines = {"this machine": machine, "H100, data sheet": roofline.H100}
    eight = {name: "8 bits" if m.int8 is not None else "8 bits (no int8 product)" for name, m in machines.items()}

    def build(machine, width, batch):
        figure, (ax, bars) = new_figure(
            1, 2, title="A training step under the roofline", width_ratios=(3, 2), wspace=0.25, left=0.095, top=0.8
        )
        artists = {"axes": ax, "bars": bars}
        artists["totals"] = [bars.text(row, 0, "", ha="center", va="bottom") for row in (0, 1)]
        for bits, who in ((32, "naive"), (8, "vc")):
            artists[f"roof {bits}"] = ax.plot([], [], **role(who, label="_"))[0]
            look = dict(color=color(who), marker="o" if bits == 32 else "s", linestyle="none", alpha=0.75)
            artists[f"products {bits}"] = ax.plot([], [], label=f"{bits} bits", markersize=7, **look)[0]
        for bound, (label, who, hatch) in _BOUNDS.items():
            look = dict(color=color(who), edgecolor=paper(), hatch=hatch, linewidth=0)
            artists[bound] = bars.bar((0, 1), (1, 1), 0.6, label=label, **look)
        ax.set(xscale="log", yscale="log", xlim=(_INTENSITIES[0], 3e4))
        ax.set(xlabel="arithmetic intensity, operations a byte", ylabel="billion operations a second")
        ax.minorticks_off()
        ax.legend(loc="upper left", title="matrix products in")
        bars.set_xticks((0, 1), ("32 bits", "8 bits"))
        bars.grid(axis="x", visible=False)
        bars.legend(loc="lower right", bbox_to_anchor=(1.02, 1.0), handlelength=1.4, labelspacing=0.25, fontsize=14)
        update(artists, machine, width, batch)
        return figure, artists

    def update(artists, machine, width, batch):
        chosen, work = machines[machine], roofline.step("resnet18", width, batch)
        products = work.products
        for bits in (32, 8):
            artists[f"roof {bits}"].set_data(_INTENSITIES, chosen.roof(_INTENSITIES, bits) / 1e9)
            intensity = work.intensity(bits)[products]
            reached = (work.flops / work.seconds(chosen, bits))[products]
            artists[f"products {bits}"].set_data(intensity, reached / 1e9)
        top = max(chosen.rate(32), chosen.rate(8)) / 1e9
        artists["axes"].set_ylim(chosen.roof(_INTENSITIES[0], 32) / 1e9, 4 * top)
        artists["axes"].set_title(f"{machine}: width {width}, batch {batch}")
        spent = [work.bounds(chosen, bits) for bits in (32, 8)]
        totals = np.array([sum(seconds.values()) for seconds in spent])
        unit, scale = ("s", 1) if totals[0] >= 1 else ("ms", 1e-3) if totals[0] >= 1e-3 else ("µs", 1e-6)
        start = np.zeros(2)
        for bound in _BOUNDS:
            for bar, bottom, seconds in zip(artists[bound], start, spent, strict=True):
                bar.set_y(bottom)
                bar.set_height(seconds[bound] / scale)
            start += [seconds[bound] / scale for seconds in spent]
        for text, total in zip(artists["totals"], start, strict=True):
            text.set_y(total + 0.01 * start.max())
            text.set_text(f"{total:.3g} {unit}")
        artists["bars"].set_ylim(0, 1.12 * start.max())
        artists["bars"].set_ylabel(f"{unit} a step, at least")
        artists["bars"].set_xticks((0, 1), ("32 bits", eight[machine]))
        return {
            "32 bits, ms": 1e3 * totals[0],
            "8 bits, ms": 1e3 * totals[1],
            "32 bits over 8 bits": totals[0] / totals[1],
            "share of memory-bound time in 8 bits": 1 - spent[1]["arithmetic"] / totals[1],
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
        ghosts=("roof 32", "roof 8"),
        slide=Slide(
            "Left: the products of a training step of ResNet-18 (width 64, batch 128) under the roofs of an H100, as "
            "its data sheet has them (dense, no tensor cores for float32), in 32 and in 8 bits. Right: the least time "
            "of a step, by what bounds it.",
            "Left: a roofline. In 32 bits most products lie under the flat roof; in 8 bits the roof is 30 times as "
            "high, and 17 of 43 products lie on the slope. Right: 7.60 milliseconds in 32 bits, mostly arithmetic; "
            "0.54 in 8 bits, two thirds of it waiting for memory.",
            "A training step under the roofline of an H100",
            {"machine": "H100, data sheet"},
        ),
    )


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
        (-0.2, "pinned", "counted from shapes", [known[part] for part in found]),
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
