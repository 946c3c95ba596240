"""What notebook 06 shows: the bounds of the three theorems beside exact distances, SGD beside SGLD, the best step."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.optimize import brentq

from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.lab.views.accumulators import fmt
from lpsgld.toy import theory
from lpsgld.toy.distances import best_step, full_floor, of_sampler
from lpsgld.toy.exact import Law, stationary
from lpsgld.toy.targets import Gaussian, LogOdds, SeenThrough

TARGETS = {"Gaussian": Gaussian(), "coin": LogOdds(8, 0)}
ALPHAS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
_FINE = np.logspace(-4.2, -0.8, 69)
_TERMS = ("discretisation", "gradient_bias", "noise", "on_grid")
_TERM_LABELS = ("discretisation", "gradient at\nrounded weight", "noise", "ends on the grid", "whole bound", "exact W2")


@cache
def exact_law(target: str, alpha: float, fractional_bits: int, accumulator: str) -> Law:
    """The stationary law in fixed(F+5,F), exact gradients."""
    return stationary(TARGETS[target], alpha, fmt(fractional_bits), accumulator)


@cache
def exact_distance(target: str, alpha: float, fractional_bits: int, accumulator: str) -> float:
    """W2 between that law and the target."""
    return of_sampler(TARGETS[target], alpha, fmt(fractional_bits), accumulator)


@cache
def mean_abs_gradient(target: str, alpha: float, fractional_bits: int) -> float:
    """Theorem 3's G in VC's stationary law."""
    return theory.mean_abs_gradient(exact_law(target, alpha, fractional_bits, "vc"), TARGETS[target], 0.0)


def bound(target: str, alpha: float, fractional_bits: int, accumulator: str) -> theory.Bound:
    """The theorem's bound for the same setting, in the limit of many steps."""
    given = (TARGETS[target].curvature, alpha, 2.0**-fractional_bits)
    if accumulator != "vc":
        return theory.bound(accumulator, *given)
    nearest = min(ALPHAS, key=lambda other: abs(math.log(other / alpha)))  # G hardly depends on the step size
    return theory.bound("vc", *given, mean_abs_gradient=mean_abs_gradient(target, nearest, fractional_bits))


# ---- bound and truth -------------------------------------------------------------------------------------------------

_THEOREMS = ("full", "naive", "vc")  # in the paper's order


def build_bounds(accumulator, target, alpha, fractional_bits):
    figure, (ax, bars) = new_figure(
        1, 2, title="The bound and the truth", width_ratios=(3, 2), wspace=0.5, left=0.08, right=0.91
    )
    artists = {
        "bound": ax.plot([], [], **role("bound", label="the theorem's bound"))[0],
        "exact": ax.plot([], [], **role(accumulator))[0],
        "kink": ax.axvline(1, **role("reference", label="2α = Δ²/4", linewidth=1.5)),
        "here": ax.plot([], [], "o", color=color("target"), markersize=9)[0],
        "axes": ax,
        "bars": bars.barh(np.arange(6), np.ones(6), 0.62, color=color("bound")),
        "values": [bars.text(1.03, i, "", va="center", transform=bars.get_yaxis_transform()) for i in range(6)],
        "bar axes": bars,
    }
    ax.set(xscale="log", yscale="log", xlim=(7e-5, 1.4e-1), ylim=(1e-5, 60), xlabel="step size α")
    ax.set_ylabel("distance W2 to the target")
    artists["legend"] = ax.legend(loc="lower right")
    bars.set(xlim=(0, 1), xlabel="how the terms add up, in % of the bound")
    bars.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    bars.set_yticks(np.arange(6), _TERM_LABELS)
    bars.invert_yaxis()
    bars.grid(axis="y", visible=False)
    update_bounds(artists, accumulator, target, alpha, fractional_bits)
    return figure, artists


def update_bounds(artists, accumulator, target, alpha, fractional_bits):
    distances = [exact_distance(target, a, fractional_bits, accumulator) for a in ALPHAS]
    artists["exact"].set_data(ALPHAS, distances)
    look = role(accumulator, label=f"exact, {accumulator}")
    for line in (artists["exact"], artists["legend"].legend_handles[1]):
        line.set(**look)
    artists["legend"].get_texts()[1].set_text(look["label"])
    for part in (artists["kink"], artists["legend"].legend_handles[2], artists["legend"].get_texts()[2]):
        part.set_visible(accumulator == "vc")
    artists["kink"].set_xdata([4.0**-fractional_bits / 8] * 2)
    artists["bound"].set_data(_FINE, [bound(target, a, fractional_bits, accumulator).total for a in _FINE])
    terms = bound(target, alpha, fractional_bits, accumulator)
    exact = distances[ALPHAS.index(alpha)]
    artists["here"].set_data([alpha, alpha], [exact, terms.total])
    theorem = _THEOREMS.index(accumulator) + 1
    artists["axes"].set_title(f"Theorem {theorem}, {target}, Δ = 1/{2**fractional_bits}")
    artists["bar axes"].set_title(f"at α = {alpha:g}")
    parts = [getattr(terms, name) for name in _TERMS]
    values = [*parts, terms.total, exact]
    starts = [*np.cumsum([0.0, *parts[:-1]]), 0.0, 0.0]  # each term begins where the one above ends
    for bar, text, start, value in zip(artists["bars"], artists["values"], starts, values, strict=True):
        bar.set_x(start / terms.total)
        bar.set_width(value / terms.total)
        text.set_text(f"{value:.2g}")
    artists["bars"][-1].set_facecolor(color(accumulator))
    return {"exact W2": exact, "bound": terms.total, "bound / exact": terms.total / exact}


