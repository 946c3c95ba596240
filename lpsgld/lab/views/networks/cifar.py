"""What notebook 08 shows: a training run, and how the average over posterior samples grows better and calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from lpsgld import metrics
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role

_BINS = 15


@Slide(
    "Recipe {recipe} on {dataset}, width {width}, {epochs} epochs. Shaded: the epochs after which a posterior sample "
    "is kept.",
    "Three plots by epoch: error and negative log likelihood of training and test images, which fall, and the step "
    "size, which is constant at first, then falls to a hundredth.",
    "Training in 8 bits: {recipe} on {dataset}",
)
def training_curves(history: Sequence[dict[str, Any]], title: str) -> Figure:
    """Error, negative log likelihood and step size by epoch; the epochs that gave a posterior sample are shaded."""
    figure, (error, nll, step_size) = new_figure(1, 3, title=title, wspace=0.28, left=0.07)
    epochs = [row["epoch"] for row in history]
    for ax, train, test, name in (
        (error, "train_error", "test_error", "error"),
        (nll, "train_loss", "test_nll", "negative log likelihood"),
    ):
        ax.plot(epochs, [row[train] for row in history], **role("reference", label="training"))
        ax.plot(epochs, [row[test] for row in history], **role("vc", label="test"))
        ax.set_title(name)
    error.set_ylim(0, 1)
    error.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    nll.set_ylim(0, min(1.2 * max(row["train_loss"] for row in history) + 0.1, 4))  # the first test losses may be huge
    step_size.plot(epochs, [row["step_size"] for row in history], **role("target", label="_"))
    step_size.set(yscale="log", title="step size")
    for ax in (error, nll, step_size):
        ax.set_xlabel("epoch")
        _shade_samples(ax, history, label=ax is error)
    error.legend(loc="upper right")
    return figure


@Slide(
    "Variance of a step, mean over weights, by epoch: what SGLD injects, 2·lr·T/N, and what mini-batches add, "
    "lr²·Var(g). Shaded: the epochs after which a posterior sample is kept. Recipe {recipe} on {dataset}, width "
    "{width}, {epochs} epochs.",
    "Two curves on a logarithmic axis. The noise of mini-batches lies above the injected one at first, and far below "
    "it at the end, where samples are kept.",
    "Two kinds of noise: {recipe} on {dataset}",
)
def noise(history: Sequence[dict[str, Any]], temperature: float, num_data: int) -> Figure:
    """The variance that a step injects and that which mini-batches add, by epoch."""
    figure, ax = new_figure(title="Two kinds of noise", left=0.11)
    rows = [row for row in history if "gradient_variance" in row]
    epochs = [row["epoch"] for row in rows]
    added = [row["step_size"] ** 2 * row["gradient_variance"] for row in rows]
    injected = [2 * row["step_size"] * temperature / num_data for row in rows]
    ax.plot(epochs, added, **role("naive", label="added by mini-batches, lr² Var(g)"))
    if temperature:
        ax.plot(epochs, injected, **role("vc", label="injected, v = 2 lr T / N"))
    _shade_samples(ax, history, label=True)
    ax.set(yscale="log", xlabel="epoch", ylabel="variance of a step")
    ax.legend(loc="lower left")
    return figure


def _shade_samples(ax: Axes, history: Sequence[dict[str, Any]], label: bool) -> None:
    for row in history:
        if row["sampled"]:
            said = "posterior sample" if label and row is history[-1] else "_"
            ax.axvspan(row["epoch"] - 0.5, row["epoch"] + 0.5, color=color("full"), alpha=0.2, lw=0, label=said)


def ensemble(members: Tensor, labels: Tensor) -> View:
    """A view whose slider adds posterior samples: reliability on the left, scores on the right.

    members: [S, N, C] probabilities of each sample, S ≥ 2. labels: [N].
    """
    averages = metrics.running_averages(members)
    scores = [metrics.summary(average, labels) for average in averages]
    single = [metrics.summary(member.double(), labels) for member in members]
    diagrams = [metrics.reliability(average, labels, _BINS) for average in averages]
    counts = np.arange(1, len(members) + 1)

    def build(samples):
        figure, (ax, curve) = new_figure(1, 2, title="What posterior samples buy", wspace=0.24)
        ax.plot([0, 1], [0, 1], **role("target", label="calibrated"))
        artists = {
            "bins": ax.scatter([0.5], [0.5], color=color("vc"), zorder=3, label="test images"),
            "gaps": ax.vlines([0.5], [0.4], [0.5], color=color("naive"), linewidth=2.5, label="gap"),
            "text": figure.text(0.975, 0.965, "", ha="right", va="top", fontsize=17),
            "here": curve.axvline(1, ymax=0.82, **role("target", linewidth=1.2, label="_")),
        }
        ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
        ax.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=3, handlelength=1.2, columnspacing=1.2)
        alone = [score["nll"] for score in single]
        curve.plot(counts, alone, "o", color=color("naive"), markersize=7, label="one sample alone")
        curve.plot(counts, [score["nll"] for score in scores], **role("vc", label="average of the first ones"))
        low, high = min(alone + [score["nll"] for score in scores]), max(alone)
        room = high - low or 0.1 * high
        curve.set_ylim(low - 0.15 * room, high + 0.45 * room)
        curve.set(xlabel="posterior samples", title="negative log likelihood", xlim=(0.5, len(members) + 0.5))
        curve.legend(loc="upper right")
        update(artists, samples)
        return figure, artists

    def update(artists, samples):
        diagram, score = diagrams[samples - 1], scores[samples - 1]
        full = (diagram.count > 0).numpy()
        confidence, accuracy, count = (
            part.numpy()[full] for part in (diagram.confidence, diagram.accuracy, diagram.count)
        )
        artists["bins"].set_offsets(np.stack([confidence, accuracy], axis=1))
        artists["bins"].set_sizes(40 + 500 * np.sqrt(count / count.sum()))
        ends = zip(confidence, accuracy, strict=True)
        artists["gaps"].set_segments([[(x, x), (x, y)] for x, y in ends])
        noun = "sample" if samples == 1 else "samples"
        artists["text"].set_text(f"{samples} {noun}: error {score['error']:.1%}, ECE {score['ece']:.1%}")
        artists["here"].set_xdata([samples] * 2)
        return {"error": score["error"], "NLL": score["nll"], "ECE": score["ece"], "ECE (paper)": score["ece_paper"]}

    return View(
        name="ensemble",
        title="What posterior samples buy",
        build=build,
        update=update,
        controls=(Control("samples", "posterior samples", tuple(int(count) for count in counts), len(members)),),
        static=({"samples": 1}, {}),
        slide=Slide(
            "Reliability diagram and negative log likelihood of the average over {samples} posterior samples. Recipe "
            "{recipe} on {dataset}, width {width}, {epochs} epochs.",
            "Left: accuracy against confidence for each group of test images, beside the diagonal. Right: the negative "
            "log likelihood of single samples as points, and of the average of the first ones as a line.",
            "What posterior samples buy: {recipe} on {dataset}",
        ),
    )
