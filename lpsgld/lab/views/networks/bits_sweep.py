"""What notebook 07 shows: test NLL against fractional bits, the weights behind it, and how many bits are enough."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from lpsgld.bnn.studies.sweep import CURVES, Point, Settings, Sweep, compute, find
from lpsgld.lab import session
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, paper, role

Sweeps = Mapping[str, Sweep]  # by model, all with the same bits and networks

NAMES = {
    ("sgd", "full"): "SGD, full-precision accumulator",
    ("sgd", "naive"): "SGD, low-precision accumulator",
    ("sgld", "full"): "SGLD, full-precision accumulator",
    ("sgld", "naive"): "SGLD, naive",
    ("sgld", "vc"): "SGLD, variance-corrected",
}
SHORT = {
    ("sgd", "full"): "SGD-F",
    ("sgd", "naive"): "SGD-L",
    ("sgld", "full"): "SGLD-F",
    ("sgld", "naive"): "SGLD-L",
    ("sgld", "vc"): "SGLD-VC",
}
MODELS = {"logistic": "logistic regression", "mlp": "MLP"}
_SCORES = {"NLL": "nll", "error": "error"}
_TICKS = {
    "nll": (0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 2, 3, 5),
    "error": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5),
}
_FLOOR = 1e-3  # the bands stay on a logarithmic axis


def load(settings: Settings) -> Sweep:
    """The recorded sweep with these settings; if there is none, it is computed now and kept in the run's folder."""
    root = session.repository()
    found = find(settings, root / "notebooks" / "recorded" / "sweeps") if root else None
    return found or compute(settings, session.run_folder(settings.to_json()))


def chains_told(sweep: Sweep) -> str:
    """R-hat and ESS of every point, a line for each curve; those in float32 at the end of the first of a sampler."""
    lines = []
    for sampler, accumulator in sweep.settings.curves:
        points = [Point(sampler, accumulator, bits) for bits in sweep.settings.bits]
        points += [Point(sampler, "full", None)] if accumulator == "full" else []
        told = "  ".join(f"{mixed.rhat:.3f} / {mixed.ess:3.0f}" for mixed in map(sweep.mixing, points))
        lines.append(f"  R-hat / ESS, {SHORT[sampler, accumulator]:8}{told}")
    return "\n".join(lines)


def scores_told(sweep: Sweep) -> str:
    """NLL of one network and of averages, with standard errors, a line for each curve."""
    lines = [f"NLL ± standard error, with F = {', '.join(map(str, sweep.settings.bits))}, and in float32"]
    for count in (1, sweep.settings.networks):
        for sampler, accumulator in sweep.settings.curves:
            scores = [*sweep.scores(sampler, accumulator, count=count), sweep.reference(sampler, count=count)]
            told = "  ".join(f"{s.mean():.3f} ± {s.std(ddof=1) / len(s) ** 0.5:.3f}" for s in scores)
            lines.append(f"  {SHORT[sampler, accumulator]:8} {_alone(count):8} {told}")
    return "\n".join(lines)


def powers_told(sweep: Sweep) -> str:
    """The power of the gap that each curve follows, alone and averaged, where two points or more are seen."""
    lines = []
    for count in (1, sweep.settings.networks):
        for curve in sweep.settings.curves:
            if (seen := sweep.seen(*curve, count)) > 1:
                power, error = sweep.power(*curve, count)
                who = f"{MODELS[sweep.settings.model]}, {SHORT[curve]} {_alone(count)}"
                lines.append(f"{who}: excess NLL ∝ Δ^({power:.2f} ± {error:.2f}), from {seen} points")
    return "\n".join(lines)


def _alone(count: int) -> str:
    return "alone" if count == 1 else "averaged"


def look(sampler: str, accumulator: str) -> dict:
    """Keyword arguments for `plot`: SGD is dotted with open circles, colours tell the accumulator."""
    style = role(accumulator, label=NAMES[sampler, accumulator])
    if sampler == "sgd":
        style |= dict(linestyle=":", marker="o", markerfacecolor="none", markersize=8, markeredgewidth=2)
    return style


def _value(value: float, score: str) -> str:
    return f"{value:.1%}".replace(".0%", "%") if score == "error" else f"{value:g}"