bounds = View(
    name="bounds",
    title="The bound and the truth",
    build=build_bounds,
    update=update_bounds,
    controls=(
        Control("accumulator", "accumulator", _THEOREMS, "naive"),
        Control("target", "target", ("Gaussian", "coin"), "Gaussian"),
        Control("alpha", "step size α", ALPHAS, 1e-2),
        Control("fractional_bits", "fractional bits F", (1, 2, 3, 4), 3),
    ),
    static=({"accumulator": "full"}, {"accumulator": "naive"}, {"accumulator": "vc"}),
    ghosts=("bound", "exact"),
    slide=Slide(
        "Left: the bound of Theorem 2 for the naive sampler on N(0, 1) and the exact distance, gap 1/8. "
        "Right: how the terms of the bound add up at step size 0.01, and the truth.",
        "The bound lies above the exact curve, by a factor that grows with the step size; its largest term is noise, "
        "and the truth is a sliver beside it.",
        title="Theorem 2 beside the truth",
        settings={"accumulator": "naive"},
    ),
)


# ---- SGD beside SGLD -------------------------------------------------------------------------------------------------

BITS = (1, 2, 3, 4, 5)
COIN = LogOdds(8, 0)


@cache
def sampler_distances(alpha: float, noise: float, accumulator: str) -> tuple[float, ...]:
    """W2 to the coin's posterior of the naive or VC sampler with 1 to 5 fractional bits, exact gradients plus noise."""
    return tuple(of_sampler(COIN, alpha, fmt(bits, 4), accumulator, noise) for bits in BITS)


@cache
def sgd_distances(alpha: float, noise: float) -> tuple[float, ...]:
    """Root mean square distance of SGDLP-L to the minimum of the coin's energy, with 1 to 5 fractional bits."""
    laws = [stationary(COIN, alpha, fmt(bits, 4), "naive", noise, temperature=0.0) for bits in BITS]
    return tuple(math.sqrt((law.points - COIN.mode) ** 2 @ law.probabilities) for law in laws)


@cache
def sgd_full_floor(fractional_bits: int) -> float:
    """How far from the minimum SGDLP-F ends as α → 0: where the mean gradient at rounded weights is 0."""
    seen = SeenThrough(COIN, fmt(fractional_bits))
    return abs(brentq(seen.gradient, 0.0, 4.0) - COIN.mode)


def build_sgd(alpha, noise):
    figure, ax = new_figure(title="SGD beside SGLD: what each bit buys")
    gaps = [2.0**-bits for bits in BITS]
    grid = role("reference", label="Δ/√12, the best on the grid", linestyle="-", linewidth=9, alpha=0.4)
    ax.plot(BITS, [gap / math.sqrt(12) for gap in gaps], **grid)
    ax.plot(BITS, [full_floor(COIN, fmt(bits)) for bits in BITS], marker="D", **role("full", label="SGLDLP-F, floor"))
    look = role("sgd", label="SGDLP-F, floor", linestyle=":", marker="P", markersize=9)
    ax.plot(BITS, [sgd_full_floor(bits) for bits in BITS], **look)
    artists = {
        "sgd": ax.plot([], [], marker="s", **role("sgd", label="SGDLP-L: distance to the minimum"))[0],
        "naive": ax.plot([], [], marker="o", **role("naive", label="naive SGLDLP-L"))[0],
        "vc": ax.plot([], [], marker="v", **role("vc", label="VC SGLDLP-L"))[0],
        "axes": ax,
    }
    ax.set(yscale="log", xlim=(0.8, 5.2), ylim=(3e-8, 20), xlabel="fractional bits F", ylabel="distance")
    ax.set_xticks(BITS)
    ax.legend(loc="lower left", ncols=2)
    update_sgd(artists, alpha, noise)
    return figure, artists


def update_sgd(artists, alpha, noise):
    sgd = sgd_distances(alpha, noise)
    naive, vc = (sampler_distances(alpha, noise, accumulator) for accumulator in ("naive", "vc"))
    for name, values in (("sgd", sgd), ("naive", naive), ("vc", vc)):
        artists[name].set_data(BITS, values)
    artists["axes"].set_title(f"a coin's log odds, α = {alpha:g}, gradient noise {noise:g}")
    return {"SGD, F = 3": sgd[2], "naive, F = 3": naive[2], "VC, F = 3": vc[2]}


