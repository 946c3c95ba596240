"""What notebook 03 shows: Langevin chains in full precision, on the line and in the plane."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

from lpsgld.diagnostics import autocorrelation, rhat
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.toy import chains, theory
from lpsgld.toy.exact import Law, stationary, transition
from lpsgld.toy.mixing import relaxation_time
from lpsgld.toy.targets import Banana, Gaussian, Mixture, MultivariateGaussian

TARGET = Gaussian()
_THETA = np.linspace(-6, 6, 481)
_CHAIN_COLORS = ("naive", "vc", "full", "sgd")
_CHAIN_STYLES = ("-", (0, (5, 1)), (0, (1, 1)), (0, (4, 1, 1, 1)))


def langevin(start, steps: int, target, alpha: float, seed: int, temperature: float = 1.0) -> np.ndarray:
    """Full-precision chains from `start` [chains, ...]: the states after 0, 1, ... steps [steps + 1, chains, ...]."""
    start = torch.tensor(start, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    states = chains.run(start, steps, target, alpha, None, "full", temperature=temperature, generator=generator)
    return np.concatenate([start[None].numpy(), states.numpy()])


# ---- from gradient descent to sampling -------------------------------------------------------------------------------

DESCENT_STEPS = 300


@cache
def descents(alpha: float, temperature: float, seed: int) -> np.ndarray:
    """400 chains on N(0, 1), all from θ = 5 [301, 400]."""
    return langevin([5.0] * 400, DESCENT_STEPS, TARGET, alpha, seed, temperature)


def build_descent(alpha, temperature, seed):
    figure, (ax, law) = new_figure(
        1, 2, title="From descent to sampling", width_ratios=(3, 2), sharey=True, wspace=0.14
    )
    looks = [dict(color=color(name), linestyle=style) for name, style in zip(_CHAIN_COLORS, _CHAIN_STYLES, strict=True)]
    artists = {
        "paths": [ax.plot([], [], linewidth=1.5, **look)[0] for look in looks],
        "samples": law.stairs(np.zeros(48), np.linspace(-6, 6, 49), orientation="horizontal", fill=True, alpha=0.45),
        "law": law.plot([], [], **role("target"))[0],
        "axes": law,
    }
    artists["samples"].set_facecolor(color("sgld"))
    ax.set(xlim=(0, DESCENT_STEPS), ylim=(-6, 6), xlabel="step", ylabel="parameter θ", title="four of 400 chains")
    law.set(xlim=(0, 1.3), xlabel="density after the last step")
    update_descent(artists, alpha, temperature, seed)
    return figure, artists


def update_descent(artists, alpha, temperature, seed):
    states = descents(alpha, temperature, seed)
    for line, path in zip(artists["paths"], states.T, strict=False):
        line.set_data(np.arange(len(path)), path)
    heights, _ = np.histogram(states[-1], bins=np.linspace(-6, 6, 49), density=True)
    artists["samples"].set_data(np.minimum(heights, 1.3))
    artists["law"].set_visible(temperature > 0)
    if temperature > 0:
        artists["law"].set_data(Gaussian(0.0, math.sqrt(temperature)).density(_THETA), _THETA)
    artists["axes"].set_title("target exp(−U/T)" if temperature > 0 else "T = 0: no noise")
    return {"mean of 400": float(states[-1].mean()), "std of 400": float(states[-1].std())}


descent = View(
    name="descent",
    title="From descent to sampling",
    build=build_descent,
    update=update_descent,
    controls=(
        Control("alpha", "step size α", (0.003, 0.01, 0.03, 0.1, 0.3), 0.03),
        Control("temperature", "temperature T", (0.0, 0.03, 0.1, 0.3, 1.0), 0.1),
    ),
    static=({"temperature": 0.0}, {"temperature": 0.1}, {"temperature": 1.0}),
    slide=Slide(
        "Langevin dynamics on N(0, 1) at temperature 1, step size 0.03, all chains from θ = 5. Left: four "
        "chains. Right: the histogram of 400 chains after 300 steps, and the target.",
        "Four noisy paths fall from 5 to around 0 within 100 steps and then wander; the histogram on the "
        "right follows the bell curve of the target.",
        settings={"temperature": 1.0},
    ),
)


# ---- discretisation bias ---------------------------------------------------------------------------------------------

BIAS_ALPHAS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8)


@cache
def exact_law(alpha: float) -> Law:
    """The stationary law of full-precision SGLD on N(0, 1)."""
    return stationary(TARGET, alpha, None, "full")


def build_bias(alpha):
    figure, (ax, variance) = new_figure(
        1, 2, title="Steps are not infinitely small", width_ratios=(3, 2), wspace=0.2, left=0.07
    )
    fine = np.linspace(0, 1.85, 371)
    ax.plot(_THETA, TARGET.density(_THETA), **role("target", label="target N(0, 1)"))
    variance.plot(fine, 1 / (1 - fine / 2), **role("bound", label="1/(1 − α/2)"))
    variance.axhline(1, **role("target", label="target"))
    artists = {
        "law": ax.plot([], [], **role("sgld", label="law of the chain"))[0],
        "axes": ax,
        "here": variance.plot([], [], "o", color=color("vc"), markersize=10, label="exact law")[0],
    }
    ax.set(xlabel="parameter θ", xlim=(-6, 6), ylim=(0, 0.45))
    ax.legend(loc="upper left")
    variance.set(xlabel="step size α", title="variance", xlim=(0, 1.9), ylim=(0, 12))
    variance.legend(loc="upper left")
    update_bias(artists, alpha)
    return figure, artists


def update_bias(artists, alpha):
    law = exact_law(alpha)
    inside = _THETA[(_THETA >= law.points[0]) & (_THETA <= law.points[-1])]
    density = CubicSpline(law.points, law.probabilities / (law.points[1] - law.points[0]))
    artists["law"].set_data(inside, density(inside))
    artists["axes"].set_title(f"density, α = {alpha:g}")
    artists["here"].set_data([alpha], [law.std**2])
    return {"exact variance": law.std**2, "1/(1 − α/2)": theory.sgld_std(alpha) ** 2}


bias = View(
    name="bias",
    title="Steps are not infinitely small",
    build=build_bias,
    update=update_bias,
    controls=(Control("alpha", "step size α", BIAS_ALPHAS, 0.4),),
    static=({"alpha": 0.1}, {"alpha": 1.4}),
    ghosts=("law",),
)


# ---- gradients from mini-batches -------------------------------------------------------------------------------------

DATA = 1000
BATCHES = (1, 3, 10, 30, 100, 300)
_SIZES = np.geomspace(1, 300, 40)


def batch_noise(batch: float) -> float:
    """κ = √(N/B): the noise of a gradient from B of the N = 1000 data, whose energy is Σ (θ - y)²/(2N), Var y = N."""
    return math.sqrt(DATA / batch)


def batch_chains(batch: int, alpha: float, steps: int, count: int, seed: int) -> np.ndarray:
    """SGLD on those data, whose mean is 0, so that the posterior is N(0, 1): chains [count] from 0, after some steps.

    Each step of each chain takes a mini-batch of its own, drawn with replacement.
    """
    rng = np.random.default_rng(seed)
    data = rng.normal(size=DATA)
    data = (data - data.mean()) / data.std() * math.sqrt(DATA)
    theta = np.zeros(count)
    for _ in range(steps):
        gradient = theta - data[rng.integers(DATA, size=(count, batch))].mean(axis=1)  # N/B Σ (θ - y)/N
        theta = theta - alpha * gradient + math.sqrt(2 * alpha) * rng.normal(size=count)
    return theta


def build_batches(batch, alpha):
    figure, (ax, spread) = new_figure(
        1, 2, title="Gradients from mini-batches heat the chain", width_ratios=(3, 2), wspace=0.2, left=0.07
    )
    ax.plot(_THETA, TARGET.density(_THETA), **role("target", label="target N(0, 1)"))
    spread.axhline(1, **role("target", label="target"))
    artists = {
        "law": ax.plot([], [], **role("sgld", label="law of the chain"))[0],
        "axes": ax,
        "stds": spread.plot([], [], **role("sgld", label="law of the chain"))[0],
        "here": spread.plot([], [], "o", color=color("vc"), markersize=10, label="_")[0],
    }
    ax.set(xlabel="parameter θ", xlim=(-6, 6), ylim=(0, 0.52))
    ax.legend(loc="upper left")
    spread.set(xscale="log", yscale="log", xlabel=f"batch size B, of {DATA} data", title="standard deviation")
    spread.set(xlim=(0.8, 400), ylim=(0.7, 11))
    spread.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    spread.set_xticks(BATCHES, list(map(str, BATCHES)))
    spread.minorticks_off()
    spread.legend(loc="upper right")
    update_batches(artists, batch, alpha)
    return figure, artists


def update_batches(artists, batch, alpha):
    std = theory.sgld_std(alpha, batch_noise(batch))
    artists["law"].set_data(_THETA, Gaussian(0.0, std).density(_THETA))
    artists["stds"].set_data(_SIZES, [theory.sgld_std(alpha, batch_noise(other)) for other in _SIZES])
    artists["here"].set_data([batch], [std])
    artists["axes"].set_title(f"density, batches of {batch}, α = {alpha:g}")
    return {
        "gradient noise κ": batch_noise(batch),
        "temperature 1 + ακ²/2": 1 + alpha * batch_noise(batch) ** 2 / 2,
        "std": std,
    }


batches = View(
    name="batches",
    title="Gradients from mini-batches heat the chain",
    build=build_batches,
    update=update_batches,
    controls=(
        Control("batch", "batch size B", BATCHES, 10),
        Control("alpha", "step size α", (0.001, 0.003, 0.01, 0.03, 0.1), 0.01),
    ),
    static=({}, {"batch": 1}, {"batch": 1, "alpha": 0.001}),
    ghosts=("law", "stds"),
    slide=Slide(
        "SGLD whose gradients come from single data out of 1000, step size 0.01. Their noise acts as a temperature of "
        "1 + ακ²/2 = 6. Right: the standard deviation against the size of a batch.",
        "Left: the law is 2.5 times as wide as the target. Right: the spread falls from 2.5 for single data to 1 for "
        "batches of some hundred.",
        settings={"batch": 1},
    ),
)


# ---- burn-in and memory ----------------------------------------------------------------------------------------------

MEMORY_STEPS, LAGS = 1000, 120
STARTS = (-6.0, -2.0, 2.0, 6.0)


@cache
def many_chains(alpha: float, seed: int) -> np.ndarray:
    """64 chains on N(0, 1), in turn from -6, -2, 2 and 6 [1001, 64]."""
    return langevin(STARTS * 16, MEMORY_STEPS, TARGET, alpha, seed)


def build_memory(alpha, burn_in, seed):
    figure, (ax, memory) = new_figure(1, 2, title="Burn-in and memory", width_ratios=(3, 2), wspace=0.2, left=0.07)
    looks = [dict(color=color(name), linestyle=style) for name, style in zip(_CHAIN_COLORS, _CHAIN_STYLES, strict=True)]
    artists = {
        "paths": [ax.plot([], [], linewidth=1.3, **look)[0] for look in looks],
        "dropped": ax.axvspan(0, 1, color=color("reference"), alpha=0.3),
        "exact": memory.plot([], [], **role("target", label="exact, (1 − α)^k"))[0],
        "measured": memory.plot([], [], **role("sgld", label="measured"))[0],
    }
    ax.set(xlim=(0, MEMORY_STEPS), ylim=(-7, 7), xlabel="step", ylabel="parameter θ")
    ax.set_title("four of 64 chains; grey is dropped")
    memory.set(xlim=(0, LAGS), ylim=(-0.7, 1.4), xlabel="steps apart, k", title="autocorrelation")
    memory.legend(loc="upper right")
    update_memory(artists, alpha, burn_in, seed)
    return figure, artists


def update_memory(artists, alpha, burn_in, seed):
    states = many_chains(alpha, seed)
    for line, path in zip(artists["paths"], states.T, strict=False):
        line.set_data(np.arange(len(path)), path)
    artists["dropped"].set_width(burn_in)
    kept = states[burn_in + 1 :].T  # [chains, draws]
    artists["measured"].set_data(np.arange(LAGS), autocorrelation(kept, LAGS))
    artists["exact"].set_data(np.arange(LAGS), (1 - alpha) ** np.arange(LAGS))
    return {
        "draws kept": float(kept.size),
        "worth independent draws": kept.size * alpha / (2 - alpha),
        "R-hat": rhat(kept),
    }


memory = View(
    name="memory",
    title="Burn-in and memory",
    build=build_memory,
    update=update_memory,
    controls=(
        Control("alpha", "step size α", (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 1.5), 0.03),
        Control("burn_in", "burn-in, steps dropped", (0, 25, 50, 100, 200, 400), 0),
    ),
    static=({}, {"burn_in": 200}, {"alpha": 0.003, "burn_in": 200}),
    slide=Slide(
        "Left: four of 64 Langevin chains on N(0, 1) from -6, -2, 2 and 6, step size 0.03; the first 200 steps "
        "are dropped. Right: the correlation of states k steps apart, measured on all 64 and exact.",
        "Four paths meet within about 100 of 1000 steps. The exact autocorrelation decays smoothly to zero "
        "within 100 steps; the measured one follows it.",
        settings={"burn_in": 200},
    ),
)


# ---- two modes -------------------------------------------------------------------------------------------------------

MODES_STEPS, MODES_ALPHA = 1500, 0.02
DISTANCES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


@cache
def mode_chains(distance: float, seed: int) -> np.ndarray:
    """Four chains, three from the left mode and one from the right [1501, 4]."""
    return langevin(
        [-distance, -distance, -distance, distance], MODES_STEPS, Mixture((-distance, distance)), MODES_ALPHA, seed
    )


@cache
def crossing_time(distance: float) -> float:
    """The exact relaxation time, in steps, of the chain on the two modes."""
    return relaxation_time(transition(Mixture((-distance, distance)), MODES_ALPHA, None, "full")[1])


def build_modes(distance, seed):
    figure, (ax, law) = new_figure(1, 2, title="Does it cross?", width_ratios=(3, 2), sharey=True, wspace=0.1)
    looks = [dict(color=color(name), linestyle=style) for name, style in zip(_CHAIN_COLORS, _CHAIN_STYLES, strict=True)]
    artists = {
        "paths": [ax.plot([], [], linewidth=1.1, **look)[0] for look in looks],
        "samples": law.stairs(np.zeros(60), np.linspace(-4, 4, 61), orientation="horizontal", fill=True, alpha=0.45),
        "target": law.plot([], [], **role("target"))[0],
        "axes": ax,
    }
    artists["samples"].set_facecolor(color("sgld"))
    ax.set(xlim=(0, MODES_STEPS), ylim=(-4, 4), xlabel="step", ylabel="parameter θ")
    law.set(xlim=(0, 0.75), xlabel="density", title="all their states, and the target")
    for other in DISTANCES:  # a quarter of a second each: once, and not while a slider moves
        mode_chains(other, seed), crossing_time(other)
    update_modes(artists, distance, seed)
    return figure, artists


def update_modes(artists, distance, seed):
    states = mode_chains(distance, seed)
    for line, path in zip(artists["paths"], states.T, strict=True):
        line.set_data(np.arange(len(path)), path)
    heights, _ = np.histogram(states, bins=np.linspace(-4, 4, 61), density=True)
    artists["samples"].set_data(heights)
    artists["target"].set_data(Mixture((-distance, distance)).density(_THETA), _THETA)
    crossings = int(np.sum(np.diff(np.sign(states), axis=0) != 0))
    artists["axes"].set_title(f"modes at ±{distance:g}: relaxation time {crossing_time(distance):,.0f} steps")
    return {"relaxation time": crossing_time(distance), "sign changes": float(crossings), "R-hat": rhat(states.T)}


modes = View(
    name="modes",
    title="Does it cross?",
    build=build_modes,
    update=update_modes,
    controls=(Control("distance", "modes at ±", DISTANCES, 1.0),),
    static=({"distance": 0.75}, {"distance": 1.5}, {"distance": 2.0}),
)


# ---- the plane -------------------------------------------------------------------------------------------------------

PLANE = {"banana": Banana(0.5, 0.5), "correlated": MultivariateGaussian((0, 0), ((1, 0.95), (0.95, 1)))}
PLANE_STEPS = (10, 30, 100, 300, 1000)
_AXIS = np.linspace(-4, 4, 161)


@cache
def plane_chains(target: str, alpha: float, seed: int) -> np.ndarray:
    """200 chains in the plane, all from (-1.5, 1.5) [1001, 200, 2]."""
    return langevin([[-1.5, 1.5]] * 200, PLANE_STEPS[-1], PLANE[target], alpha, seed)


@cache
def _levels(target: str) -> np.ndarray:
    return PLANE[target].density(np.stack(np.meshgrid(_AXIS, _AXIS), -1))


def build_plane(target, alpha, steps, seed):
    figure, ax = new_figure(title="In the plane", left=0.22, right=0.82)
    contours = {
        name: ax.contour(
            _AXIS,
            _AXIS,
            density,
            density.max() * np.exp(-0.5 * np.array([9, 4, 1])),
            colors=color("target"),
            linewidths=1.3,
        )
        for name in PLANE
        for density in [_levels(name)]
    }
    artists = {f"contours {name}": drawn for name, drawn in contours.items()}
    artists |= {
        "path": ax.plot([], [], color=color("naive"), linewidth=1.0, label="one chain")[0],
        "samples": ax.plot([], [], ".", color=color("vc"), markersize=7, label="200 chains, now")[0],
        "axes": ax,
    }
    ax.plot([-1.5], [1.5], "X", color=color("target"), markersize=11, label="start of all")
    ax.set(xlim=(-4, 4), ylim=(-3, 4), xlabel="x", ylabel="y")
    ax.legend(loc="lower right")
    update_plane(artists, target, alpha, steps, seed)
    return figure, artists


def update_plane(artists, target, alpha, steps, seed):
    states = plane_chains(target, alpha, seed)[: steps + 1]
    for name in PLANE:
        artists[f"contours {name}"].set_visible(name == target)
    artists["path"].set_data(*states[:, 0].T)
    artists["samples"].set_data(*states[-1].T)
    artists["axes"].set_title(f"{target}, α = {alpha:g}, after {steps} steps")
    covariance = PLANE[target].covariance
    return {
        "std x": float(states[-1, :, 0].std()),
        "exact std x": math.sqrt(covariance[0, 0]),
        "std y": float(states[-1, :, 1].std()),
        "exact std y": math.sqrt(covariance[1, 1]),
    }


plane = View(
    name="plane",
    title="In the plane",
    build=build_plane,
    update=update_plane,
    controls=(
        Control("target", "target", ("banana", "correlated"), "banana"),
        Control("alpha", "step size α", (0.002, 0.005, 0.01, 0.02), 0.01),
        Control("steps", "steps", PLANE_STEPS, 300),
    ),
    static=({"steps": 30}, {"steps": 1000}, {"target": "correlated", "steps": 1000}),
    slide=Slide(
        "A banana-shaped target (contours at 1, 2 and 3 standard deviations), 200 Langevin chains from one "
        "start after 1000 steps of size 0.01, and the path of one of them.",
        "Contours of a bent valley, filled evenly by 200 points; one path wanders along the valley and back.",
        title="Langevin dynamics in a bent valley",
        settings={"steps": 1000},
    ),
)


# ---- pictures without sliders ----------------------------------------------------------------------------------------


@Slide(
    "Exact relaxation time of Langevin dynamics with step size 0.02 on two Gaussians of standard "
    "deviation 0.5, against the position of the modes.",
    "The relaxation time grows from 26 steps for modes at ±0.5 to 21,000 steps for modes at ±2, faster "
    "than exponentially.",
    "How long until it crosses?",
)
def crossing_times(distances: np.ndarray) -> Figure:
    """The exact relaxation time on two modes against their distance."""
    figure, ax = new_figure(title="How long until it crosses?")
    ax.plot(distances, [crossing_time(float(d)) for d in distances], marker="o", **role("sgld", label="exact"))
    ax.axhline(MODES_STEPS, **role("reference", label=f"{MODES_STEPS} steps"))
    ax.set(yscale="log", xlabel="modes at ±", ylabel="relaxation time, in steps")
    ax.legend(loc="upper left")
    return figure
