"""Recorded results: the curves and diagrams of long runs, and their numbers beside those of the literature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, PercentFormatter

from lpsgld import metrics
from lpsgld.bnn.judging import published
from lpsgld.bnn.judging.records import WHO, Record
from lpsgld.lab import output
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.lab.views.networks.ensembles import reliability_axes, room, set_reliability

_NAMES = {"ensemble": "average of samples", "last_sample": "last sample alone"}
_ROLES = {"ensemble": "vc", "last_sample": "naive"}
_SCORES = {"NLL": "nll", "error": "error", "ECE": "ece"}
# what a network rounds beyond the paper's, by the recipe's `sites`
_SITES = {"paper": "", "residual": ", residual stream rounded too", "all": ", rounded everywhere"}


def recorded(records: Mapping[str, Record]) -> View:
    """A view of recorded results, one at a time: reliability, entropy of right and wrong answers, a score by samples.

    records: one or more; with several, the reader chooses.
    """
    names, first = tuple(records), next(iter(records))

    def build(score, result=first):
        figure, (ax, entropy, curve) = new_figure(1, 3, wspace=0.25, left=0.06, right=0.985, top=0.66)
        reliability = reliability_axes(ax, {_NAMES[who]: _ROLES[who] for who in WHO}, ncols=1)
        artists = {
            **{who: reliability[_NAMES[who]] for who in WHO},
            "right": entropy.stairs([0], [0, 1], fill=True, color=color("full"), alpha=0.5, label="right answers"),
            "wrong": entropy.stairs([0], [0, 1], baseline=None, **role("naive", label="wrong answers")),
            "curve": curve.plot([], [], **role("vc", label=_NAMES["ensemble"]))[0],
            "last": curve.axhline(0, **role("naive", label=_NAMES["last_sample"])),
            "title": figure.text(0.06, 0.975, "", va="top", fontsize=21, fontweight="bold"),
            "about": figure.text(0.06, 0.91, "", va="top", linespacing=1.4),
            "axes": (entropy, curve),
        }
        entropy.set(xlabel="predictive entropy, nats", title="share of right, of wrong")
        entropy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        entropy.legend(loc="upper right", handlelength=1.8)
        curve.set(xlabel="posterior samples")
        curve.legend(loc="upper right", handlelength=1.8)
        update(artists, score, result)
        return figure, artists

    def update(artists, score, result=first):
        record = records[result]
        entropy, curve = artists["axes"]
        artists["title"].set_text(result)
        artists["about"].set_text(about(record))
        for who in WHO:
            set_reliability(artists[who], record.diagram(who))
        edges = np.array(record.entropy["edges"])
        tallest = 0.0
        for kind in ("right", "wrong"):
            shares = metrics.shares(record.entropy[kind])
            artists[kind].set_data(shares, edges)
            tallest = max(tallest, shares.max())
        entropy.set(xlim=(0, edges[-1]), ylim=(0, 1.25 * tallest))
        field = _SCORES[score]
        values, last = [row[field] for row in record.curve], record.scores["last_sample"][field]
        artists["curve"].set_data([row["samples"] for row in record.curve], values)
        artists["curve"].set_marker("o" if len(values) == 1 else "")
        artists["last"].set_ydata([last, last])
        curve.set(title=score, xlim=(0.5, len(values) + 0.5), ylim=room(*values, last, above=0.6))
        both, alone = record.scores["ensemble"], record.scores["last_sample"]
        return {"error": both["error"], "NLL": both["nll"], "ECE": both["ece"], "ECE of the last alone": alone["ece"]}

    choice = ()
    if len(names) > 1:
        choice = (Control("result", "recorded result", names, first, short_names(names).get, "slider"),)
    return View(
        name="recorded",
        title="Recorded results",
        build=build,
        update=update,
        controls=(*choice, Control("score", "score", tuple(_SCORES), "NLL", kind="buttons")),
        static=tuple({"result": name} for name in names) if len(names) > 1 else (),
        ghosts=("ensemble", "curve"),
    )


def about(record: Record) -> str:
    """What a result was measured on, in two lines."""
    recipe, data, hardware = record.recipe, record.dataset, record.chains[0]["provenance"]["device"]
    network = f"{recipe.model} of width {recipe.width}{_SITES[recipe.sites]}"
    trained = data.get("trained_on", data)["train"]  # a part of the images, perhaps
    return (
        f"{record.label}: trained on {trained:,} images, {data['test']:,} test images\n"
        f"{network}, {recipe.epochs} epochs, samples: {_samples(record)}; "
        f"{record.seconds / 60:.1f} minutes on {hardware}"
    )


@Slide(
    "Test error and ECE (9 bins) of the recorded runs, for the average over posterior samples and for the last one "
    "alone, beside the published numbers of the same recipes at width 64 on CIFAR-10. The paper's number for corrected "
    "blocks presumably comes from its released code, whose noise is lost where v < v0.",
    "Two dot plots, a row for each recorded run: test error and calibration error of the average, of the last sample, "
    "and of the published runs.",
    "Recorded here, and published",
)
def overview(records: Mapping[str, Record], dataset: str = "cifar10") -> Figure:
    """Error and ECE (9 bins) of all recorded results, beside what was published on their recipes for that dataset."""
    figure, axes = new_figure(1, 2, title="Recorded here, and published", left=0.27, wspace=0.08, top=0.78)
    rows = np.arange(len(records))[::-1]
    for ax, score, title in zip(axes, ("error", "ece_paper"), ("test error", "ECE, 9 bins"), strict=True):
        for who, marker in (("last_sample", "s"), ("ensemble", "o")):
            values = [record.scores[who][score] for record in records.values()]
            ax.plot(values, rows, marker, color=color(_ROLES[who]), markersize=11, label=_NAMES[who])
        told = [
            (value / 100, row)
            for row, record in zip(rows, records.values(), strict=True)
            for line in published.of(published.row_of(record.recipe, dataset))
            if (value := line.error if score == "error" else line.ece) is not None
        ]
        ax.plot(
            *zip(*told, strict=True) if told else ([], []),
            "x",
            color=color("reference"),
            markersize=11,
            mew=3,
            label="published (width 64)",
        )
        ax.set(title=title, xscale="log", ylim=(-0.6, len(records) - 0.4))
        ax.set_yticks(rows, short_names(records).values() if ax is axes[0] else [""] * len(rows))
        low, high = ax.get_xlim()
        ax.set_xlim(low / 3, high * 3)  # a decade at least: below it, ticks would crowd
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        ax.minorticks_off()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper left", bbox_to_anchor=(0.26, 0.93), ncols=3, handletextpad=0.1)
    return figure


def caption(records: Mapping[str, Record]) -> str:
    """The caption of `overview`, and what these results were measured on."""
    return " ".join([overview.slide.caption, *dict.fromkeys(f"{about(r).splitlines()[0]}." for r in records.values())])


def short_names(names: Iterable[str]) -> dict[str, str]:
    """As few of the last parts of each name, beside a slider or an axis, as tell the names apart."""
    parts = {name: name.split("-") for name in names}
    for count in range(1, max(map(len, parts.values()))):
        ends = {name: "-".join(each[-count:]) for name, each in parts.items()}
        if len(set(ends.values())) == len(ends):
            return ends
    return {name: name for name in parts}


def table(records: Mapping[str, Record], dataset: str = "cifar10") -> str:
    """A Markdown table: recorded results, and after each, or the last of several of one recipe, what was published on
    the recipe for that dataset."""
    lines = [
        "| recipe | measured by | on | error | ECE, 9 bins | its last sample: error | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [published.row_of(record.recipe, dataset) for record in records.values()]
    for (name, record), row, following in zip(records.items(), rows, [*rows[1:], None], strict=True):
        both, last, recipe = record.scores["ensemble"], record.scores["last_sample"], record.recipe
        size = f"width {recipe.width}{_SITES[recipe.sites]}, {recipe.epochs} epochs, samples: {_samples(record)}"
        scores = " | ".join(f"{who[score]:.2%}" for who in (both, last) for score in ("error", "ece_paper"))
        lines.append(f"| **{name}** | here | {record.label}, {size} | {scores} |")
        if row != following:
            lines += map(_published_line, published.of(row))
    return "\n".join(lines)


def show_table(records: Mapping[str, Record], dataset: str = "cifar10") -> None:
    """Display `table`, or that there is nothing to show."""
    text = table(records, dataset) if records else "No results are recorded yet."
    output.show({"text/markdown": text, "text/plain": text})


def _samples(record: Record) -> str:
    """How many, and of how many chains, if of several."""
    samples, chains = record.scores["samples"], record.scores["chains"]
    return f"{samples} of {chains} chains" if chains > 1 else f"{samples}"


def _published_line(row: published.Published) -> str:
    error = f"{row.error:.2f}" + (f" ± {row.error_se:.2f}" if row.error_se is not None else "") + " %"
    ece = f"{row.ece:.2f} %" if row.ece is not None else ""
    on = "width 64, 245 epochs" + (f"; {row.note}" if row.note else "")
    return f"| | {published.SOURCES[row.source]} [{row.source}] | {on} | {error} | {ece} | | |"
