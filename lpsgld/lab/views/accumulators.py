"""What notebook 04 shows: full-precision and naive low-precision accumulators, step by step and by their exact laws."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure

from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import axis_end, color, new_figure, role
from lpsgld.toy import chains, theory
from lpsgld.toy.distances import best_step, full_floor, of_sampler, on_grid_floor
from lpsgld.toy.exact import Law, stationary, transition
from lpsgld.toy.mixing import relaxation_time
from lpsgld.toy.one_step import rounding_variance
from lpsgld.toy.targets import Gaussian, LogOdds, Mixture

TARGET = Gaussian()
ALPHAS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
_FINE = np.logspace(-4.2, -0.8, 69)
_THETA = np.linspace(-8, 8, 641)


def fmt(fractional_bits: int, integer_bits: int = 5) -> str:
    """fixed(W,F) with the range ±2^(integer_bits - 1)."""
    return f"fixed({fractional_bits + integer_bits},{fractional_bits})"


def _steps(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """Heights and edges of a law on a grid, drawn as a density."""
    gap = law.points[1] - law.points[0]
    return law.probabilities / gap, np.append(law.points - gap / 2, law.points[-1] + gap / 2)


# ---- the path of one chain -------------------------------------------------------------------------------------------

STEPS, PATHS = 400, 64
_DRAWN = 12


@cache
def paths(alpha: float, fractional_bits: int, accumulator: str, seed: int) -> np.ndarray:
    """θ after 0, 1, ..., 400 steps of 64 chains on N(0, 1), all from 0 [401, 64]."""
    settings = dict(generator=torch.Generator().manual_seed(seed))
    states = chains.run(torch.zeros(PATHS), STEPS, TARGET, alpha, fmt(fractional_bits), accumulator, **settings)
    return np.concatenate([np.zeros((1, PATHS)), states.numpy()])


def build_path(alpha, fractional_bits, seed):
    figure, axes = new_figure(1, 2, title="The same steps, added up in two ways", sharey=True, wspace=0.1)
    artists = {"axes": axes[0]}
    for ax, kind, title in zip(axes, ("full", "naive"), ("full precision", "naive: rounded at each step"), strict=True):
        look = role(kind, label="_", linestyle="-", drawstyle="steps-post" if kind == "naive" else "default")
        faint = look | dict(linewidth=0.8, alpha=0.45)
        artists[kind] = [ax.plot([], [], **faint)[0] for _ in range(_DRAWN - 1)] + [ax.plot([], [], **look)[0]]
        artists[f"one {kind}"] = artists[kind][-1]
        ax.set(xlim=(0, STEPS), xlabel="step", title=f"{_DRAWN} chains, {title}")
    axes[0].set_ylabel("parameter θ, in gaps")
    update_path(artists, alpha, fractional_bits, seed)
    return figure, artists


def update_path(artists, alpha, fractional_bits, seed):
    gap = 2.0**-fractional_bits
    both = {kind: paths(alpha, fractional_bits, kind, seed) / gap for kind in ("full", "naive")}
    for kind, states in both.items():
        for line, path in zip(artists[kind], states.T, strict=False):
            line.set_data(np.arange(STEPS + 1), path)
    reach = axis_end(max(4.0, *(float(np.abs(states[:, :_DRAWN]).max()) for states in both.values())))
    artists["axes"].set_ylim(-reach, reach)
    moves = np.diff(both["naive"], axis=0) != 0
    return {
        "noise of a step in gaps": math.sqrt(2 * alpha) / gap,
        "naive steps that move": float(moves.mean()),
        "std at the end, full": float(both["full"][-1].std()),
        "std, naive": float(both["naive"][-1].std()),
    }


one_path = View(
    name="path",
    title="The same steps, added up in two ways",
    build=build_path,
    update=update_path,
    controls=(
        Control("alpha", "step size α", (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), 1e-4),
        Control("fractional_bits", "fractional bits F", (1, 2, 3, 4, 5), 3),
    ),
    static=({}, {"alpha": 1e-2}),
    ghosts=("one full", "one naive"),
    slide=Slide(
        "400 steps of size 1e-4 on N(0, 1), gap 1/8, twelve chains of each kind. The noise of a step is a ninth of a "
        "gap: the full-precision accumulator adds it up, the naive one stands still nine steps in ten and then jumps "
        "a whole gap.",
        "Left: rough, continuous paths, most of them within three gaps of zero. Right: staircases that jump by whole "
        "gaps and spread to ten gaps and more.",
    ),
)


# ---- what rounding adds ----------------------------------------------------------------------------------------------


def added_variance(alpha: float, gap: float) -> float:
    """What rounding adds to a step from a grid point, in θ's unit squared."""
    return gap**2 * float(rounding_variance(math.sqrt(2 * alpha) / gap))


