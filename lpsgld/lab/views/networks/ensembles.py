"""What notebook 09 shows: posterior samples beside one network: calibration, shifted images, abstention, disagreement.

Two predictors are compared everywhere, by name: SAMPLER, the average over posterior samples, and RIVAL, one network.
Results that were recorded elsewhere are drawn in `recorded.py`.
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
from lpsgld.bnn.studies.shifts import Setting
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.metrics import Reliability

SAMPLER, RIVAL = "posterior samples", "one network"
ROLES = {SAMPLER: "vc", RIVAL: "sgd"}
SCORES = {"error": "test error", "nll": "negative log likelihood", "ece": "ECE, 15 bins"}

Shifted = Mapping[Setting, Evaluation]
Members = Mapping[str, Tensor]


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


def samples(sampler: Members, rival: Members, labels: Tensor) -> View:
    """A view whose slider adds posterior samples: reliability on the left, error, NLL and ECE on the right.

    sampler, rival: probabilities [S, N, C] and [1, N, C] for each set of images. labels: [N].
    """
    averages = {name: metrics.running_averages(members) for name, members in sampler.items()}
    scores = {name: [metrics.summary(p, labels) for p in average] for name, average in averages.items()}
    beside = {name: metrics.summary(members[-1], labels) for name, members in rival.items()}
    sources = tuple(sampler)
    counts = np.arange(1, len(scores[sources[0]]) + 1)

    def build(source, samples):
        figure, ax, small = one_tall_and_three("More and more posterior samples")
        curves = reliability_axes(ax, ROLES)
        artists = {"sampler": curves[SAMPLER], "rival": curves[RIVAL], "small": list(small)}
        for axis, (name, title) in zip(small, SCORES.items(), strict=True):
            artists[f"{name} curve"] = axis.plot([], [], **role(ROLES[SAMPLER]))[0]
            artists[f"{name} rival"] = axis.axhline(0, **role(ROLES[RIVAL]))
            artists[f"{name} here"] = axis.plot([], [], "o", color=color("target"), markersize=9)[0]
            axis.set(title=title, xlim=(0.5, len(counts) + 0.5))
            if name != "nll":
                axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
            axis.tick_params(labelbottom=axis is small[-1])
        small[-1].set_xlabel("posterior samples")
        update(artists, source, samples)
        return figure, artists

    def update(artists, source, samples):
        score = scores[source][samples - 1]
        set_reliability(artists["sampler"], metrics.reliability(averages[source][samples - 1], labels))
        set_reliability(artists["rival"], metrics.reliability(rival[source][-1], labels))
        for axis, name in zip(artists["small"], SCORES, strict=True):
            values, alone = [row[name] for row in scores[source]], beside[source][name]
            artists[f"{name} curve"].set_data(counts, values)
            artists[f"{name} rival"].set_ydata([alone, alone])
            artists[f"{name} here"].set_data([samples], [score[name]])
            axis.set_ylim(*room(*values, alone))
        return {
            "error": score["error"],
            "NLL": score["nll"],
            "ECE": score["ece"],
            "NLL of one network": beside[source]["nll"],
            "ECE of one network": beside[source]["ece"],
        }

    return View(
        name="samples",
        title="More and more posterior samples",
        build=build,
        update=update,
        controls=(
            Control("source", "images are", sources, sources[0], kind="buttons"),
            Control("samples", "posterior samples", tuple(counts.tolist()), len(counts)),
        ),
        static=({"samples": 1}, *({"source": source} for source in sources)),
        ghosts=("sampler",),
        slide=Slide(
            "Reliability diagram, error, NLL and ECE of the average over posterior samples on noisy test images, "
            "beside one network. Recipe {recipe} on {dataset}, {model} of width {width}, {epochs} epochs, temperature "
            "{temperature}.",
            "Left: accuracy against confidence; the one network lies below the diagonal, more confident than it is "
            "right. Right: error, negative log likelihood and calibration error against the number of posterior "
            "samples, with those of one network as a horizontal line.",
            "More and more posterior samples, on noisy images",
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


def shifted(sampler: Shifted, rival: Shifted, images: Mapping[Setting, Tensor], classes: Sequence[str]) -> View:
    """A view whose slider shifts the test images: the first of them, the entropy of all, and what the scores do.

    sampler, rival: evaluations for the same settings. images: the images behind them, at least 8.
    """
    kinds, strengths = kinds_and_strengths(sampler)
    both = {SAMPLER: sampler, RIVAL: rival}
    counted = {
        (name, setting): e.entropy_histogram(_BINS) for name, told in both.items() for setting, e in told.items()
    }
    heights = {key: metrics.shares(np.add(h["right"], h["wrong"])) for key, h in counted.items()}
    edges = counted[SAMPLER, (kinds[0], strengths[0])]["edges"]
    titles = {"error": "error", "ECE": "ece", "mutual information": "mutual_information"}
    curves = {
        (name, kind): {title: [told[kind, s].scores[score] for s in strengths] for title, score in titles.items()}
        for name, told in both.items()
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
        for name in both:
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
        told = sampler[kind, strength]
        for text, p in zip(artists["said"], told.probabilities, strict=False):
            text.set_text(f"{classes[int(p.argmax())]}\n{p.max():.0%}")
        artists["axes"].set_ylim(0, 1.35 * max(heights[name, (kind, strength)].max() for name in both))
        for name in both:
            artists[f"{name} entropy"].set_data(heights[name, (kind, strength)], edges)
            for title in titles:
                artists[f"{name} {title}"].set_data(strengths, curves[name, kind][title])
        for line in artists["here"]:
            line.set_xdata([strength] * 2)
        return {
            "error": told.scores["error"],
            "ECE": told.scores["ece"],
            "ECE of one network": rival[kind, strength].scores["ece"],
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
        ghosts=(f"{SAMPLER} entropy", f"{RIVAL} entropy"),
        slide=Slide(
            "Predictive entropy, error, ECE and mutual information on noisy test images, posterior samples beside one "
            "network. Recipe {recipe} on {dataset}, {model} of width {width}, {epochs} epochs, temperature "
            "{temperature}.",
            "Above: eight noisy digits with the predicted class and its probability. Below: a histogram of the "
            "predictive entropy, and error, calibration error and mutual information against the strength of the "
            "noise. The samples are less often sure than the one network, and better calibrated on strong noise.",
            "Images that no training showed: noise",
            {"kind": "noisy", "strength": 1.0},
        ),
    )


def strip(images: Tensor) -> np.ndarray:
    """uint8 images [N, C, H, W], grey or RGB, side by side with nothing between them: RGBA [H, W', 4]."""
    opaque = torch.full_like(images[:, :1], 255)
    framed = torch.nn.functional.pad(torch.cat([images.expand(-1, 3, -1, -1), opaque], dim=1), (1, 1))
    return torch.cat(list(framed), dim=2)[:, :, 1:-1].permute(1, 2, 0).numpy()


def kinds_and_strengths(told: Shifted) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """All kinds of shift, and all strengths, in their order."""
    return tuple(dict.fromkeys(kind for kind, _ in told)), tuple(dict.fromkeys(strength for _, strength in told))


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
