"""What notebook 05 shows: the exact laws of the low-precision samplers, one step of each, and Figure 1 of the paper."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lpsgld.formats import AnyFormat
from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role, styled
from lpsgld.toy import chains, theory
from lpsgld.toy.distances import on_grid_floor, wasserstein2
from lpsgld.toy.exact import Law, stationary
from lpsgld.toy.one_step import landing, step_variance
from lpsgld.toy.targets import Gaussian, Mixture

TARGET = Gaussian()
TARGETS = {"N(0, 1)": TARGET, "two modes": Mixture()}
GRADIENT_NOISE = 0.1
ALPHAS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
_THETA = np.linspace(-8, 8, 321)


@cache
def exact_law(alpha: float, word_length: int, fractional_bits: int, accumulator: str, target: str = "N(0, 1)") -> Law:
    """The stationary law in fixed(W,F), with gradient noise 0.1 and gradients rounded to the same format."""
    fmt = f"fixed({word_length},{fractional_bits})"
    return stationary(TARGETS[target], alpha, fmt, accumulator, GRADIENT_NOISE, fmt)


@cache
def exact_distance(
    alpha: float, word_length: int, fractional_bits: int, accumulator: str, target: str = "N(0, 1)"
) -> float:
    """W2 between `exact_law` and its target."""
    return wasserstein2(exact_law(alpha, word_length, fractional_bits, accumulator, target), TARGETS[target])


@cache
def distance_floor(word_length: int, fractional_bits: int, target: str = "N(0, 1)") -> float:
    """The W2 of the best law on that grid."""
    return on_grid_floor(TARGETS[target], f"fixed({word_length},{fractional_bits})")


def bin_edges(points: np.ndarray) -> np.ndarray:
    """The edges of bins as wide as the gap, one around each grid point."""
    gap = points[1] - points[0]
    return np.append(points - gap / 2, points[-1] + gap / 2)


# ---- the law, and its distance to the target -------------------------------------------------------------------------


def build_law(target, alpha, word_length, fractional_bits):
    figure, (ax, distance) = new_figure(
        1, 2, title="The law that each sampler reaches", width_ratios=(3, 2), wspace=0.2, left=0.07
    )
    distance.set(xscale="log", yscale="log", xlim=(7e-5, 1.4e-1), ylim=(4e-3, 12))
    distance.set(xlabel="step size α", title="distance W2 to the target")
    distance.minorticks_off()  # they take longer than all else
    artists = {
        "target": ax.plot([], [], **role("target"))[0],
        "naive": ax.stairs([0], [0, 1], baseline=None, **role("naive")),
        "vc": ax.stairs([0], [0, 1], baseline=None, **role("vc")),
        "axes": ax,
        "naive distance": distance.plot([], [], **role("naive", label="_")),
        "vc distance": distance.plot([], [], **role("vc", label="_")),
        "here": distance.plot([], [], "o", color=color("target"), markersize=9)[0],
        "floor": distance.axhline(1, color=color("reference"), linewidth=1.5, label="best on this grid"),
    }
    ax.set(xlabel="parameter θ", xlim=(-6, 6))
    ax.legend(loc="upper left", handlelength=2.2)
    distance.legend(loc="upper right")
    update_law(artists, target, alpha, word_length, fractional_bits)
    return figure, artists


def update_law(artists, target, alpha, word_length, fractional_bits):
    artists["target"].set_data(_THETA, TARGETS[target].density(_THETA))
    tallest = 0.0
    for accumulator in ("naive", "vc"):
        points, probabilities = exact_law(alpha, word_length, fractional_bits, accumulator, target)
        density = probabilities / (points[1] - points[0])
        tallest = max(tallest, float(density.max()))
        artists[accumulator].set_data(density, bin_edges(points))
        curve = [exact_distance(a, word_length, fractional_bits, accumulator, target) for a in ALPHAS]
        artists[f"{accumulator} distance"][0].set_data(ALPHAS, curve)
    artists["axes"].set_ylim(0, 0.62 if tallest < 0.6 else 1.25 * tallest)
    artists["axes"].set_title(f"density, fixed({word_length},{fractional_bits}), α = {alpha:g}")
    near = [exact_distance(alpha, word_length, fractional_bits, accumulator, target) for accumulator in ("naive", "vc")]
    artists["here"].set_data([alpha, alpha], near)
    artists["floor"].set_ydata([distance_floor(word_length, fractional_bits, target)] * 2)
    return {
        "std naive": exact_law(alpha, word_length, fractional_bits, "naive", target).std,
        "std VC": exact_law(alpha, word_length, fractional_bits, "vc", target).std,
        "W2 naive": near[0],
        "W2 VC": near[1],
    }


law = View(
    name="law",
    title="The law that each sampler reaches",
    build=build_law,
    update=update_law,
    controls=(
        Control("target", "target", tuple(TARGETS), "N(0, 1)"),
        Control("alpha", "step size α", ALPHAS, 2e-3),
        Control("word_length", "word length W", (4, 5, 6, 7, 8), 8),
        Control("fractional_bits", "fractional bits F", (1, 2, 3, 4, 5), 3),
    ),
    static=({"alpha": 1e-2}, {"alpha": 1e-4}, {"alpha": 1e-4, "target": "two modes"}),
    ghosts=("naive", "vc"),
    slide=Slide(
        "Exact stationary laws on N(0, 1) in fixed(8,3) at step size 1e-4, and their Wasserstein-2 distance "
        "to the target against the step size. Grey: the best law that can live on this grid.",
        "Left: the naive law is 2.7 times as wide as the target, the variance-corrected law lies on it. "
        "Right: the naive distance grows as the step size falls; the corrected one stays on the grey line.",
        settings={"alpha": 0.0001},
    ),
)


# ---- one step --------------------------------------------------------------------------------------------------------


_CODES = np.arange(-3, 5)
_POSITIONS = np.linspace(0, 1, 201)
RATIOS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.1, 1.5, 2.0, 3.0, 4.0)


def variance_ratio(position, ratio: float, accumulator: str):
    """The variance of one step in units of v = ratio·v0, at each position in the cell (array)."""
    return step_variance(accumulator, position, ratio / 4) / (ratio / 4)


def build_step(position, ratio):
    figure, (ax, variance) = new_figure(
        1, 2, title="One step, from mean μ with variance v", width_ratios=(3, 2), wspace=0.22, left=0.07
    )
    artists = {
        "naive": ax.bar(_CODES - 0.18, np.ones(len(_CODES)), 0.34, color=color("naive"), hatch="//", label="naive"),
        "vc": ax.bar(_CODES + 0.18, np.ones(len(_CODES)), 0.34, color=color("vc"), label="variance-corrected"),
        "mean": ax.axvline(0, ymax=0.72, **role("target", label="mean μ")),
        "naive variance": variance.plot([], [], **role("naive", label="_"))[0],
        "vc variance": variance.plot([], [], **role("vc", label="_"))[0],
        "here": variance.axvline(0, ymax=0.8, **role("target", label="position of μ", linewidth=1.5, linestyle=":")),
    }
    variance.axhline(1, **role("target", label="what Langevin asks for", linewidth=1.5))
    ax.set(xlabel="grid point, in gaps Δ", title="probability of each grid point", ylim=(0, 1.3), xlim=(-3.6, 4.6))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xticks(_CODES)
    ax.set_yticks(np.linspace(0, 1, 6))
    variance.set(xlabel="position of μ in its cell, in gaps", title="variance of the step / v", xlim=(0, 1))
    variance.set(yscale="log", ylim=(0.7, 30))
    variance.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    variance.minorticks_off()
    ax.legend(loc="upper right")
    variance.legend(loc="upper right")
    reveal(2, artists["vc"])
    reveal(3, variance)
    update_step(artists, position, ratio)
    return figure, artists


def update_step(artists, position, ratio):
    for accumulator in ("naive", "vc"):
        heights = landing(accumulator, ratio / 4).probabilities(position, _CODES)
        for bar, height in zip(artists[accumulator], heights, strict=True):
            bar.set_height(height)
        artists[f"{accumulator} variance"].set_data(_POSITIONS, variance_ratio(_POSITIONS, ratio, accumulator))
    artists["mean"].set_xdata([position] * 2)
    artists["here"].set_xdata([position] * 2)
    return {
        "naive variance / v": float(variance_ratio(position, ratio, "naive")),
        "VC variance / v": float(variance_ratio(position, ratio, "vc")),
    }


step = View(
    name="step",
    title="One step of each sampler",
    build=build_step,
    update=update_step,
    controls=(
        Control("position", "position of μ in its cell", tuple(np.arange(0, 20) / 20), 0.25),
        Control("ratio", "variance v / v0", RATIOS, 0.5),
    ),
    static=({"ratio": 3.0}, {"position": 0.05, "ratio": 0.5}, {"position": 0.5, "ratio": 0.2}),
    ghosts=("naive variance", "vc variance"),
    slide=Slide(
        "Left: where a step of mean μ (a quarter of a gap) and variance v = v0/2 ends. Right: the variance "
        "of the step over what it should be, against the position of μ between two grid points.",
        "Bars: both steps mostly end on the two grid points around their mean, the naive one more often "
        "beyond them. Curves: the naive variance is about 2.3 v everywhere; the corrected one is v, but for "
        "a hill of height 2 in the middle of the cell.",
        settings={"position": 0.25, "ratio": 0.5},
    ),
)


@Slide(
    "The variance of the variance-corrected step over the variance v that it should have, for each "
    "position of the mean between two grid points and each v, in units of v0 = Δ²/4. Solid: the "
    "branches of Algorithm 1 part. Dashed: below it, no unbiased rounding can have the variance v.",
    "A heat map. It is dark, meaning exact, above a dome-shaped dashed line that touches v = v0 in the "
    "middle of the cell, and grows bright below it.",
    "Where variance correction keeps its promise",
)
def branch_map() -> Figure:
    """The variance of Q^vc over what it should be, for every position in a cell and every v/v0, with the branches."""
    figure, ax = new_figure(title="Where variance correction keeps its promise", right=0.97)
    ratios = np.logspace(-2, 1, 241)
    excess = np.stack([variance_ratio(_POSITIONS, ratio, "vc") for ratio in ratios])
    mesh = ax.pcolormesh(_POSITIONS, ratios, excess, norm=LogNorm(1, 100), cmap="cividis", rasterized=True)
    bar = figure.colorbar(mesh, ax=ax, label="variance of the step / v", pad=0.02)
    bar.set_ticks([1, 3, 10, 30, 100], labels=["1", "3", "10", "30", "100"])
    bar.ax.minorticks_off()
    # white in both themes: the map beneath is dark where lines and texts lie
    reveal(2, ax.axhline(1, color="white", linewidth=2.5))
    bound = np.maximum(4 * _POSITIONS * (1 - _POSITIONS), 1e-3)
    reveal(3, ax.plot(_POSITIONS, bound, color="white", linewidth=2.5, linestyle="--"))
    said = dict(color="white", ha="center", va="center")
    reveal(2, ax.text(0.5, 3.2, "first branch: Gaussian, then quadratic spline", fontsize=17, **said))
    reveal(3, ax.text(0.5, 0.3, "rounding alone has more variance than v", fontsize=17, **said))
    for position in (0.087, 0.913):
        reveal(3, ax.text(position, 0.81, "second branch", fontsize=14, **said))
    ax.set(xlabel="position of μ in its cell, in gaps", ylabel="v / v0", yscale="log", xlim=(0, 1), ylim=(0.01, 10))
    ax.grid(False)
    return figure


# ---- noisy gradients -------------------------------------------------------------------------------------------------

NOISES = (0.0, 5.0, 10.0, 16.0, 25.0, 50.0, 100.0)


@cache
def noisy_law(noise: float, alpha: float, fractional_bits: int, accumulator: str) -> Law:
    """The stationary law on N(0, 1) in fixed(F+5,F), gradients with noise and not rounded."""
    return stationary(TARGET, alpha, f"fixed({fractional_bits + 5},{fractional_bits})", accumulator, noise)


def build_noisy(noise, alpha, fractional_bits):
    figure, (ax, spread) = new_figure(
        1, 2, title="Noisy gradients break the correction", width_ratios=(3, 2), wspace=0.2, left=0.07
    )
    ax.plot(_THETA, TARGET.density(_THETA), **role("target", label="target N(0, 1)"))
    artists = {
        "full": ax.plot([], [], **role("full", label="full precision"))[0],
        "naive": ax.stairs([0], [0, 1], baseline=None, **role("naive")),
        "vc": ax.stairs([0], [0, 1], baseline=None, **role("vc")),
        "axes": ax,
        "limit": spread.axvline(0, **role("reference", label="2/Δ")),
        "here": spread.plot([], [], "o", color=color("target"), markersize=9)[0],
    }
    for name in ("full", "naive", "vc"):
        artists[f"{name} std"] = spread.plot([], [], **role(name, label="_"))[0]
    ax.set(xlabel="parameter θ", xlim=(-8, 8), ylim=(0, 0.52))
    ax.legend(loc="upper left", handlelength=2.2)
    spread.set(xlim=(-3, 103), ylim=(0.8, 4.4), xlabel="gradient noise κ", title="standard deviation of the law")
    spread.legend(loc="upper right")
    update_noisy(artists, noise, alpha, fractional_bits)
    return figure, artists


def update_noisy(artists, noise, alpha, fractional_bits):
    laws = {name: noisy_law(noise, alpha, fractional_bits, name) for name in ("naive", "vc")}
    full = theory.sgld_std(alpha, noise)
    for name, (points, probabilities) in laws.items():
        artists[name].set_data(probabilities / (points[1] - points[0]), bin_edges(points))
        stds = [noisy_law(other, alpha, fractional_bits, name).std for other in NOISES]
        artists[f"{name} std"].set_data(NOISES, stds)
    artists["full"].set_data(_THETA, Gaussian(0.0, full).density(_THETA))
    artists["full std"].set_data(NOISES, [theory.sgld_std(alpha, other) for other in NOISES])
    artists["here"].set_data([noise] * 3, [full, laws["naive"].std, laws["vc"].std])
    artists["limit"].set_xdata([2 * 2.0**fractional_bits] * 2)
    artists["axes"].set_title(f"density, gap Δ = 1/{2**fractional_bits}, α = {alpha:g}")
    return {"std full": full, "std naive": laws["naive"].std, "std VC": laws["vc"].std}


noisy = View(
    name="noisy",
    title="Noisy gradients break the correction",
    build=build_noisy,
    update=update_noisy,
    controls=(
        Control("noise", "gradient noise κ", NOISES, 5.0),
        Control("alpha", "step size α", (1e-4, 3e-4, 1e-3), 1e-4),
        Control("fractional_bits", "fractional bits F", (2, 3, 4, 5), 3),
    ),
    static=({}, {"noise": 50.0}, {"noise": 50.0, "fractional_bits": 5}),
    ghosts=("naive", "vc", "full"),
    slide=Slide(
        "Exact laws on N(0, 1) whose gradients have noise of standard deviation 50; gap 1/8, step size 1e-4. Right: "
        "the standard deviation against the noise. Beyond 2/Δ, most gradients are too steep for the correction.",
        "Left: the law in full precision is a little wider than the target, the corrected law 1.6 times, the naive one "
        "2.7 times as wide. Right: the corrected curve leaves the full-precision one near a noise of 16 and climbs "
        "towards the naive one.",
        settings={"noise": 50.0},
    ),
)


# ---- pictures without sliders ----------------------------------------------------------------------------------------

FIGURE_1_ALPHAS = (1e-3, 1e-4)


def sample(
    alpha: float,
    accumulator: str,
    chains_at_once: int,
    relaxation_times: float,
    seed: int,
    rows: int = 50,
    target: Gaussian = TARGET,
    fmt: AnyFormat = "fixed(8,3)",
    **settings,
) -> torch.Tensor:
    """States [rows, chains] of many chains on a Gaussian; the defaults are those of the paper's Figure 1.

    The chains start from the target and are dropped for `relaxation_times` times σ²/α steps, then kept `rows` times
    over as many steps again: (1 - α/σ²)^(tσ²/α) ≈ e^-t of the start is left. settings: of `chains.step`.
    """
    generator = torch.Generator().manual_seed(seed)
    burn_in = math.ceil(relaxation_times * target.std**2 / alpha)
    settings = dict(grad="fixed(8,3)", gradient_noise=GRADIENT_NOISE) | settings | dict(generator=generator)
    state = target.mean + target.std * torch.randn(chains_at_once, generator=generator)
    state = chains.run(state, burn_in, target, alpha, fmt, accumulator, keep_every=burn_in, **settings)[0]
    every = max(burn_in // rows, 1)
    return chains.run(state, every * rows, target, alpha, fmt, accumulator, keep_every=every, **settings)


@Slide(
    "Samples of N(0, 1) in fixed(8,3) with a naive, a variance-corrected and a full-precision "
    "accumulator, two step sizes, bins as wide as the gap; the line of the same colour is the exact "
    "stationary law.",
    "Six histograms. The naive ones are wider than the target density, more so for the smaller step "
    "size; the variance-corrected and the full-precision ones lie on it.",
    "Figure 1 of Zhang, Wilson and De Sa (2022), with exact laws",
)
def figure_1(samples: dict[tuple[float, str], torch.Tensor]) -> Figure:
    """Figure 1 of the paper: histograms of samples (bin width Δ), the exact law and the target; a row for each step."""
    alphas = sorted({alpha for alpha, _ in samples}, reverse=True)
    columns = (("naive", "naive"), ("vc", "variance-corrected"), ("full", "full-precision accumulator"))
    figure, axes = new_figure(len(alphas), 3, sharex=True, sharey=True, hspace=0.22, wspace=0.08, top=0.93, left=0.1)
    points = np.arange(-128, 128) / 8
    shown = np.abs(points) < 6.5  # an SVG keeps what lies outside of the axes
    for row, alpha in zip(axes, alphas, strict=True):
        for frame, (ax, (accumulator, title)) in enumerate(zip(row, columns, strict=True), start=2):
            _thin_target(ax, _THETA, TARGET, accumulator)
            values = samples[alpha, accumulator]
            for artist in _histogram(ax, values, exact_law(alpha, 8, 3, accumulator), points, shown, accumulator):
                reveal(frame, artist)
            if alpha == alphas[0]:
                ax.set_title(title)
            if alpha == alphas[-1]:
                ax.set_xlabel("parameter θ")
        row[0].set_ylabel(f"α = {alpha:g}\ndensity")
    axes[0, 0].set(xlim=(-6, 6), ylim=(0, 0.66))
    axes[0, 0].legend(loc="upper left", handlelength=1.6, borderaxespad=0.1)
    return figure


@styled
def histogram(samples: torch.Tensor, exact: Law, target: Gaussian, gap: float, accumulator: str, title: str) -> Figure:
    """One panel of Figure 1, for any Gaussian; gap: the width of the bins, which lie around its multiples."""
    figure, ax = new_figure(title=title)
    reach = 4 * max(target.std, exact.std)
    theta = np.linspace(target.mean - reach, target.mean + reach, 321)
    _thin_target(ax, theta, target, accumulator)
    codes = np.arange(math.floor(theta[0] / gap), math.ceil(theta[-1] / gap) + 1)
    points = exact.points if accumulator != "full" else codes * gap
    _histogram(ax, samples, exact, points, np.abs(points - target.mean) <= reach + gap, accumulator)
    ax.set(xlim=(theta[0], theta[-1]), xlabel="parameter θ", ylabel="density")
    ax.set_ylim(0, 1.15 * ax.get_ylim()[1])
    ax.legend(loc="upper left")
    return figure


def _thin_target(ax, theta: np.ndarray, target: Gaussian, accumulator: str) -> None:
    """Over a law on the grid, whose steps show beside it, but under one that may coincide with it."""
    ax.plot(theta, target.density(theta), **role("target", zorder=1.5 if accumulator == "full" else 3, linewidth=1))


def _histogram(ax, samples: torch.Tensor, exact: Law, points: np.ndarray, shown: np.ndarray, accumulator: str) -> list:
    """Samples in bins around the points, of which some are shown, and the exact law. Returns the artists."""
    values = samples.flatten().numpy()
    heights, _ = np.histogram(values, bin_edges(points), density=True)
    edges = bin_edges(points[shown])
    bars = ax.stairs(heights[shown], edges, fill=True, color=color(accumulator), alpha=0.45, label="samples")
    density = exact.probabilities / (exact.points[1] - exact.points[0])
    look = role(accumulator, label="exact law")
    if accumulator == "full":
        theta = ax.lines[0].get_xdata()  # of the target
        (law,) = ax.plot(theta, np.interp(theta, exact.points, density), **look)
    else:
        law = ax.stairs(density[shown], edges, baseline=None, **look)
    return [bars, law, ax.text(0.97, 0.95, f"std {values.std():.2f}", transform=ax.transAxes, ha="right", va="top")]
