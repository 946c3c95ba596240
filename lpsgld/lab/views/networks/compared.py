"""Recorded results, image by image beside each other: which differ, and which the test set cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from lpsgld.bnn.judging import published
from lpsgld.bnn.judging.paired import Difference
from lpsgld.bnn.judging.records import Record, compare
from lpsgld.lab import output
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.lab.views.networks.recorded import short_names

_SCORES = {"error": "test error", "nll": "NLL", "ece": "ECE, 15 bins"}


def compared(records: Mapping[str, Record]) -> View:
    """A view of how much recorded results differ from one of them, which the reader chooses.

    records: two or more, as `records.comparable` returns them. The one of the least error is uppermost. The view begins
    with the best run of one chain.
    """
    names = sorted(records, key=lambda name: records[name].scores["ensemble"]["error"])
    apart = {(one, of): compare(records[one], records[of]) for one in names for of in names}
    rows = np.arange(len(names))[::-1]
    short = short_names(names)
    best = min(names, key=lambda name: records[name].scores["chains"])  # the first of these
    widest = {
        score: max(abs(pair[score].value) + 2 * pair[score].standard_error for pair in apart.values()) or 1.0
        for score in _SCORES
    }

    def build(reference=best):
        figure, axes = new_figure(1, 3, title="How much do they differ?", left=0.25, right=0.97, wspace=0.16, top=0.8)
        artists = {}
        for ax, (score, label) in zip(axes, _SCORES.items(), strict=True):
            ax.axvline(0, **role("reference"))
            artists[score] = (
                ax.hlines(rows, 0, 0, color=color("vc"), linewidth=3),
                ax.plot(rows * 0.0, rows, "o", color=color("vc"), markersize=10)[0],
                [ax.text(0, row, "", va="center_baseline", fontsize=12) for row in rows],
            )
            ax.set(title=label, xlim=(-1.3 * widest[score], 1.3 * widest[score]), ylim=(-0.6, len(rows) - 0.3))
            ax.set_yticks(rows, short.values() if ax is axes[0] else [""] * len(rows))
            ax.xaxis.set_major_locator(MaxNLocator(4, symmetric=True))
            unit = "" if score == "nll" else "%"
            scale = 100 if unit else 1
            ax.xaxis.set_major_formatter(lambda x, _, s=scale, u=unit: f"{s * x:+.3g}{u}" if x else "0")
        figure.text(0.25, 0.03, "Bars: ± 2 standard errors. Beside them: how many images would tell.", fontsize=14)
        artists["title"] = figure.text(0.25, 0.905, "", va="top")
        update(artists, reference)
        return figure, artists

    def update(artists, reference=best):
        artists["title"].set_text(f"Each run minus {short[reference]}, on the same images")
        for score in _SCORES:
            bars, dots, texts = artists[score]
            pairs = [apart[name, reference][score] for name in names]
            bars.set_segments(
                [
                    [(p.value + side * p.standard_error, row) for side in (-2, 2)]
                    for p, row in zip(pairs, rows, strict=True)
                ]
            )
            dots.set_xdata([pair.value for pair in pairs])
            for text, pair in zip(texts, pairs, strict=True):
                unseen = abs(pair.standard_errors) < 2 and pair.value != 0
                side = math.copysign(1, pair.value)
                text.set(
                    text=_count(pair.needed) if unseen else "",
                    x=pair.value + side * (2 * pair.standard_error + 0.06 * widest[score]),
                    ha="left" if side > 0 else "right",
                )
        scores = records[reference].scores["ensemble"]
        return {"its error": scores["error"], "its NLL": scores["nll"], "its ECE": scores["ece"]}

    return View(
        name="compared",
        title="Differences on the same images",
        build=build,
        update=update,
        controls=(Control("reference", "compared with", tuple(names), best, short.get, "slider"),),
        slide=Slide(
            "Error, NLL and ECE (15 bins) of recorded runs minus those of {reference}, image by image, and two "
            "standard errors to either side. Where zero lies within, the number of test images that would tell.",
            "Three dot plots with bars, a row for each recorded run: the differences of test error, negative log "
            "likelihood and calibration error from one of them.",
        ),
    )


# what a row of the paper's table has that the other has not; then another seed ("again"), and both seeds together
PAIRS = (
    ("sgld_float32", "sgd_float32"),
    ("sgld_fixed_full", "sgld_float32"),
    ("sgld_block_vc", "sgld_float32"),
    ("sgld_fixed_full", "sgld_fixed_vc"),
    ("sgld_fixed_full", "sgld_fixed_naive"),
    ("sgld_fixed_vc", "sgld_fixed_naive"),
    ("sgld_block_vc", "sgld_block_naive"),
    ("sgld_block_vc", "sgld_block_vc_released"),
    ("sgld_block_vc", "sgld_fixed_vc"),
    ("sgld_block_vc_again", "sgld_block_vc"),
    ("sgld_block_naive_again", "sgld_block_naive"),
    ("sgld_block_vc_again", "sgld_block_naive_again"),
    ("sgld_block_vc_both", "sgld_block_naive_both"),
    ("sgld_block_vc_both", "sgld_block_vc"),
)


def table(records: Mapping[str, Record], pairs: Sequence[tuple[str, str]], dataset: str = "cifar10") -> str:
    """A Markdown table of pairs of `records`, the first minus the second: differences and their standard errors, the
    number of test images that would tell the errors apart, and what one source that has both published."""
    lines = ["| first minus second | error | NLL | ECE, 15 bins | images to tell the errors | published, error |"]
    lines.append("|---|---|---|---|---|---|")
    names = short_names(records)
    for one, other in pairs:
        found = compare(records[one], records[other])
        nll = f"{found['nll'].value:+.3f} ± {found['nll'].standard_error:.3f}"
        error, ece = (f"{100 * d.value:+.2f} ± {100 * d.standard_error:.2f} %" for d in (found["error"], found["ece"]))
        known = _published(records[one], records[other], dataset)
        lines.append(
            f"| {names[one]} minus {names[other]} | {error} | {nll} | {ece} | {_needed(found['error'])} | {known} |"
        )
    return "\n".join(lines)


def show_table(records: Mapping[str, Record], pairs: Sequence[tuple[str, str]] = PAIRS) -> None:
    """Display `table` of those pairs of which both are there, of rows by their names in the paper's table, and
    `mixing`."""
    there = [pair for pair in pairs if records.keys() >= set(pair)]
    text = f"{table(records, there)}\n\n{mixing(records)}".strip()
    output.show({"text/markdown": text, "text/plain": text})


def mixing(records: Mapping[str, Record]) -> str:
    """How well chains agree, a paragraph for each of the results of several: R-hat and effective sample size."""
    lines = [
        f"{name}, R-hat of the probability of the true class: median {found['median']:.2f}, above 1.01 for "
        f"{found['above_1.01']:.0%} of the images; effective samples: median {found['ess']:.1f} of "
        f"{record.scores['samples']}"
        for name, record in records.items()
        if (found := record.scores["rhat"])
    ]
    return "\n\n".join(lines)


def _needed(difference: Difference) -> str:
    return "these" if abs(difference.standard_errors) >= 2 else _count(difference.needed)


def _published(one: Record, other: Record, dataset: str) -> str:
    """Differences of published errors, in percent, each from one source that has both rows without a remark."""
    names = [published.row_of(record.recipe, dataset) for record in (one, other)]
    if names[0] == names[1]:
        return "one recipe"
    known = [published.of(name) for name in names]
    rows = [{row.source: row.error for row in each if not row.note} for each in known]
    both = [source for source in rows[0] if source in rows[1] and known[0] != known[1]]
    return ", ".join(f"{rows[0][source] - rows[1][source]:+.2f} % [{source}]" for source in both) or "none has both"


def _count(number: float) -> str:
    """A number of images in two digits: 950, 12k, 1.3M."""
    number = float(f"{number:.2g}")
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"
