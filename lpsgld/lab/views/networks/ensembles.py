"""What notebook 09 shows: posterior samples beside their control: calibration, shifted images, disagreement, drift.

Three predictors are compared everywhere, by name: SAMPLER, the average over posterior samples, SNAPSHOTS, that over
networks of the same schedule without noise, and RIVAL, the last of these alone. Results that were recorded elsewhere
are drawn in `recorded.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from lpsgld import metrics
from lpsgld.bnn.judging.ensemble import Evaluation
from lpsgld.bnn.studies import control as control_study
from lpsgld.bnn.studies.control import Control as Study
from lpsgld.bnn.studies.shifts import Setting
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.metrics import Reliability

SAMPLER, SNAPSHOTS, RIVAL = "posterior samples", "snapshots, T = 0", "one network"
ROLES = {SAMPLER: "vc", SNAPSHOTS: "full", RIVAL: "sgd"}
SCORES = {"error": "test error", "nll": "negative log likelihood", "ece": "ECE, 15 bins"}

Shifted = Mapping[str, Mapping[Setting, Evaluation]]  # by predictor
Members = Mapping[str, Mapping[str, Tensor]]  # by predictor, and by name of the images


def reliability_axes(ax: Axes, names: Mapping[str, str], ncols: int = 3) -> dict[str, Line2D]:
    """Axes of a reliability diagram with an empty curve for each name; names: label -> role. Returns the curves."""
    ax.plot([0, 1], [0, 1], **role("target", label="calibrated", linewidth=1.5))
    curves = {
        name: ax.plot([], [], marker="o", markersize=7, **role(look, label=name))[0] for name, look in names.items()
    }
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.05, 0.99), ncols=ncols, handlelength=1.5, columnspacing=1.0)
    return curves


def set_reliability(curve: Line2D, diagram: Reliability) -> None:
    """Move a curve of `reliability_axes` to a diagram. Bins of fewer than 5 images are left out: they say nothing."""
    told = diagram.count >= 5
    curve.set_data(diagram.confidence[told].numpy(), diagram.accuracy[told].numpy())


def one_tall_and_three(title: str, **gridspec) -> tuple[Figure, Axes, Sequence[Axes]]:
    """A figure with one axes on the left and three small ones on top of each other on the right."""
    figure, axes = new_figure(3, 2, title=title, **({"wspace": 0.2, "hspace": 0.55, "left": 0.07} | gridspec))
    left = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    for ax in axes[:, 0]:
        ax.remove()
    return figure, left, axes[:, 1]


# ---- more and more samples ---------------------------------------------------------------------------------------


def samples(members: Members, labels: Tensor) -> View:
    """A view whose slider adds networks to both averages: reliability on the left, error, NLL and ECE on the right.

    members: probabilities [S, N, C] of each predictor for each set of images; S is 1 for RIVAL. labels: [N].
    """
    averages = {
        (who, source): metrics.running_averages(told) for who, by in members.items() for source, told in by.items()
    }
    scores = {key: [metrics.summary(p, labels) for p in average] for key, average in averages.items()}
    sources = tuple(members[SAMPLER])
    counts = np.arange(1, len(scores[SAMPLER, sources[0]]) + 1)

    def build(source, samples):
        figure, ax, small = one_tall_and_three("More and more networks", top=0.81)
        artists = reliability_axes(ax, ROLES, ncols=2) | {"small": list(small)}
        for axis, (score, title) in zip(small, SCORES.items(), strict=True):
            for who in (SAMPLER, SNAPSHOTS):
                artists[f"{score} {who}"] = axis.plot([], [], **role(ROLES[who]))[0]
            artists[f"{score} {RIVAL}"] = axis.axhline(0, **role(ROLES[RIVAL]))
            artists[f"{score} here"] = axis.plot([], [], "o", color=color("target"), markersize=9)[0]
            axis.set(title=title, xlim=(0.5, len(counts) + 0.5))
            if score != "nll":
                axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
            axis.tick_params(labelbottom=axis is small[-1])
        small[-1].set_xlabel("networks averaged")
        update(artists, source, samples)
        return figure, artists

    def update(artists, source, samples):
        at = {who: min(samples, len(members[who][source])) - 1 for who in members}
        here = {who: scores[who, source][index] for who, index in at.items()}
        for who, index in at.items():
            set_reliability(artists[who], metrics.reliability(averages[who, source][index], labels))
        for axis, score in zip(artists["small"], SCORES, strict=True):
            curves = {who: [row[score] for row in scores[who, source]] for who in (SAMPLER, SNAPSHOTS)}
            for who, values in curves.items():
                artists[f"{score} {who}"].set_data(counts[: len(values)], values)
            artists[f"{score} {RIVAL}"].set_ydata([here[RIVAL][score]] * 2)
            artists[f"{score} here"].set_data([samples], [here[SAMPLER][score]])
            axis.set_ylim(*room(*curves[SAMPLER], *curves[SNAPSHOTS], here[RIVAL][score]))
        return {
            "error": here[SAMPLER]["error"],
            "NLL": here[SAMPLER]["nll"],
            "ECE": here[SAMPLER]["ece"],
            "NLL of snapshots": here[SNAPSHOTS]["nll"],
            "NLL of one network": here[RIVAL]["nll"],
        }

    return View(
        name="samples",
        title="More and more networks",
        build=build,
        update=update,
        controls=(
            Control("source", "images are", sources, sources[0], kind="buttons"),
            Control("samples", "networks averaged", tuple(counts.tolist()), len(counts)),
        ),
        static=({"samples": 1}, *({"source": source} for source in sources)),
        ghosts=(SAMPLER, SNAPSHOTS),
        slide=Slide(
            "Reliability diagram, error, NLL and ECE on noisy test images, of the average over posterior samples, of "
            "the average over snapshots without noise on the same schedule, and of one network. Recipe {recipe} on "
            "{dataset}, {model} of width {width}, {epochs} epochs, temperature {temperature}.",
            "Left: accuracy against confidence; the one network lies below the diagonal, more confident than it is "
            "right. Right: error, negative log likelihood and calibration error against the number of networks "
            "averaged, which grow with it; that of one network is a horizontal line.",
            "More and more networks, on noisy images",
            {"source": "noisy"},
        ),
    )


def room(*values: float, below: float = 0.25, above: float = 0.25) -> tuple[float, float]:
    """Limits of an axis that shows these values with some room around them."""
    low, high = min(values), max(values)
    span = (high - low) or 0.1 * high or 0.1
    return low - below * span, high + above * span


# ---- images that are not like those of the training ----------------------------------------------------------------

_SHOWN = 8  # pictures in the strip
_BINS = 24


def shifted(evaluated: Shifted, images: Mapping[Setting, Tensor], classes: Sequence[str]) -> View:
    """A view whose slider shifts the test images: the first of them, the entropy of all, and what the scores do.

    evaluated: of all three predictors, for the same settings. images: the images behind them, at least 8.
    """
    kinds, strengths = kinds_and_strengths(evaluated)
    counted = {
        (name, setting): e.entropy_histogram(_BINS) for name, told in evaluated.items() for setting, e in told.items()
    }
    heights = {key: metrics.shares(np.add(h["right"], h["wrong"])) for key, h in counted.items()}
    edges = counted[SAMPLER, (kinds[0], strengths[0])]["edges"]
    titles = {"error": "error", "ECE": "ece", "mutual information": "mutual_information"}
    curves = {
        (name, kind): {title: [told[kind, s].scores[score] for s in strengths] for title, score in titles.items()}
        for name, told in evaluated.items()
        for kind in kinds
    }
    pictures = {setting: strip(chosen[:_SHOWN]) for setting, chosen in images.items()}
    top = max(max(curve["mutual information"]) for curve in curves.values())

    def build(kind, strength):
        figure, axes = new_figure(
            2, 4, title="Images that no training showed", height_ratios=(1, 2), width_ratios=(1.5, 1, 1, 1),
            left=0.06, wspace=0.3, hspace=0.5, top=0.89,
        )  # fmt: skip
        row = figure.add_subplot(axes[0, 0].get_gridspec()[0, :])
        for ax in axes[0]:
            ax.remove()
        entropy, *small = axes[1]
        shown = pictures[kind, strength]
        step = (shown.shape[1] + 2) / _SHOWN  # pixels from one picture to the next
        middles = [i * step + step / 2 - 1.5 for i in range(_SHOWN)]
        below = dict(ha="center", va="top", fontsize=14)
        artists = {
            "axes": entropy,
            "pictures": row.imshow(shown, aspect="equal"),
            "said": [row.text(x, -0.05, "", transform=row.get_xaxis_transform(), **below) for x in middles],
            "here": [ax.axvline(0, ymax=0.97, **role("target", linewidth=1.2)) for ax in small],
        }
        for name in evaluated:
            look = role(ROLES[name], label=name)
            artists[f"{name} entropy"] = entropy.stairs([0] * _BINS, edges, baseline=None, **look)
            for ax, title in zip(small, titles, strict=True):
                artists[f"{name} {title}"] = ax.plot([], [], **look)[0]
        row.set_axis_off()
        row.set_anchor("N")
        entropy.set(xlim=(0, edges[-1]), xlabel="predictive entropy, nats", title="share of the images")
        entropy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        entropy.legend(loc="upper center", handlelength=1.8)
        for ax, title in zip(small, titles, strict=True):
            ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="strength", title=title)
            if title == "mutual information":
                ax.set_ylim(0, 1.1 * top or 0.1)
                ax.set_title("mut. information")
            else:
                ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        update(artists, kind, strength)
        return figure, artists

    def update(artists, kind, strength):
        artists["pictures"].set_data(pictures[kind, strength])
        told = evaluated[SAMPLER][kind, strength]
        for text, p in zip(artists["said"], told.probabilities, strict=False):
            text.set_text(f"{classes[int(p.argmax())]}\n{p.max():.0%}")
        artists["axes"].set_ylim(0, 1.35 * max(heights[name, (kind, strength)].max() for name in evaluated))
        for name in evaluated:
            artists[f"{name} entropy"].set_data(heights[name, (kind, strength)], edges)
            for title in titles:
                artists[f"{name} {title}"].set_data(strengths, curves[name, kind][title])
        for line in artists["here"]:
            line.set_xdata([strength] * 2)
        return {
            "error": told.scores["error"],
            "ECE": told.scores["ece"],
            "ECE of snapshots": evaluated[SNAPSHOTS][kind, strength].scores["ece"],
            "ECE of one network": evaluated[RIVAL][kind, strength].scores["ece"],
            "entropy": told.scores["entropy"],
            "its part from disagreement": told.scores["mutual_information"],
        }

    return View(
        name="shifted",
        title="Images that no training showed",
        build=build,
        update=update,
        controls=(
            Control("kind", "images are", kinds, kinds[0], kind="buttons"),
            Control("strength", "strength of the shift", strengths, strengths[len(strengths) // 2]),
        ),
        static=tuple({"kind": kind} for kind in kinds),
        ghosts=tuple(f"{name} entropy" for name in evaluated),
        slide=Slide(
            "Predictive entropy, error, ECE and mutual information on noisy test images: posterior samples beside "
            "snapshots without noise, and one network. Recipe {recipe} on {dataset}, {model} of width {width}, "
            "{epochs} epochs, temperature {temperature}.",
            "Above: eight noisy digits with the predicted class and its probability. Below: a histogram of the "
            "predictive entropy, and error, calibration error and mutual information against the strength of the "
            "noise. Of the three, only the samples have a mutual information to speak of.",
            "Images that no training showed: noise",
            {"kind": "noisy", "strength": 1.0},
        ),
    )


def strip(images: Tensor) -> np.ndarray:
    """uint8 images [N, C, H, W], grey or RGB, side by side with nothing between them: RGBA [H, W', 4]."""
    opaque = torch.full_like(images[:, :1], 255)
    framed = torch.nn.functional.pad(torch.cat([images.expand(-1, 3, -1, -1), opaque], dim=1), (1, 1))
    return torch.cat(list(framed), dim=2)[:, :, 1:-1].permute(1, 2, 0).numpy()


def kinds_and_strengths(evaluated: Shifted) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """All kinds of shift, and all strengths, in their order."""
    kinds, strengths = zip(*evaluated[SAMPLER], strict=True)
    return tuple(dict.fromkeys(kinds)), tuple(dict.fromkeys(strengths))


# ---- how much the samples differ -----------------------------------------------------------------------------------


@Slide(
    "Share of test images on which two posterior samples predict different classes. Recipe {recipe} on {dataset}, "
    "{model} of width {width}, {epochs} epochs, temperature {temperature}.",
    "A square map, one row and column a sample, dark on the diagonal. With a cyclical step size, dark blocks along the "
    "diagonal are the cycles.",
    "How often two samples disagree",
)
def disagreement(members: Tensor) -> Figure:
    """A map of the share of test images on which each two samples predict different classes. members: [S, N, C]."""
    shares = metrics.pairwise_disagreement(members).numpy()
    count = len(shares)
    figure, ax = new_figure(title="How often two samples disagree", left=0.07, right=0.9)
    edges = (0.5, count + 0.5)
    picture = ax.imshow(shares, cmap="cividis", vmin=0, extent=(*edges, *edges[::-1]), interpolation="nearest")
    bar = figure.colorbar(picture, ax=ax, pad=0.03)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    bar.set_label("test images with different predictions")
    ax.set(xlabel="posterior sample", ylabel="posterior sample")
    ax.grid(False)
    return figure


# ---- the control ---------------------------------------------------------------------------------------------------

_DRIFT = ("as they are", "noisy", "inverted")
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


@Slide(
    "NLL of the average over the networks of each cycle of the step size, and, beyond the line, of all cycles: "
    "posterior samples at two temperatures beside snapshots without noise. Dotted: one network of SGD. Means over "
    "{chains} chains, and their standard errors. Recipe {recipe} on {dataset}, {model} of width {width}.",
    "Three panels, for test images as they are, noisy and inverted half way. On images as they are the NLL falls over "
    "the cycles, on noisy and inverted ones it rises, without noise as with it.",
    "Later cycles know the digits better, and all else worse",
)
def control(study: Study) -> Figure:
    """NLL by cycle, and of the average over all cycles, at each temperature."""
    looks = {control_study.name(0): "full", control_study.name(study.recipe.temperature): "vc"}
    others = [who for who in study.rows if who not in looks and who != control_study.SGD]
    looks |= dict(zip(others, ("naive", "target"), strict=False))
    figure, axes = new_figure(1, len(_DRIFT), title="Cycle by cycle", wspace=0.22, left=0.06, top=0.8)
    cycles = np.arange(1, study.recipe.cycles + 1)
    for ax, source in zip(axes, _DRIFT, strict=True):
        for shift, (who, look) in enumerate(looks.items()):
            mean, error = study.spread(who, source, "cycle_nll")
            ax.errorbar(cycles, mean, error, **role(look, label=who), capsize=4)
            mean, error = study.spread(who, source, "nll")
            place = cycles[-1] + 1.3 + 0.3 * shift
            ax.errorbar(place, mean, error, fmt="D", color=color(look), markersize=9, capsize=4, label="_")
        one = study.scores(control_study.SGD, source, "last_nll").mean()
        ax.axhline(one, **role("sgd", label="one network of SGD"))
        ax.axvline(cycles[-1] + 0.7, color=color("reference"), linewidth=1)
        ax.set(title=f"NLL, {source}", xlabel="cycle", xlim=(0.5, cycles[-1] + 2.4), yscale="log")
        low, high = ax.get_ylim()
        ax.set_yticks([tick for tick in _TICKS if low < tick < high], minor=False)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.minorticks_off()
        ax.set_xticks([*cycles, cycles[-1] + 1.6], [*map(str, cycles), "all"])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.05, 0.93), ncols=4, columnspacing=1.6)
    return figure