def build_cost(alpha, fractional_bits):
    figure, (ax, variance) = new_figure(1, 2, title="What rounding adds to a step", wspace=0.24, left=0.09)
    position = np.linspace(-2, 2, 401)
    inside = position - np.floor(position)
    ax.plot(position, inside * (1 - inside), **role("naive", label="variance added, |δ|(Δ − |δ|)"))
    artists = {
        "displacement": ax.plot([], [], **role("target", label="how often a step asks for δ"))[0],
        "asked": variance.plot(_FINE, 2 * _FINE, **role("target", label="asked for: 2α"))[0],
        "added": variance.plot([], [], **role("naive", label="added by rounding"))[0],
        "small steps": variance.plot([], [], **role("reference", label="for small steps: 2Δ√(α/π) − 2α"))[0],
        "wide steps": variance.axhline(1, **role("sgld", label="for wide steps: Δ²/6", linewidth=1.8)),
        "here": variance.plot([], [], "o", color=color("target"), markersize=9)[0],
    }
    ax.set(xlim=(-2, 2), ylim=(0, 0.48), xlabel="displacement δ, in gaps", ylabel="in gaps²")
    ax.set_title("one step from a grid point")
    ax.legend(loc="upper left")
    variance.set(xscale="log", yscale="log", xlim=(6e-5, 1.6e-1), ylim=(3e-5, 20), xlabel="step size α")
    variance.set_title("variance of a step")
    variance.legend(loc="upper left")
    update_cost(artists, alpha, fractional_bits)
    return figure, artists


def update_cost(artists, alpha, fractional_bits):
    gap = 2.0**-fractional_bits
    s = math.sqrt(2 * alpha) / gap
    position = np.linspace(-2, 2, 801)
    artists["displacement"].set_data(position, 0.34 * np.exp(-0.5 * (position / s) ** 2))
    artists["added"].set_data(_FINE, [added_variance(a, gap) for a in _FINE])
    small = np.sqrt(2 * _FINE) < gap / 2
    artists["small steps"].set_data(_FINE[small], 2 * gap * np.sqrt(_FINE[small] / math.pi) - 2 * _FINE[small])
    artists["wide steps"].set_ydata([gap**2 / 6] * 2)
    added = added_variance(alpha, gap)
    artists["here"].set_data([alpha, alpha], [2 * alpha, added])
    return {"asked for": 2 * alpha, "added": added, "added / asked for": added / (2 * alpha)}


cost = View(
    name="cost",
    title="What rounding adds to a step",
    build=build_cost,
    update=update_cost,
    controls=(
        Control("alpha", "step size α", ALPHAS, 1e-3),
        Control("fractional_bits", "fractional bits F", (1, 2, 3, 4, 5), 3),
    ),
    static=({"alpha": 1e-4}, {"alpha": 1e-2}),
    ghosts=("displacement", "added"),
)


# ---- the two laws ----------------------------------------------------------------------------------------------------


@cache
def exact_law(alpha: float, fractional_bits: int, accumulator: str) -> Law:
    """The stationary law on N(0, 1) in fixed(F+5,F), exact gradients."""
    return stationary(TARGET, alpha, fmt(fractional_bits), accumulator)


@cache
def naive_stds(fractional_bits: int) -> tuple[float, ...]:
    """The naive law's standard deviation at each of ALPHAS."""
    return tuple(exact_law(alpha, fractional_bits, "naive").std for alpha in ALPHAS)


def build_law(alpha, fractional_bits):
    figure, (ax, spread) = new_figure(
        1, 2, title="Two accumulators, two laws", width_ratios=(3, 2), wspace=0.2, left=0.07
    )
    ax.plot(_THETA, TARGET.density(_THETA), **role("target", label="target N(0, 1)"))
    artists = {
        "full": ax.plot([], [], **role("full", label="full precision"))[0],
        "naive": ax.stairs([0], [0, 1], baseline=None, **role("naive")),
        "axes": ax,
        "naive std": spread.plot([], [], **role("naive", label="naive, exact"))[0],
        "prediction": spread.plot([], [], **role("bound", label="√(Δ/√(πα))"))[0],
        "full std": spread.plot([], [], **role("full", label="full precision"))[0],
        "here": spread.plot([], [], "o", color=color("target"), markersize=9)[0],
    }
    ax.set(xlabel="parameter θ", xlim=(-8, 8), ylim=(0, 0.56))
    ax.legend(loc="upper left", handlelength=2.2)
    spread.set(xscale="log", yscale="log", xlim=(7e-5, 1.4e-1), ylim=(0.2, 9), xlabel="step size α")
    spread.set_title("standard deviation")
    spread.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    spread.minorticks_off()
    spread.legend(loc="upper right", handlelength=2.2)
    update_law(artists, alpha, fractional_bits)
    return figure, artists