def _scale(ax: Axes, score: str, low: float, high: float) -> None:
    """A logarithmic axis from low to high, with ticks that can be read."""
    ax.set(yscale="log", ylim=(low, high))
    ax.set_yticks([tick for tick in _TICKS[score] if low <= tick <= high])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _value(value, score)))
    ax.minorticks_off()


def _bits_axis(ax: Axes, bits: np.ndarray) -> None:
    ax.set(xlabel="fractional bits F", xlim=(bits[0] - 0.3, bits[-1] + 0.3))
    ax.set_xticks(bits)


def _limits(sweep: Sweep, score: str) -> tuple[float, float]:
    """Room for all curves and all numbers of networks."""
    every = [sweep.scores(*curve, score, count) for curve in sweep.settings.curves for count in sweep.settings.counts]
    return 0.85 * max(min(x.min() for x in every), _FLOOR), 1.25 * max(x.max() for x in every)


def _draw(line: Line2D, band: PolyCollection, x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
    """The mean over seeds as a line, and one standard deviation on both sides as a band."""
    line.set_data(x, mean)
    low, high = np.maximum(mean - std, _FLOOR), mean + std
    band.set_verts([np.column_stack([np.append(x, x[::-1]), np.append(low, high[::-1])])])


def _curve(ax: Axes, sampler: str, accumulator: str, **overrides) -> tuple[Line2D, PolyCollection]:
    style = look(sampler, accumulator) | overrides
    line = ax.plot([], [], **style)[0]
    return line, ax.fill_between([1, 2], [1, 1], [1, 1], color=style["color"], alpha=0.18, linewidth=0)


# ---- NLL against bits ------------------------------------------------------------------------------------------------


@Slide(
    "Test NLL on {dataset} against the fractional bits of the weights, with the last network of SGD and the average of "
    "32 networks of SGLD; accumulators in full precision (F), naive (L) and variance-corrected (VC). Lines are means "
    "over independent chains, bands one standard deviation.",
    "Two panels, logistic regression and MLP. With one bit SGD with a low-precision accumulator is highest, for the "
    "MLP at 1.2, and SGLD is below SGD. With five bits all are near their float32 levels, and that of SGD is lower.",
    "How many fractional bits?",
)
def overview(sweeps: Sweeps) -> Figure:
    """The paper's figure: test NLL against fractional bits, one panel a model; SGD's last network, SGLD's average."""
    figure, axes = new_figure(1, len(sweeps), title="How many fractional bits?", wspace=0.2, top=0.76)
    for ax, (model, sweep) in zip(np.atleast_1d(axes), sweeps.items(), strict=True):
        bits, tallest = np.array(sweep.settings.bits), []
        for curve in sweep.settings.curves:
            scores = sweep.scores(*curve)
            _draw(*_curve(ax, *curve, label=SHORT[curve]), bits, *sweep.spread(*curve))
            tallest += [scores.min(), scores.max()]
        for sampler in sweep.settings.samplers:
            level = sweep.reference(sampler).mean()
            dashes = ":" if sampler == "sgd" else "-"
            label = f"{sampler.upper()} in float32"
            ax.axhline(level, **role("target", label=label, linewidth=1.5, linestyle=dashes, zorder=1.5))
        _scale(ax, "nll", 0.88 * min(tallest), 1.2 * max(tallest))
        ax.set_title(f"test NLL, {MODELS[model]}")
        _bits_axis(ax, bits)
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.075, 0.925), ncols=4, columnspacing=1.6)
    return figure


