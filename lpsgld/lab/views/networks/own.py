"""What notebook 13 shows: what an average of 8-bit networks buys on text, and what eight bits do to attention."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from lpsgld import metrics
from lpsgld.bnn.studies.attending import Seen
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, paper, role

FORMATS = ("full", "block(8,0)", "block(6,0)", "block(4,0)", "fixed(8,7)", "mxfp8(e4m3)")
ROUNDINGS = ("nearest", "stochastic")
KINDS = {"samples": "vc", "snapshots": "naive"}  # with the sampler's noise, and without
_BINS = 15


def average(kinds: Mapping[str, Tensor], single: Tensor, labels: Tensor) -> View:
    """A view whose slider adds networks to two averages: their perplexity on the left, their calibration on the right.

    kinds: for each of `KINDS` the probabilities of its networks, [S, N, L, C], S ≥ 2. single: those of the network that
    all of them began with, [N, L, C]. labels: [N, L].
    """
    counts = range(1, len(kinds["samples"]) + 1)
    scores, diagrams = {}, {}
    for kind, members in kinds.items():
        total = 0.0
        for count, member in zip(counts, members, strict=True):
            total = total + member.double()
            scores[kind, count] = _scores(total / count, labels)
            diagrams[kind, count] = metrics.reliability(total / count, labels, _BINS)
    alone = {kind: [_scores(member, labels)["perplexity"] for member in members] for kind, members in kinds.items()}
    before, diagram = _scores(single, labels), metrics.reliability(single, labels, _BINS)

    def build(networks):
        figure, (curve, ax) = new_figure(1, 2, title="What an average buys", wspace=0.24, left=0.075)
        curve.axhline(before["perplexity"], **role("target", label="the trained network"))
        ax.plot([0, 1], [0, 1], **role("reference", label="_"))
        ax.plot(*_curve(diagram), **role("target", label="the trained network"))
        artists = {"here": curve.axvline(networks, **role("reference", label="_"))}
        for kind, look in KINDS.items():
            values = [scores[kind, count]["perplexity"] for count in counts]
            curve.plot(counts, alone[kind], "os"[kind == "snapshots"], color=color(look), markersize=6, alpha=0.5)
            curve.plot(counts, values, **role(look, label=f"average of {kind}"))
            artists[kind] = ax.plot(*_curve(diagrams[kind, networks]), **role(look, label=f"average of {kind}"))[0]
        curve.set(xlabel="networks", title="perplexity (dots: one network alone)", xlim=(0.5, len(counts) + 0.5))
        curve.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = curve.get_ylim()
        curve.set_ylim(low, high + 0.35 * (high - low))
        curve.legend(loc="upper right")
        ax.set(xlabel="confidence", title="how often it is right", xlim=(0, 1.01), ylim=(0, 1.01))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.legend(loc="upper left")
        update(artists, networks)
        return figure, artists

    def update(artists, networks):
        artists["here"].set_xdata([networks] * 2)
        for kind in KINDS:
            artists[kind].set_data(*_curve(diagrams[kind, networks]))
        told = {f"{name} of {kind}": scores[kind, networks][name] for name in ("perplexity", "ECE") for kind in KINDS}
        return told | {"perplexity of the trained network": before["perplexity"], "its ECE": before["ECE"]}

    return View(
        name="average",
        title="What an average buys",
        build=build,
        update=update,
        controls=(Control("networks", "networks averaged", tuple(counts), len(counts)),),
        static=({"networks": 1}, {}),
        ghosts=tuple(KINDS),
        slide=Slide(
            "A small transformer on the course's own prose, continued in 8 bits with the sampler's noise (samples) and "
            "without (snapshots). Left: perplexity of the averages on the test text. Right: accuracy against "
            "confidence; grey: calibrated.",
            "Left: perplexity against the number of networks; both averages fall, below single networks and the "
            "trained one. Right: three reliability curves beside the diagonal.",
        ),
    )


def _scores(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    nll, ece = metrics.nll(probabilities, labels), metrics.ece(probabilities, labels, _BINS)
    return {"perplexity": math.exp(nll), "ECE": ece, "error": metrics.error(probabilities, labels)}


def scores(named: Mapping[str, Tensor], labels: Tensor) -> str:
    """A table of perplexity, error, ECE and mean confidence of each of these probabilities [N, L, C]."""
    lines = [f"{'':36}perplexity   error     ECE  confidence"]
    for name, p in named.items():
        told = _scores(p, labels)
        confidence = p.amax(-1).double().mean().item()
        lines.append(f"{name:36}{told['perplexity']:10.3f}{told['error']:8.1%}{told['ECE']:8.1%}{confidence:12.1%}")
    return "\n".join(lines)


def nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The negative log likelihood, mean of each window: nats a character, [N]."""
    return -probabilities.double().gather(-1, labels[..., None]).log().mean((1, 2))