sgd = View(
    name="sgd",
    title="SGD beside SGLD: what each bit buys",
    build=build_sgd,
    update=update_sgd,
    controls=(
        Control("alpha", "step size α", (1e-4, 1e-3, 1e-2, 5e-2), 1e-3),
        Control("noise", "gradient noise κ", (0.1, 0.3, 1.0, 3.0), 1.0),
    ),
    static=({}, {"alpha": 1e-2}, {"noise": 0.1}),
    ghosts=("sgd", "naive", "vc"),
    continuous=False,  # the first visit of a setting takes up to half a second
    slide=Slide(
        "A coin's log odds, step size 1e-3, gradient noise 1. On the grid, SGD's distance to the minimum falls like "
        "√Δ, the samplers at best like Δ. With a full-precision accumulator, the floors of both are of order Δ².",
        "Distances on a log scale against 1 to 5 fractional bits: SGD on the grid falls slowest, variance-corrected "
        "SGLD lies on the line of the best law on the grid. Far below and steepest are the floors of SGD and SGLD with "
        "a full-precision accumulator, close to each other.",
    ),
)


# ---- how loose, and the best step ------------------------------------------------------------------------------------


@Slide(
    "Upper bound of Theorems 1 to 3 over the exact Wasserstein-2 distance, against the step size; gap "
    "1/8, exact gradients.",
    "Log-log curves for a Gaussian and a coin's posterior. Full-precision accumulator: up to 700 times "
    "too large, for small steps. Naive: 4 to 30 times. Variance-corrected: 25 to 80 times.",
    "How many times too large is the bound?",
)
def looseness(bits: int) -> Figure:
    """Bound over exact distance against the step size, for the three accumulators and both targets."""
    figure, axes = new_figure(1, 2, title="How many times too large is the bound?", sharey=True, wspace=0.08)
    for ax, target in zip(axes, TARGETS, strict=True):
        for accumulator in _THEOREMS:
            ratios = [
                bound(target, alpha, bits, accumulator).total / exact_distance(target, alpha, bits, accumulator)
                for alpha in ALPHAS
            ]
            ax.plot(ALPHAS, ratios, marker="o", **role(accumulator))
        ax.set(xscale="log", yscale="log", ylim=(1, 3000), xlabel="step size α", title=target)
    axes[0].set_ylabel("bound / exact W2")
    axes[1].legend(loc="upper right")
    return figure


@cache
def naive_distance(alpha: float, fractional_bits: int) -> float:
    """W2 of the naive law to N(0, 1), exact gradients."""
    return of_sampler(Gaussian(), alpha, fmt(fractional_bits, 4), "naive")


def best_step_of_bound(fractional_bits: int) -> tuple[float, float]:
    """The step size at which Theorem 2's bound is smallest, and the bound there."""
    return best_step(lambda alpha: theory.bound("naive", Gaussian().curvature, alpha, 2.0**-fractional_bits).total)


@Slide(
    "Left: exact Wasserstein-2 distance of the naive law to N(0, 1) against the step size, for 1 to 5 "
    "fractional bits, and its minima. Right: the best step size, exact, by the closed form Δ/√6, and by "
    "Theorem 2's bound.",
    "U-shaped curves whose minima move to the lower left with more bits, on a straight line. The best "
    "step halves with each bit; the closed form lies on the exact values, the bound's choice is a "
    "quarter smaller.",
    "The best step size of the naive sampler",
)
def best_steps(bits: tuple[int, ...], alphas: np.ndarray) -> Figure:
    """W2 of the naive law on N(0, 1) against α with its minima; and the best α against the bits, exact and bound."""
    figure, (ax, steps) = new_figure(1, 2, title="The best step size of the naive sampler", wspace=0.24, left=0.08)
    best = {b: best_step(lambda alpha, b=b: naive_distance(alpha, b)) for b in bits}
    for b in bits:
        ax.plot(alphas, [naive_distance(float(a), b) for a in alphas], **role("naive", label="_"))
        ax.plot(*best[b], "o", color=color("target"), markersize=9)
        ax.annotate(f"F = {b}", best[b], (-4, 8), textcoords="offset points", fontsize=14, ha="right")
    ax.axline((1e-2, 1e-2 * math.sqrt(6 / 8)), slope=1, **role("reference", label="minima at Δ/√6: Δ/√8"))
    ax.set(xscale="log", yscale="log", ylim=(3e-3, 6), xlabel="step size α", title="exact W2, N(0, 1)")
    ax.set_xlim(alphas[0], alphas[-1])
    ax.legend(loc="upper right")
    steps.plot(bits, [best[b][0] for b in bits], marker="o", **role("naive", label="exact"))
    steps.plot(bits, [theory.naive_best_step(2.0**-b) for b in bits], **role("target", label="Δ/√6"))
    steps.plot(
        bits, [best_step_of_bound(b)[0] for b in bits], marker="s", **role("bound", label="of Theorem 2's bound")
    )
    steps.set(yscale="log", xlabel="fractional bits F", title="best α")
    steps.set_xticks(bits)
    steps.legend(loc="upper right")
    return figure