def networks(sweeps: Sweeps) -> View:
    """A view whose slider sets how many networks predict together; SGD on the left, SGLD on the right."""
    first = next(iter(sweeps))
    bits, counts = np.array(sweeps[first].settings.bits), sweeps[first].settings.counts
    limits = {(m, s): _limits(sweep, score) for m, sweep in sweeps.items() for s, score in _SCORES.items()}

    def build(count, score, model=first):
        figure, axes = new_figure(1, 2, title="One network, or the average of many?", wspace=0.16, left=0.07)
        artists = {"axes": axes}
        for sampler, accumulator in CURVES:
            ax = axes[("sgd", "sgld").index(sampler)]
            line, band = _curve(ax, sampler, accumulator, **role(accumulator))
            artists[f"{sampler} {accumulator}"], artists[f"{sampler} {accumulator} band"] = line, band
        for ax, sampler in zip(axes, ("sgd", "sgld"), strict=True):
            artists[f"{sampler} float32"] = ax.axhline(1, **role("target", label="float32", linewidth=1.5))
            _bits_axis(ax, bits)
            ax.legend(loc="upper right")
        update(artists, count, score, model)
        return figure, artists

    def update(artists, count, score, model=first):
        sweep, name, readout = sweeps[model], _SCORES[score], {}
        for sampler, accumulator in CURVES:
            mean, std = sweep.spread(sampler, accumulator, name, count)
            _draw(artists[f"{sampler} {accumulator}"], artists[f"{sampler} {accumulator} band"], bits, mean, std)
            readout[f"F = {bits[0]}, {NAMES[sampler, accumulator]}"] = float(mean[0])
        for ax, sampler in zip(artists["axes"], ("sgd", "sgld"), strict=True):
            artists[f"{sampler} float32"].set_ydata([sweep.reference(sampler, name, count).mean()] * 2)
            _scale(ax, name, *limits[model, score])
            noun = "one network" if count == 1 else f"{count} networks"
            ax.set_title(f"{sampler.upper()}, {noun}: test {score}")
        return readout

    return View(
        name="networks",
        title="One network, or the average of many?",
        build=build,
        update=update,
        controls=(
            *_model_control(sweeps),
            Control("score", "score", tuple(_SCORES), "NLL"),
            Control("count", "networks averaged", counts, counts[-1]),
        ),
        static=({"count": 1}, {}),
        ghosts=tuple(f"{sampler} {accumulator}" for sampler, accumulator in CURVES),
    )


def _model_control(sweeps: Sweeps) -> tuple[Control, ...]:
    """Buttons for the model, if there is a choice."""
    models = tuple(sweeps)
    return (Control("model", "model", models, models[0], MODELS.get, "buttons"),) if len(models) > 1 else ()


# ---- the weights -----------------------------------------------------------------------------------------------------

_ACCUMULATORS = ("naive", "vc", "full")
_REACH = 3.0