def update_law(artists, alpha, fractional_bits):
    gap = 2.0**-fractional_bits
    full, naive = exact_law(alpha, fractional_bits, "full"), exact_law(alpha, fractional_bits, "naive")
    artists["full"].set_data(full.points, full.probabilities / (full.points[1] - full.points[0]))
    artists["naive"].set_data(*_steps(naive))
    artists["axes"].set_title(f"density, gap Δ = 1/{2**fractional_bits}, α = {alpha:g}")
    artists["naive std"].set_data(ALPHAS, naive_stds(fractional_bits))
    artists["prediction"].set_data(_FINE, [theory.naive_std(a, gap) for a in _FINE])
    artists["full std"].set_data(_FINE, [theory.full_std(a, gap) for a in _FINE])
    artists["here"].set_data([alpha, alpha], [full.std, naive.std])
    return {"std full": full.std, "std naive": naive.std, "prediction": theory.naive_std(alpha, gap)}


law = View(
    name="law",
    title="Two accumulators, two laws",
    build=build_law,
    update=update_law,
    controls=(
        Control("alpha", "step size α", ALPHAS, 2e-3),
        Control("fractional_bits", "fractional bits F", (1, 2, 3, 4), 3),
    ),
    static=({"alpha": 1e-2}, {"alpha": 1e-4}),
    ghosts=("naive", "full"),
)


@Slide(
    "Stationary standard deviation on N(0, 1), gap 1/8. Points: exact, by linear algebra. Lines: the "
    "target at the temperature T computed from the variance of a single step, and its limit for small "
    "steps.",
    "Log-log plot. Points fall from 8.4 at step size 1e-6 to 1 at 0.1 and lie on the line √T "
    "everywhere; the small-step limit leaves them near 0.002. The full-precision accumulator stays at "
    "1.",
    "The naive law over five decades of step sizes",
)
def five_decades(alphas: np.ndarray) -> Figure:
    """The standard deviation of both accumulators from the exact laws, and the prediction, for gap 1/8."""
    figure, ax = new_figure(title="Five decades of step sizes")
    gap, wide = 2.0**-3, "fixed(10,3)"  # ±64: the widest law must not touch the range
    stds = [stationary(TARGET, alpha, wide, "naive").std for alpha in alphas]
    predictions = [theory.naive_std_at_any_step(alpha, gap) for alpha in alphas]
    limits = [theory.naive_std(alpha, gap) for alpha in alphas]
    ax.axhline(1, **role("target", label="target N(0, 1)", zorder=1.5))
    ax.plot(alphas, [theory.full_std(alpha, gap) for alpha in alphas], **role("full"))
    reveal(2, ax.plot(alphas, stds, "o", color=color("naive"), markersize=10, label="naive, exact", zorder=3))
    reveal(3, ax.plot(alphas, predictions, **role("sgld", label="√T, with T from one step")))
    reveal(4, ax.plot(alphas, limits, **role("reference", label="small steps: √(Δ/√(πα))")))
    ax.set(xscale="log", yscale="log", xlabel="step size α", ylabel="stationary standard deviation", ylim=(0.4, 12))
    ax.set_yticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    ax.minorticks_off()
    ax.legend(loc="upper right")
    return figure


# ---- two modes -------------------------------------------------------------------------------------------------------

MIXING_ALPHAS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