def surer(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Confidence less accuracy, mean of each window: above 0 where a network is too sure. [N]"""
    confidence, favourite = probabilities.double().max(-1)
    return (confidence - (favourite == labels).double()).mean(1)


def in_errors(scores: Tensor) -> float:
    """The mean of the windows' scores [N] in standard errors. Each window is one observation: its characters are not
    independent."""
    return (scores.mean() / scores.std() * len(scores) ** 0.5).item()


def _curve(diagram: metrics.Reliability) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and accuracy of the bins that hold one prediction in five hundred or more."""
    full = (diagram.count >= diagram.count.sum() / 500).numpy()
    return diagram.confidence.numpy()[full], diagram.accuracy.numpy()[full]


# ---- attention in few bits -------------------------------------------------------------------------------------------

_LEAST = 1e-4  # the lower end of the map
_HIDDEN = 2.0  # on the map, a key that a query may not see: above all weights


def attention(told: Mapping[str, Mapping[str, Seen]], fmt: str = "block(8,0)") -> View:
    """A view of one head's attention weights in a format: the map, and the sum of each query's weights.

    told: for each rounding and each format, what `attending.look` has seen; of the same text, "full" among the formats.
    fmt: the format to begin with.
    """
    fmts = tuple(next(iter(told.values())))
    exact = next(iter(told.values()))["full"]
    layers, heads, length, _ = exact.given.shape
    names = {f"layer {i + 1}, head {j + 1}": (i, j) for i in range(layers) for j in range(heads)}
    unseen = np.triu(np.ones((length, length), dtype=bool), 1)
    perplexity = {
        (r, f): math.exp(-seen.logs.double().mean()) for r, found in told.items() for f, seen in found.items()
    }
    sums = {(r, f): seen.sums.numpy() for r, found in told.items() for f, seen in found.items()}
    top = min(2.0, max(1.0, *(each.max() for each in sums.values())))  # rare larger ones may leave the picture
    low = min(1.0, *(each.min() for each in sums.values()))
    places = np.arange(1, length + 1)

    def build(fmt, rounding, head):
        figure, (ax, right) = new_figure(1, 2, title="Attention in few bits", wspace=0.3, left=0.075)
        cmap = colormaps["cividis"].with_extremes(under=color("naive"), over=paper())
        picture = ax.imshow(
            np.ones((length, length)), cmap=cmap, norm=LogNorm(_LEAST, 1), interpolation="nearest",
            extent=(0.5, length + 0.5, length + 0.5, 0.5),
        )  # fmt: skip
        bar = figure.colorbar(picture, ax=ax, pad=0.03, fraction=0.045)
        bar.ax.minorticks_off()
        ax.set(xlabel="character that is looked at", ylabel="character that looks")
        ax.grid(False)
        text = ax.text(0.96, 0.95, "rounded to 0", color=color("naive"), ha="right", va="top", transform=ax.transAxes)
        right.axhline(1, **role("target", label="exact"))
        line = right.plot(places, np.ones(length), **role("vc", label="rounded"))[0]
        room = 0.1 * (top - low) + 0.02
        right.set(xlabel="character that looks", title="sum of its weights", ylim=(low - room, top + 3 * room))
        right.legend(loc="upper left", ncols=2)
        artists = {"map": picture, "axes": ax, "zero": text, "sums": line}
        update(artists, fmt, rounding, head)
        return figure, artists

    def update(artists, fmt, rounding, head):
        where, seen = names[head], told[rounding][fmt]
        rounded = seen.rounded[where].double().numpy()
        shown = np.where(rounded == 0, _LEAST / 10, rounded.clip(_LEAST, 1))
        artists["map"].set_data(np.where(unseen, _HIDDEN, shown))
        artists["axes"].set_title(f"weights of {head}, {fmt}")
        artists["zero"].set_visible(bool((rounded[~unseen] == 0).any()))
        artists["sums"].set_data(places, sums[rounding, fmt][where])
        return {
            "largest error of a sum": abs(sums[rounding, fmt][where] - 1).max(),
            "weights rounded to 0": seen.lost[where].item(),
            "test perplexity": perplexity[rounding, fmt],
            "more than unrounded": perplexity[rounding, fmt] - perplexity[rounding, "full"],
        }

    return View(
        name="attention",
        title="Attention in few bits",
        build=build,
        update=update,
        controls=(
            Control("fmt", "format of the weights", fmts, fmt, kind="slider"),
            Control("rounding", "rounding", tuple(told), "nearest", kind="buttons"),
            Control("head", "head", tuple(names), next(iter(names)), kind="slider"),
        ),
        static=({}, {"rounding": "stochastic"}, {"fmt": fmts[-3]}),
        ghosts=("sums",),
        slide=Slide(
            "Attention weights of one head for 64 characters, rounded to {fmt} with one exponent for a text: the map, "
            "and the sum of the weights of each character that looks.",
            "Left: a triangular map of attention weights on a logarithmic scale, in which many small ones have become "
            "0. Right: the sums of the rows, which wander about 1 where they were exactly 1.",
        ),
    )