def weights(sweeps: Sweeps) -> View:
    """A view of SGLD's weights at each number of bits, and of what the networks that they make are worth."""
    first = next(iter(sweeps))
    bits = sweeps[first].settings.bits
    rows = CURVES[::-1]

    def build(fractional_bits, model=first):
        figure, (ax, scores) = new_figure(1, 2, title="The weights, and what they are worth", wspace=0.1, left=0.07)
        artists = {"axes": ax, "scores": scores}
        artists["float32"] = ax.plot([], [], **role("target", label="SGLD in float32"))[0]
        for accumulator in _ACCUMULATORS:
            artists[accumulator] = ax.stairs([0], [0, 1], baseline=None, **role(accumulator))
        ax.set(xlabel="weight", xlim=(-_REACH, _REACH))
        ax.legend(loc="upper left", borderaxespad=0.2)
        for row, (sampler, accumulator) in enumerate(rows):
            style = dict(color=color(accumulator), linestyle="none", markersize=12, markeredgewidth=2.5)
            one = scores.plot([1], [row], "o", markerfacecolor="none", **style)[0]
            many = scores.plot([1], [row], "D", **style)[0]
            artists |= {f"{sampler} {accumulator} one": one, f"{sampler} {accumulator} many": many}
            place = dict(transform=scores.get_yaxis_transform(), fontsize=15, va="bottom")
            scores.text(0.0, row + 0.2, SHORT[sampler, accumulator], **place)
        for marker, label in (("o", "one network"), ("D", "average")):
            fill = "none" if marker == "o" else color("reference")
            scores.plot([], [], marker, color=color("reference"), markerfacecolor=fill, markersize=12, label=label)
        scores.set(xscale="log", ylim=(-0.6, len(rows) + 0.4), title="test NLL")
        scores.set_yticks([])
        scores.legend(loc="upper right", ncols=2, handlelength=1, columnspacing=1)
        update(artists, fractional_bits, model)
        return figure, artists

    def update(artists, fractional_bits, model=first):
        sweep = sweeps[model]
        heights, edges = sweep.density(Point("sgld", "full", None))
        artists["float32"].set_data((edges[1:] + edges[:-1]) / 2, heights)
        tallest = heights.max()
        for accumulator in _ACCUMULATORS:
            artists[accumulator].set_data(*sweep.density(Point("sgld", accumulator, fractional_bits)))
            tallest = max(tallest, artists[accumulator].get_data().values.max())
        artists["axes"].set(ylim=(0, 1.7 * tallest), title=f"density of SGLD's weights, gap 1/{2**fractional_bits}")
        index = bits.index(fractional_bits)
        for sampler, accumulator in rows:
            for which, count in (("one", 1), ("many", sweep.settings.networks)):
                mean, _ = sweep.spread(sampler, accumulator, "nll", count)
                artists[f"{sampler} {accumulator} {which}"].set_xdata([mean[index]])
        low, high = _limits(sweep, "nll")
        artists["scores"].set_xlim(low, high)
        ticks = [tick for tick in _TICKS["nll"] if low <= tick <= high]
        artists["scores"].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        artists["scores"].minorticks_off()
        return {f"std of weights, {a}": sweep.std("sgld", a, fractional_bits) for a in _ACCUMULATORS}

    return View(
        name="weights",
        title="The weights, and what they are worth",
        build=build,
        update=update,
        controls=(*_model_control(sweeps), Control("fractional_bits", "fractional bits F", bits, bits[len(bits) // 4])),
        static=({"fractional_bits": bits[0]}, {}),
        ghosts=_ACCUMULATORS,
    )


# ---- how many bits ---------------------------------------------------------------------------------------------------

TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.2)
USED, AVERAGED = "as each is used", "averages of both"


def needed(sweeps: Sweeps) -> View:
    """A view whose slider sets how much NLL bits may cost, and whose bars are the fractional bits that this needs.

    The line across a bar's end goes from the bits that the chains do not exclude to those that they vouch for: two
    standard errors to both sides.
    """
    rows = CURVES[::-1]
    first = next(iter(sweeps.values())).settings
    most, counts = first.bits[-1], {USED: None, AVERAGED: first.networks}

    def build(tolerance, predictions):
        figure, axes = new_figure(1, len(sweeps), title="How many fractional bits are enough?", wspace=0.1, left=0.05)
        artists = {}
        for ax, (model, _) in zip(np.atleast_1d(axes), sweeps.items(), strict=True):
            for row, (sampler, accumulator) in enumerate(rows):
                style = dict(color=color(accumulator), edgecolor=paper(), linewidth=0)
                name, hatch = f"{model} {sampler} {accumulator}", "//" if sampler == "sgd" else None
                artists[name] = ax.barh(row, 1, 0.4, hatch=hatch, **style)
                look = dict(color=color("target"), linewidth=2.5, marker="|", markersize=14, markeredgewidth=2.5)
                artists[f"{name} range"] = ax.plot([1, 1], [row, row], **look)[0]
                ax.text(0.05, row + 0.27, NAMES[sampler, accumulator], fontsize=15, va="bottom")
                artists[f"{name} text"] = ax.text(1, row, "", fontsize=16, va="center")
            ax.set(xlabel="fractional bits F", title=MODELS[model], xlim=(0, most + 2), ylim=(-0.5, len(rows)))
            ax.set_yticks([])
            ax.set_xticks(range(most + 1))
        update(artists, tolerance, predictions)
        return figure, artists

    def update(artists, tolerance, predictions):
        readout = {}
        for model, sweep in sweeps.items():
            for curve in rows:
                found = [sweep.needed_bits(*curve, tolerance, counts[predictions], errors) for errors in (-2, 0, 2)]
                low, bits, high = (most + 1 if some is None else some for some in found)
                name = " ".join((model, *curve))
                artists[name].patches[0].set_width(bits)
                artists[f"{name} range"].set_xdata([low, high])
                said = f"> {most}" if found[1] is None else str(bits)
                artists[f"{name} text"].set(x=high + 0.15, text=said)
                readout[f"{MODELS[model]}, {NAMES[curve]}"] = bits
        return readout

    return View(
        name="needed",
        title="How many fractional bits are enough?",
        build=build,
        update=update,
        controls=(
            Control("predictions", "predictions are", (USED, AVERAGED), USED, kind="buttons"),
            Control("tolerance", "NLL above float32 that is fine", TOLERANCES, 0.02),
        ),
        static=({"tolerance": 0.02}, {"tolerance": 0.02, "predictions": AVERAGED}),
        slide=Slide(
            "The fewest fractional bits with which the test NLL on {dataset} stays within {tolerance} of float32. SGD "
            "predicts with one network, SGLD with the average of 32. Lines: from the bits that two standard errors of "
            "the chains do not exclude to those that they vouch for.",
            "Horizontal bars for five combinations of sampler and accumulator, for each model, each with a line across "
            "its end.",
        ),
    )


# ---- laws ------------------------------------------------------------------------------------------------------------


@Slide(
    "Test NLL on {dataset} above that of the same sampler in float32, against the gap of the weights: averages of 32 "
    "networks, of SGD as of SGLD. Points above twice their standard error; in the legend, the power of Δ that they "
    "follow. The grey lines fall as the gap and as its square.",
    "Log-log plots of the excess NLL against the gap, a panel for each model. Curves of a full-precision accumulator "
    "are steeper than those of a naive one, for SGD as for SGLD; they lie close together, whoever the sampler is.",
    "What each bit buys an average",
)
def excess(sweeps: Sweeps) -> Figure:
    """NLL of averages above float32 against the gap, both logarithmic, where it is above twice its standard error."""
    figure, axes = new_figure(1, len(sweeps), title="What each bit buys an average", wspace=0.16, left=0.1)
    for ax, (model, sweep) in zip(np.atleast_1d(axes), sweeps.items(), strict=True):
        gaps, count = 2.0 ** -np.array(sweep.settings.bits), sweep.settings.networks
        tops = []
        for curve in sweep.settings.curves:
            mean, error = sweep.excess(*curve, count)
            n, label = sweep.seen(*curve, count), SHORT[curve]
            if n > 1:
                label += " {:.1f} ± {:.2f}".format(*sweep.power(*curve, count))
            ax.errorbar(gaps[:n], mean[:n], error[:n], **look(*curve) | {"label": label}, capsize=4)
            tops.append(mean[0])
        for power, dashes in ((1, "-"), (2, "--")):
            line = 1.6 * max(tops) * (gaps / gaps[0]) ** power
            label = "∝ Δ" if power == 1 else "∝ Δ²"
            ax.plot(gaps, line, color=color("reference"), linewidth=1.5, linestyle=dashes, label=label)
        ax.set(xscale="log", yscale="log", ylim=(1e-4, 3 * max(tops)), xlabel="gap Δ", title=MODELS[model])
        ax.set_xticks(gaps, [f"1/{round(1 / gap)}" for gap in gaps])
        ax.minorticks_off()
        ax.legend(loc="lower right", fontsize=14, handlelength=1.8)
    np.atleast_1d(axes)[0].set_ylabel("test NLL above float32")
    return figure


@Slide(
    "Test NLL of SGLD for logistic regression on {dataset} against fractional bits, at two step sizes.",
    "Three panels. The naive curve of the smaller step size is the other one moved right by one bit; for the "
    "variance-corrected and the full-precision accumulator both curves are close to each other.",
    "Small steps cost the naive sampler bits",
)
def small_steps(large: Sweep, small: Sweep) -> Figure:
    """SGLD's NLL against fractional bits at two step sizes, one panel an accumulator."""
    figure, axes = new_figure(
        1, 3, title="Small steps cost the naive sampler bits", sharey=True, wspace=0.08, left=0.07
    )
    for ax, accumulator in zip(axes, _ACCUMULATORS, strict=True):
        for sweep, dashes, marker in ((large, "-", "o"), (small, "--", "s")):
            style = dict(linestyle=dashes, marker=marker, markersize=8, label=f"step size {sweep.settings.lr:g}")
            pair = _curve(ax, "sgld", accumulator, **style)
            _draw(*pair, np.array(sweep.settings.bits), *sweep.spread("sgld", accumulator))
        ax.axhline(large.reference("sgld").mean(), **role("target", label="float32", linewidth=1.5, zorder=1.5))
        ax.set_title(role(accumulator)["label"])
        _bits_axis(ax, np.array(large.settings.bits))
        ax.legend(loc="upper right")
    every = [s.scores("sgld", a) for s in (large, small) for a in _ACCUMULATORS]
    _scale(axes[0], "nll", 0.85 * min(x.min() for x in every), 1.25 * max(x.max() for x in every))
    return figure