@cache
def crossing_times(distance: float, fractional_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Relaxation times, in steps, of the naive chain and of Langevin in full precision, at each of MIXING_ALPHAS."""
    target = Mixture((-distance, distance))
    grid = fmt(fractional_bits, 4)
    naive = [relaxation_time(transition(target, alpha, grid, "naive")[1]) for alpha in MIXING_ALPHAS]
    return np.array(naive), langevin_times(distance)


@cache
def langevin_times(distance: float) -> np.ndarray:
    """Relaxation times of full-precision SGLD at each of MIXING_ALPHAS."""
    target = Mixture((-distance, distance))
    return np.array([relaxation_time(transition(target, alpha, None, "full")[1]) for alpha in MIXING_ALPHAS])


def hot_density(target: Mixture, temperature: float) -> np.ndarray:
    """exp(-U/T), normalised, at the points that the picture draws."""
    weight = np.exp(target.log_density(_THETA) / temperature)
    return weight / (weight.sum() * (_THETA[1] - _THETA[0]))


def build_mixing(alpha, distance, fractional_bits):
    figure, (ax, time) = new_figure(1, 2, title="Two modes: wrong law, quick mixing", wspace=0.22, left=0.07)
    artists = {
        "target": ax.plot([], [], **role("target"))[0],
        "naive": ax.stairs([0], [0, 1], baseline=None, **role("naive", label="naive, exact")),
        "hot": ax.plot([], [], **role("bound", label="target at temperature T"))[0],
        "axes": ax,
        "full time": time.plot([], [], **role("full", label="full precision"))[0],
        "naive time": time.plot([], [], **role("naive", label="naive"))[0],
        "here": time.plot([], [], "o", color=color("target"), markersize=9)[0],
    }
    ax.set(xlabel="parameter θ", xlim=(-6, 6), ylim=(0, 0.72))
    ax.legend(loc="upper left")
    time.set(xscale="log", yscale="log", xlim=(7e-5, 4.5e-2), ylim=(2e1, 1e7), xlabel="step size α")
    time.set_title("relaxation time, in steps")
    time.legend(loc="upper right")
    update_mixing(artists, alpha, distance, fractional_bits)
    return figure, artists


def update_mixing(artists, alpha, distance, fractional_bits):
    target = Mixture((-distance, distance))
    temperature = theory.naive_temperature(alpha, 2.0**-fractional_bits)
    artists["target"].set_data(_THETA, target.density(_THETA))
    artists["naive"].set_data(*_steps(stationary(target, alpha, fmt(fractional_bits, 4), "naive")))
    artists["hot"].set_data(_THETA, hot_density(target, temperature))
    artists["axes"].set_title(f"density; temperature T = {temperature:.2f}")
    naive, full = crossing_times(distance, fractional_bits)
    artists["naive time"].set_data(MIXING_ALPHAS, naive)
    artists["full time"].set_data(MIXING_ALPHAS, full)
    here = MIXING_ALPHAS.index(alpha)
    artists["here"].set_data([alpha, alpha], [naive[here], full[here]])
    return {"steps, naive": naive[here], "steps, full": full[here], "full / naive": full[here] / naive[here]}


mixing = View(
    name="mixing",
    title="Two modes: wrong law, quick mixing",
    build=build_mixing,
    update=update_mixing,
    controls=(
        Control("alpha", "step size α", MIXING_ALPHAS, 1e-3),
        Control("distance", "modes at ±", (1.0, 1.25, 1.5, 1.75), 1.5),
        Control("fractional_bits", "fractional bits F", (2, 3, 4), 3),
    ),
    static=({"alpha": 1e-2}, {"alpha": 1e-4}),
    ghosts=("naive", "naive time"),
    continuous=False,  # the first visit of a distance takes a second
    slide=Slide(
        "A mixture with modes at ±1.5, gap 1/8, step size 1e-4. The naive law is the target at temperature "
        "7. Its relaxation time, from the exact spectral gap, is 24 times shorter than that of full "
        "precision.",
        "Left: two sharp modes of the target; the naive law is much wider and fills the valley, on top of "
        "the heated target. Right: relaxation times against step size; the naive curve bends away below the "
        "straight full-precision line.",
        settings={"alpha": 0.0001},
    ),
)


# ---- what full precision buys ----------------------------------------------------------------------------------------

COIN = LogOdds(8, 0)


@cache
def naive_best(fractional_bits: int) -> float:
    """The smallest W2 to the coin's posterior that the naive sampler reaches with any step size."""
    return best_step(lambda alpha: of_sampler(COIN, alpha, fmt(fractional_bits), "naive"))[1]


@Slide(
    "Smallest Wasserstein-2 distance to a coin's posterior that each sampler reaches with any step "
    "size. One more fractional bit halves it on the grid, and quarters it for the full-precision "
    "accumulator.",
    "Distance on a log scale against 1 to 6 fractional bits. Naive and best-on-grid lines fall in "
    "parallel, the full-precision line starts 25 times lower and falls twice as steeply.",
    "What one more bit buys",
)
def floors(bits: tuple[int, ...]) -> Figure:
    """The distances that no step size can beat, against the number of fractional bits."""
    figure, ax = new_figure(title="What one more bit buys")
    best = role("naive", label="naive, at its best step size")
    ax.plot(bits, [naive_best(b) for b in bits], marker="o", **best)
    ax.plot(
        bits, [on_grid_floor(COIN, fmt(b)) for b in bits], marker="s", **role("reference", label="any law on the grid")
    )
    ax.plot(bits, [full_floor(COIN, fmt(b)) for b in bits], marker="D", **role("full"))
    ax.set(yscale="log", ylim=(1e-6, 1), xlabel="fractional bits F", ylabel="smallest distance W2")
    ax.set_xticks(bits)
    ax.legend(loc="lower left")
    return figure
