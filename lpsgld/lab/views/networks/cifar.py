"""What notebook 08 shows: a training run, and how the average over posterior samples grows better and calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from lpsgld import metrics
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role, styled

_BINS = 15


@styled
def training_curves(history: Sequence[dict[str, Any]], title: str) -> Figure:
    """Error, negative log likelihood and step size by epoch; the epochs that gave a posterior sample are shaded."""
    figure, (error, nll, step_size) = new_figure(1, 3, title=title, wspace=0.28, left=0.07)
    epochs = [row["epoch"] for row in history]
    for ax, train, test, name in (
        (error, "train_error", "test_error", "error"),
        (nll, "train_loss", "test_nll", "negative log likelihood"),
    ):
        ax.plot(epochs, [row[train] for row in history], **role("pinned", label="training"))
        ax.plot(epochs, [row[test] for row in history], **role("vc", label="test"))
        ax.set_title(name)
    error.set_ylim(0, 1)
    error.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    nll.set_ylim(0, min(1.2 * max(row["train_loss"] for row in history) + 0.1, 4))  # the first test losses may be huge
    step_size.plot(epochs, [row["step_size"] for row in history], **role("target", label="_"))
    step_size.set(yscale="log", title="step size")
    for ax in (error, nll, step_size):
        ax.set_xlabel("epoch")
        for row in history:
            if row["sampled"]:
                label = "posterior sample" if ax is error and row is history[-1] else "_"
                ax.axvspan(row["epoch"] - 0.5, row["epoch"] + 0.5, color=color("full"), alpha=0.2, lw=0, label=label)
    error.legend(loc="upper right")
    return figure


def running_averages(members: Tensor) -> Tensor:
    """[S, N, C]: the average of the first 1, 2, ... S samples' probabilities."""
    counts = torch.arange(1, len(members) + 1, dtype=torch.float64).view(-1, 1, 1)
    return members.double().cumsum(0) / counts


def ensemble(members: Tensor, labels: Tensor) -> View:
    """A view whose slider adds posterior samples: reliability on the left, scores on the right.

    members: [S, N, C] probabilities of each sample, S ≥ 2. labels: [N].
    """
    averages = running_averages(members)
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
    )
