"""What notebook 08 shows of a network's layers: the branches that their weights take, and the numbers that they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from lpsgld import metrics
from lpsgld.bnn.training import probe
from lpsgld.bnn.training.probe import Numbers
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure
from lpsgld.variance import BRANCHES

_LOOKS = {"spline": ("vc", None), "correction": ("full", "//"), "floor": ("naive", "xx")}
_LOWEST = 1e-4  # v/v0 at the lower end of the map
_MAPS = {
    "variance kept": ("weights that keep the variance v", ["0%", "25%", "50%", "75%", "100%"]),
    "v / v0": ("median of v / v0", ["1e-4", "1e-3", "0.01", "0.1", "≥ 1"]),
    "gradient is 0": ("weights whose gradient is rounded to 0", ["0%", "25%", "50%", "75%", "100%"]),
}


def branches(history: Sequence[Mapping[str, Any]]) -> View:
    """A view of the branches of Q^vc over a run: a map of layers by epochs, and all layers in the epoch of the slider.

    history: of a `Run` or a record, two or more epochs of which have "branches".
    """
    epochs, names, (spline, correction, floor, zero, ratio) = probe.over_epochs(history)
    branch = dict(zip(BRANCHES, (spline, correction, floor), strict=True))
    maps = {
        "variance kept": spline + correction,
        "v / v0": 1 - np.log10(ratio.clip(_LOWEST, 1)) / np.log10(_LOWEST),
        "gradient is 0": zero,
    }
    labels = [name.removesuffix(".weight").removeprefix("blocks.") for name in names]
    places = np.arange(len(names))

    def build(shown, epoch):
        figure, (ax, shares) = new_figure(
            1, 2, title="Which way the weights are rounded", sharey=True, width_ratios=(1.25, 1), wspace=0.1,
            left=0.125, top=0.8,
        )  # fmt: skip
        picture = ax.imshow(
            maps[shown], cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest",
            extent=(0, len(epochs), len(names) - 0.5, -0.5),
        )  # fmt: skip
        bar = figure.colorbar(picture, ax=ax, pad=0.03)
        middles = np.arange(len(epochs)) + 0.5
        few = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), 6)).round().astype(int))
        ax.set_xticks(middles[few], [epochs[i] for i in few])
        ax.set_yticks(places, labels, fontsize=14)
        ax.set(xlabel="epoch")
        ax.grid(False)
        artists = {
            "map": picture,
            "bar": bar,
            "axes": ax,
            "here": ax.plot([0], [-0.5], "v", color=color("target"), markersize=13, clip_on=False)[0],
            **{
                name: shares.barh(places, np.ones(len(names)), 0.8, color=color(look), hatch=hatch, label=name)
                for name, (look, hatch) in _LOOKS.items()
            },
        }
        shares.set(xlim=(0, 1), xlabel="share of the layer's weights")
        shares.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        shares.tick_params(labelleft=False)
        shares.grid(False)
        shares.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=3, handlelength=1.2, columnspacing=1.2)
        update(artists, shown, epoch)
        return figure, artists

    def update(artists, shown, epoch):
        index = epochs.index(epoch)
        title, ticks = _MAPS[shown]
        artists["map"].set_data(maps[shown])
        artists["bar"].set_ticks([0, 0.25, 0.5, 0.75, 1], labels=ticks)
        artists["axes"].set_title(title, fontsize=16, pad=16)
        artists["here"].set_xdata([index + 0.5])
        left = np.zeros(len(names))
        for name, shares in branch.items():
            widths = shares[:, index]
            for bar, start, width in zip(artists[name], left, widths, strict=True):
                bar.set_x(start)
                bar.set_width(width)
            left = left + widths
        return {name: shares[:, index].mean() for name, shares in (branch | {"gradient is 0": zero}).items()}

    return View(
        name="branches",
        title="Which way the weights are rounded",
        build=build,
        update=update,
        controls=(
            Control("shown", "the map shows", tuple(_MAPS), "variance kept", kind="buttons"),
            Control("epoch", "epoch", epochs, epochs[-1]),
        ),
        static=({}, {"shown": "v / v0"}, {"epoch": epochs[0], "shown": "gradient is 0"}),
        slide=Slide(
            "Left: the share of each layer's weights whose step can have the variance that Langevin asks for, by "
            "epoch. Right: the branches of variance-corrected rounding in the last epoch. Recipe {recipe} on "
            "{dataset}, width {width}, {epochs} epochs.",
            "A map of layers by epochs, bright where the variance is kept, and a stacked bar for each layer with the "
            "shares of spline, correction and floor.",
            "Which way the weights are rounded: {recipe} on {dataset}",
        ),
    )


# ---- the numbers that a layer uses -----------------------------------------------------------------------------------

_PARTS = {"weights": "vc", "gradients": "naive", "activations": "full"}


def numbers(told: Mapping[str, Numbers]) -> View:
    """A view of the codes that weights, gradients and activations take; the slider goes through the layers."""
    layers = tuple(told)

    def build(layer):
        figure, axes = new_figure(1, 3, title="The numbers of a layer", wspace=0.24, left=0.085, top=0.82)
        artists = {"axes": list(axes)}
        for ax, (part, look) in zip(axes, _PARTS.items(), strict=True):
            artists[part] = ax.stairs([1], [0, 1], fill=True, color=color(look), label=part)
            artists[f"{part} said"] = ax.text(0.98, 0.97, "", transform=ax.transAxes, ha="right", va="top")
            ax.set(yscale="log", ylim=(1e-5, 3))
            ax.minorticks_off()
        axes[0].set_ylabel("share of the values")
        update(artists, layer)
        return figure, artists

    def update(artists, layer):
        for ax, part in zip(artists["axes"], _PARTS, strict=True):
            h = getattr(told[layer], part)
            edges = h.edges.numpy()
            artists[part].set_data(metrics.shares(h.counts), edges)
            artists[f"{part} said"].set_text(f"{h.fmt}\n0: {h.zero:.1%}")
            ax.set(xlim=(edges[0], edges[-1]), title=part)
            ax.set_xlabel("x / largest |x|" if h.fmt == "full" else "code, in gaps Δ")
        weights, gradients, activations = (getattr(told[layer], part) for part in _PARTS)
        return {
            "codes that weights use": weights.used,
            "gradients rounded to 0": gradients.zero,
            "activations that are 0": activations.zero,
            "weights at the ends": weights.clipped,
        }

    return View(
        name="numbers",
        title="The numbers of a layer",
        build=build,
        update=update,
        controls=(Control("layer", "layer", layers, layers[0], kind="slider"),),
        static=({}, {"layer": layers[-1]}),
        ghosts=tuple(_PARTS),
        slide=Slide(
            "How often the first convolution uses each code: its weights in the last posterior sample, their gradient "
            "and its output for one batch. Recipe {recipe} on {dataset}, width {width}, {epochs} epochs.",
            "Three histograms on a logarithmic scale, of weights, gradients and activations, by code from -128 to 127.",
            "The numbers of the first layer: {recipe} on {dataset}",
        ),
    )
