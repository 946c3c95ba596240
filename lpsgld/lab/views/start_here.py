"""What notebook 00 shows: the whole story in one slider, and the map of the notebooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lpsgld.lab import output, session
from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role, styled
from lpsgld.lab.views.variance_correction import TARGET, bin_edges, exact_law

ALPHAS = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
ACCUMULATORS = ("naive", "vc", "full")
_THETA = np.linspace(-8, 8, 321)
_LABELS = {"naive": "8 bits, naive", "vc": "8 bits, corrected", "full": "a 32-bit copy is kept"}


def law(alpha: float, accumulator: str):
    """The exact law on N(0, 1) at this step size, fixed(8,3): W = 8 bits, 3 of them behind the point."""
    return exact_law(alpha, 8, 3, accumulator)


def _curve(alpha: float, accumulator: str) -> tuple[np.ndarray, np.ndarray]:
    """Density and bin edges; the full accumulator's refined grid is thinned to what a screen shows."""
    points, probabilities = law(alpha, accumulator)
    edges = bin_edges(points)
    if accumulator != "full":
        return probabilities / (points[1] - points[0]), edges
    coarse = np.linspace(edges[0], edges[-1], 301)
    cumulative = np.interp(coarse, edges, np.concatenate([[0.0], np.cumsum(probabilities)]))
    return np.diff(cumulative) / np.diff(coarse), coarse


def build_story(alpha):
    figure, (ax, spread) = new_figure(1, 2, title="One step size, three samplers", width_ratios=(3, 2), left=0.07)
    ax.plot(_THETA, TARGET.density(_THETA), **role("target", label="what we want: N(0, 1)"))
    spread.axhline(1, **role("target", label="_"))
    here = reveal(2, spread.plot([], [], "o", color=color("target"), markersize=10)[0])
    artists = {"axes": ax, "here": here}
    for frame, accumulator in enumerate(ACCUMULATORS, start=2):
        look = role(accumulator, label=_LABELS[accumulator])
        artists[accumulator] = reveal(frame, ax.stairs([0], [0, 1], baseline=None, **look))
        stds = [law(a, accumulator).std for a in ALPHAS]
        reveal(frame, spread.plot(ALPHAS, stds, **(look | {"label": "_"})))
    ax.set(xlabel="parameter θ", xlim=(-6, 6), ylim=(0, 0.62))
    ax.legend(loc="upper left", handlelength=2.2)
    spread.set(xscale="log", xlabel="step size α", title="spread (standard deviation)", ylim=(0, 3.6))
    update_story(artists, alpha)
    return figure, artists


def update_story(artists, alpha):
    for accumulator in ACCUMULATORS:
        artists[accumulator].set_data(*_curve(alpha, accumulator))
    stds = {accumulator: law(alpha, accumulator).std for accumulator in ACCUMULATORS}
    artists["here"].set_data([alpha, alpha], [stds["naive"], stds["vc"]])
    artists["axes"].set_title(f"where the samples land, α = {alpha:g}")
    return {f"spread, {_LABELS[accumulator]}": std for accumulator, std in stds.items()}


story = View(
    name="story",
    title="The whole story in one slider",
    build=build_story,
    update=update_story,
    controls=(Control("alpha", "step size α", ALPHAS, 2e-3),),
    static=({"alpha": 5e-3}, {"alpha": 1e-4}),
    ghosts=ACCUMULATORS,
    slide=Slide(
        "Left: where three samplers of N(0, 1) end at step size 1e-4. Right: their spread against the step size.",
        "Left: the naive 8-bit law is 2.7 times as wide as the target; the corrected 8-bit law and the law with a "
        "32-bit copy lie on it. Right: the naive spread grows from 1.1 to 3.2 as the step size falls, the others stay "
        "at 1.",
        settings={"alpha": 1e-4},
    ),
)


@styled
def strip(alphas: tuple[float, ...] = (5e-3, 5e-4, 5e-5)) -> Figure:
    """The story as a strip of pictures, one for each step size."""
    figure, axes = new_figure(
        1,
        len(alphas),
        title="The smaller the step, the worse the naive 8-bit sampler",
        sharey=True,
        wspace=0.08,
        left=0.07,
    )
    for ax, alpha in zip(axes, alphas, strict=True):
        ax.plot(_THETA, TARGET.density(_THETA), **role("target", label="target"))
        for accumulator in ("naive", "vc"):
            heights, edges = _curve(alpha, accumulator)
            ax.stairs(heights, edges, baseline=None, **role(accumulator, label=_LABELS[accumulator]))
        ax.set(title=f"step size {alpha:.5f}".rstrip("0"), xlabel="parameter θ", xlim=(-6, 6), ylim=(0, 0.62))
    axes[0].legend(loc="upper left", handlelength=1.8)
    axes[0].set_ylabel("density")
    return figure


# ---- the map ---------------------------------------------------------------------------------------------------------

PLAN = {
    "00_start_here": "What is this, does my machine work, and what is the story?",
    "01_number_formats": "Which numbers can 8 bits hold?",
    "02_rounding": "What does rounding do to a mean, and to a variance?",
    "03_langevin": "How does noisy gradient descent sample?",
    "04_accumulators": "What goes wrong when the accumulator is low-precision too?",
    "05_variance_correction": "How can rounding be mended, exactly, and when can it not?",
    "06_theory": "How far from the target, as a function of bits and step size?",
    "07_bits_sweep": "How many bits do small networks need on real digits?",
    "08_cifar": "Can a Bayesian ResNet be trained in 8 bits?",
    "09_ensembles": "What do posterior samples buy: error, calibration, uncertainty?",
    "10_cost_of_bits": "What do 8 bits buy in memory, time and bandwidth?",
    "11_hardware_formats": "Which numbers does your accelerator compute with, and what do they do to a sampler?",
    "12_momentum": "Does a rolling ball sample better than a walk when both live on 8 bits?",
    "13_your_own_network": "Can your own network become an 8-bit posterior, in ten lines, and what does that buy?",
}


def notebook_map(folder: Path) -> str:
    """The notebooks and their questions, in Markdown; those that lie in `folder` are links, the others are marked."""
    lines = ["| notebook | answers |", "|---|---|"]
    for name, question in PLAN.items():
        file = f"{name}.ipynb"
        entry = f"[{name}]({file})" if (folder / file).is_file() else f"{name} *(not in this folder yet)*"
        lines.append(f"| {entry} | {question} |")
    return "\n".join(lines)


def show_map() -> None:
    """Display the map of the notebooks beside the one that is running."""
    here, root = Path.cwd(), session.repository()
    beside = (here / "00_start_here.ipynb").is_file() or root is None
    markdown = notebook_map(here if beside else root / "notebooks")
    output.show({"text/markdown": markdown, "text/plain": markdown})
