"""What notebook 09 shows of doubt: the pictures of which a network is least sure, and what it buys to abstain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from lpsgld.bnn.judging.ensemble import accuracy_on_rest
from lpsgld.bnn.studies.shifts import Setting
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.lab.views.networks.ensembles import (
    RIVAL,
    ROLES,
    SAMPLER,
    SNAPSHOTS,
    Shifted,
    kinds_and_strengths,
    strip,
)

_A_PAGE = 4  # pictures
_PAGES = 6
_BY = {"entropy": "entropy", "disagreement": "mutual_information"}


def pictures(evaluated: Shifted, images: Mapping[Setting, Tensor], classes: Sequence[str], strength: float) -> View:
    """A view of the test images of which the posterior samples are least sure, with both predictions.

    Images as they are, and shifted in each kind to `strength`; sorted by the entropy of the average, or by its part
    that comes from disagreement between samples.
    """
    kinds, _ = kinds_and_strengths(evaluated)
    sampler, rival = evaluated[SAMPLER], evaluated[RIVAL]
    sources = {"as they are": (kinds[0], 0.0)} | {kind: (kind, strength) for kind in kinds}
    orders = {
        (source, by): getattr(sampler[setting], attribute).argsort(descending=True, stable=True)
        for source, setting in sources.items()
        for by, attribute in _BY.items()
    }
    pages = tuple(range(1, min(_PAGES, len(images[kinds[0], 0.0]) // _A_PAGE) + 1))
    positions = np.arange(len(classes))
    long = max(map(len, classes)) > 2

    def build(source, by, page):
        figure, axes = new_figure(
            2, _A_PAGE, title="Pictures in doubt", height_ratios=(1.25, 1),
            hspace=0.12, wspace=0.14, left=0.07, bottom=0.22 if long else 0.125, top=0.82,
        )  # fmt: skip
        artists = {"pictures": [], "said": []}
        bars = {name: [] for name in (SAMPLER, RIVAL)}
        for picture, ax in axes.T:
            picture.set_axis_off()
            artists["pictures"].append(picture.imshow(np.zeros((2, 2))))
            artists["said"].append(picture.set_title("", loc="center", fontsize=15))
            for name, side in ((SAMPLER, -0.2), (RIVAL, 0.2)):
                look = {"color": color(ROLES[name]), "hatch": "//" if name == RIVAL else None, "label": name}
                bars[name].append(ax.bar(positions + side, np.ones(len(classes)), 0.4, **look))
            ax.set(ylim=(0, 1.05), xlim=(-0.6, len(classes) - 0.4))
            ax.set_xticks(positions, classes, rotation=90 if long else 0, fontsize=14)
            ax.grid(False, axis="x")
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            ax.tick_params(labelleft=ax is axes[1, 0])
        figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="upper right", ncols=2, bbox_to_anchor=(0.98, 0.985))
        artists |= bars
        update(artists, source, by, page)
        return figure, artists

    def update(artists, source, by, page):
        setting = sources[source]
        told, beside = sampler[setting], rival[setting]
        chosen = orders[source, by][_A_PAGE * (page - 1) : _A_PAGE * page]
        for column, index in enumerate(chosen.tolist()):
            artists["pictures"][column].set_data(strip(images[setting][index : index + 1]))
            artists["pictures"][column].set_extent((0, 1, 0, 1))
            truth, guess = int(told.labels[index]), int(told.probabilities[index].argmax())
            verdict = "right" if truth == guess else f"is {classes[truth]}"
            artists["said"][column].set_text(f"{classes[guess]}, {verdict}")
            for name, evaluation in ((SAMPLER, told), (RIVAL, beside)):
                for bar, p in zip(artists[name][column], evaluation.probabilities[index].tolist(), strict=True):
                    bar.set_height(p)
        return {
            "entropy": told.entropy[chosen].mean().item(),
            "its part from disagreement": told.mutual_information[chosen].mean().item(),
            "entropy of one network": beside.entropy[chosen].mean().item(),
        }

    return View(
        name="pictures",
        title="Pictures in doubt",
        build=build,
        update=update,
        controls=(
            Control("source", "images are", tuple(sources), "as they are", kind="buttons"),
            Control("by", "sorted by", tuple(_BY), "entropy", kind="buttons"),
            Control("page", "page", pages, 1),
        ),
        static=({}, {"source": kinds[1]}),
        slide=Slide(
            "The four test images with the largest predictive entropy, and the class probabilities of the average over "
            "posterior samples and of one network.",
            "Four pictures in a row, each with a bar chart of the class probabilities below; the bars of the posterior "
            "samples spread over several classes.",
            "The pictures of which the samples are least sure",
        ),
    )


# ---- the right to say "I do not know" --------------------------------------------------------------------------------

REJECTED = tuple(share / 20 for share in range(19))


def abstention(evaluated: Shifted) -> View:
    """A view of the accuracy on the images that are left when the least confident predictions are rejected.

    Left: on the test images. Right: on as many again that are shifted, of a kind and strength to choose.
    """
    kinds, (_, *strengths) = kinds_and_strengths(evaluated)
    plain = {name: accuracy_on_rest([told[kinds[0], 0.0]], REJECTED) for name, told in evaluated.items()}
    mixed = {
        (name, kind, strength): accuracy_on_rest([told[kinds[0], 0.0], told[kind, strength]], REJECTED)
        for name, told in evaluated.items()
        for kind in kinds
        for strength in strengths
    }
    floor = min(min(curve) for curve in (*plain.values(), *mixed.values()))

    def build(kind, strength, rejected):
        figure, (left, right) = new_figure(1, 2, title='The right to say "I do not know"', wspace=0.2, left=0.08)
        artists = {"here": []}
        for ax, where in ((left, "test"), (right, "mixed")):
            for name, look in ROLES.items():
                artists[f"{where} {name}"] = ax.plot(REJECTED, plain[name], **role(look, label=name))[0]
                artists[f"{where} {name} blind"] = ax.plot(
                    [0, 1], [0, 0], **role(look, label="rejecting blindly" if name == RIVAL else "_", linewidth=1.2)
                )[0]
            artists["here"].append(ax.axvline(0, **role("target", linewidth=1.2, label="_")))
            ax.set(xlabel="share rejected, least confident first", xlim=(0, 0.92))
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(PercentFormatter(1.0))
        low = min(min(curve) for curve in plain.values())
        left.set(title="accuracy on the rest, test images", ylim=(low - 0.15 * (1 - low) - 1e-3, 1 + 0.1 * (1 - low)))
        right.set(title="accuracy on the rest, half of them shifted", ylim=(max(floor - 0.05, 0), 1.01))
        left.legend(loc="center right")
        update(artists, kind, strength, rejected)
        return figure, artists

    def update(artists, kind, strength, rejected):
        index = REJECTED.index(rejected)
        for name in ROLES:
            for where, curve in (("test", plain[name]), ("mixed", mixed[name, kind, strength])):
                artists[f"{where} {name}"].set_data(REJECTED, curve)
                artists[f"{where} {name} blind"].set_data([0, 1], [curve[0]] * 2)
        for line in artists["here"]:
            line.set_xdata([rejected] * 2)
        return {
            "accuracy on the rest": plain[SAMPLER][index],
            "with shifted ones": mixed[SAMPLER, kind, strength][index],
            "of snapshots, with shifted ones": mixed[SNAPSHOTS, kind, strength][index],
            "of one network, with shifted ones": mixed[RIVAL, kind, strength][index],
        }

    return View(
        name="abstention",
        title='The right to say "I do not know"',
        build=build,
        update=update,
        controls=(
            Control("kind", "half of them are", kinds, kinds[1], kind="buttons"),
            Control("strength", "strength of the shift", tuple(strengths), strengths[-1]),
            Control("rejected", "share rejected", REJECTED, 0.5, format=lambda share: f"{share:.0%}"),
        ),
        static=({}, {"kind": kinds[2]}),
        ghosts=(f"mixed {SAMPLER}", f"mixed {RIVAL}"),
        slide=Slide(
            "Accuracy on the test images that are left when the least confident predictions are rejected: on the "
            "images as they are, and with as many noisy ones among them. Thin: rejecting blindly.",
            "Two plots of accuracy against the share rejected. All curves rise steeply at first and come close to "
            "100 %.",
            settings={"kind": "noisy"},
        ),
    )
