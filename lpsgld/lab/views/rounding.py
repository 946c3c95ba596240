"""What notebook 02 shows: the error of one rounding, ten thousand of them in an accumulator, and dither.

Lengths are in gaps unless a name says otherwise. A kind of rounding is known by the degree of its spline, as in
`toy/one_step.py`: 0 is nearest, 1 stochastic rounding, 2 triangular dither.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.ticker import PercentFormatter

from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import axis_end, color, new_figure, role
from lpsgld.toy import chains
from lpsgld.toy.exact import Law
from lpsgld.toy.one_step import Landing, dithered, mean_error, spline, squared_error, std_of_squares

NAMES = ("nearest", "stochastic", "triangular dither")
_LOOKS = ("sgd", "naive", "vc")
_FORMAT, GAP = "fixed(8,3)", 2.0**-3
_DENSE = np.linspace(0, 1, 401)


# ---- one rounding ----------------------------------------------------------------------------------------------------

_TRIED = np.linspace(0, 1, 11)
_MOST = 2500  # draws at each of the 11 positions: up to 32,768 numbers torch stays on one thread


@lru_cache(maxsize=16)
def _errors(degree: int, seed: int) -> np.ndarray:
    """Errors [draws, positions] of rounding the positions tried, in gaps."""
    x = torch.tensor(_TRIED * GAP).expand(_MOST, -1).contiguous()
    return ((dithered(x, _FORMAT, degree, torch.Generator().manual_seed(seed)) - x) / GAP).numpy()


def _bars_of_error(ax, look: str) -> LineCollection:
    return ax.add_collection(LineCollection([], colors=color(look), linewidths=2))


def _show_points(points, bars: LineCollection, values: np.ndarray, two_errors: np.ndarray) -> None:
    points.set_data(_TRIED, values)
    ends = np.stack([values - two_errors, values + two_errors], axis=1)
    bars.set_segments(np.stack([np.repeat(_TRIED[:, None], 2, axis=1), ends], axis=2))


def build_one(position, draws, seed):
    figure, (ax, mean, variance) = new_figure(1, 3, title="One rounding", wspace=0.3, left=0.065)
    grid_points = np.arange(2)
    artists = {
        "nearest": ax.bar(grid_points - 0.15, [1, 1], 0.3, color=color("sgd"), hatch="//", label="nearest"),
        "stochastic": ax.bar(grid_points + 0.15, [1, 1], 0.3, color=color("naive"), label="stochastic"),
        "x": ax.axvline(0, ymax=1 / 1.5, **role("target", label="x")),
        "here": [plot.axvline(0, color=color("target"), linewidth=1.2) for plot in (mean, variance)],
    }
    ax.set(title="goes to", xlabel="grid point, in gaps Δ", xlim=(-0.5, 1.5), ylim=(0, 1.5))
    ax.set_xticks([0, 1])
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(loc="upper left")
    for name, plot, curve in (("mean", mean, mean_error), ("square", variance, squared_error)):
        values = curve(0, _DENSE)
        half = len(_DENSE) // 2  # the jump in the middle of the cell is not drawn
        look = role("sgd", label="_")
        plot.plot(_DENSE[:half], values[:half], **look)
        plot.plot(_DENSE[half + 1 :], values[half + 1 :], **look)
        plot.plot(_DENSE, curve(1, _DENSE), **role("naive", label="_"))
        artists[f"{name} points"] = plot.plot([], [], "o", color=color("target"), markersize=7, label="drawn")[0]
        artists[f"{name} bars"] = _bars_of_error(plot, "target")
        plot.set(xlabel="position of x in its cell", xlim=(-0.03, 1.03))
    mean.set(title="mean error / Δ", ylim=(-0.62, 0.62))
    variance.set(title="mean squared error / Δ²", ylim=(-0.02, 0.42))
    mean.legend(loc="upper left", handlelength=1)
    update_one(artists, position, draws, seed)
    return figure, artists


def update_one(artists, position, draws, seed):
    for degree, name in enumerate(("nearest", "stochastic")):
        for bar, point in zip(artists[name], (0, 1), strict=True):
            bar.set_height(float(spline(degree, np.array(position - point))))
    for line in (artists["x"], *artists["here"]):
        line.set_xdata([position] * 2)
    errors = _errors(1, seed)[:draws]
    f = _TRIED
    two = 2 / math.sqrt(draws)
    _show_points(artists["mean points"], artists["mean bars"], errors.mean(axis=0), two * np.sqrt(f * (1 - f)))
    squares = (errors**2).mean(axis=0)
    _show_points(artists["square points"], artists["square bars"], squares, two * std_of_squares(1, f))
    at = np.array([position])
    return {
        "error of nearest / Δ": float(mean_error(0, at)[0]),
        "mean error of stochastic / Δ": 0.0,
        "its mean square / Δ²": float(squared_error(1, at)[0]),
    }


_POSITIONS = tuple(float(f) for f in np.arange(0, 20) / 20 if f != 0.5)  # at 1/2, nearest must choose

one = View(
    "one",
    "One rounding: nearest and stochastic",
    build_one,
    update_one,
    (
        Control("position", "position of x in its cell", _POSITIONS, 0.4),
        Control("draws", "draws behind each point", (10, 30, 100, 300, 1000, _MOST), 100),
    ),
    static=({}, {"position": 0.9, "draws": _MOST}),
    ghosts=("mean points", "square points"),
    slide=Slide(
        "Left: where x goes. Middle, right: mean and mean square of the error against the position of x "
        "between two grid points; closed forms, and 1000 draws with bars of two standard errors.",
        "Nearest goes down with certainty; its mean error is a saw between -1/2 and 1/2. Stochastic "
        "rounding goes up with probability 0.4; its mean error is 0, its mean squared error a parabola up "
        "to 1/4.",
        settings={"draws": 1000},
    ),
)


# ---- ten thousand roundings ------------------------------------------------------------------------------------------

STEPS, CHAINS, _STOPS = 10_000, 400, 100
SAME, NOISE = "the same number", "Gaussian noise"
_CODES = np.arange(-12, 13)


def step_law(increment: float, kind: str, degree: int) -> Law:
    """The law of a step, in gaps, of an accumulator that stands on a grid point and rounds after each addition.

    increment: in gaps; what is added (SAME), or the standard deviation of what is added (NOISE).
    """
    if kind == SAME:
        probabilities = spline(degree, increment - _CODES)
    else:
        probabilities = Landing.of(degree, increment).probabilities(0.0, _CODES)
        probabilities[probabilities < 1e-15] = 0  # rounding errors, which would decide how many random numbers are used
    return Law(_CODES, probabilities / probabilities.sum())


def walks(increment: float, kind: str, degree: int, seed: int) -> np.ndarray:
    """Sums [chains, stops + 1] in gaps, from 0, after every 100th of 10,000 roundings."""
    return chains.sums(step_law(increment, kind, degree), STEPS, STEPS // _STOPS, CHAINS, seed)


def build_sums(increment, kind, fractional_bits, seed):
    figure, (ax, end) = new_figure(
        1, 2, title="10,000 additions, each of them rounded", width_ratios=(2.3, 1), wspace=0.15, left=0.09, sharey=True
    )
    steps = np.linspace(0, STEPS, _STOPS + 1)
    faint = dict(color=color("naive"), linewidth=0.8, alpha=0.4)
    artists = {
        "steps": steps,
        "axes": ax,
        "paths": [ax.plot(steps, np.zeros_like(steps), **faint)[0] for _ in range(12)],
        "band": [
            ax.plot([], [], **role("naive", label=label))[0] for label in ("stochastic rounding, mean ± 2 std", "_")
        ],
        "exact": [ax.plot([], [], **role("target", label=label))[0] for label in ("no rounding, mean ± 2 std", "_")],
        "nearest": ax.plot([], [], **role("sgd", label="rounding to nearest"))[0],
        "ends": end.stairs([0], [0, 1], orientation="horizontal", fill=True, color=color("naive"), alpha=0.6),
    }
    ax.set(xlabel="additions", ylabel="sum", xlim=(0, STEPS))
    end.set(xlabel="share of the chains", title="after the last", xlim=(0, 0.2))
    end.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(loc="upper left")
    update_sums(artists, increment, kind, fractional_bits, seed)
    return figure, artists


def update_sums(artists, increment, kind, fractional_bits, seed):
    gap, steps = 2.0**-fractional_bits, artists["steps"]
    drawn = gap * walks(increment / gap, kind, 1, seed)
    law = step_law(increment / gap, kind, 1)
    spread = 2 * gap * np.sqrt(steps) * law.std
    drift, noise = (increment, 0.0) if kind == SAME else (0.0, increment)
    for path, values in zip(artists["paths"], drawn, strict=False):
        path.set_ydata(values)
    for sign, band, exact in zip((1, -1), artists["band"], artists["exact"], strict=True):
        band.set_data(steps, gap * law.mean * steps + sign * spread)
        exact.set_data(steps, drift * steps + sign * 2 * noise * np.sqrt(steps))
    nearest = gap * walks(increment / gap, kind, 0, seed)[0]
    artists["nearest"].set_data(steps, nearest)
    middle = drift * STEPS
    top = axis_end(max(middle + spread[-1], nearest[-1]))
    artists["axes"].set_ylim(-top / 16 if kind == SAME else -top, top if kind == SAME else 1.5 * top)
    artists["axes"].set_title(f"adding {increment:g}{' · ξ' if kind == NOISE else ''}, gap {gap:g}")
    counts, edges = np.histogram(drawn[:, -1], bins=middle + np.linspace(-2, 2, 31) * spread[-1])
    artists["ends"].set_data(counts / len(drawn), edges)
    return {
        "without rounding": middle,
        "nearest": float(nearest[-1]),
        "stochastic, mean": float(drawn[:, -1].mean()),
        "std": float(drawn[:, -1].std()),
        "std, exact": spread[-1] / 2,
    }


sums = View(
    "sums",
    "10,000 additions, each of them rounded",
    build_sums,
    update_sums,
    (
        Control("increment", "added each time", (0.001, 0.003, 0.01, 0.02, 0.05, 0.07, 0.1), 0.01),
        Control("kind", "what is added", (SAME, NOISE), SAME),
        Control("fractional_bits", "fractional bits F", (2, 3, 4, 5, 6), 3),
    ),
    static=({}, {"increment": 0.07}, {"kind": NOISE}),
    ghosts=("band", "nearest"),
    slide=Slide(
        "0.01 is added 10,000 times in a format with gap 1/8. Rounded to nearest, the sum never leaves 0; "
        "rounded stochastically, it has the right mean and spreads. Right: the sums of 400 chains.",
        "Left: a horizontal line at 0 for nearest; for stochastic rounding a fan of paths around the "
        "straight line to 100, within two standard deviations of 3.4. Right: a histogram of the final sums "
        "around 100.",
    ),
)


# ---- splines and dither ----------------------------------------------------------------------------------------------

_KNOTS = np.arange(-1, 3)
_X = np.linspace(-0.5, 1.5, 801)


def build_dither(rounding, position, seed):
    figure, (ax, error) = new_figure(
        1, 2, title="Rounding is a spline", width_ratios=(1.5, 1), wspace=0.22, left=0.075, right=0.98
    )
    looks = ("reference", "vc", "naive", "full")
    shades = [color(name) for name in looks]
    artists = {
        "splines": [ax.plot([], [], **role(look, label="_", linewidth=2.8))[0] for look in looks],
        "weights": [ax.plot([], [], "o", color=shade, markersize=11)[0] for shade in shades],
        "labels": [
            ax.text(x, 1.06, "", color=shade, ha="center")
            for x, shade in zip((-0.32, 0.08, 0.92, 1.32), shades, strict=True)
        ],
        "x": ax.axvline(0, ymax=0.86, **role("target", label="x", linewidth=1.5)),
        "curves": [error.plot([], [], **role(look, label=name))[0] for look, name in zip(_LOOKS, NAMES, strict=True)],
        "points": error.plot([], [], "o", color=color("target"), markersize=7)[0],
        "bars": _bars_of_error(error, "target"),
        "here": error.axvline(0, ymax=0.68, color=color("target"), linewidth=1.2),
        "axes": ax,
    }
    for degree, curve in enumerate(artists["curves"]):
        curve.set_data(_DENSE, squared_error(degree, _DENSE))
    ax.set(xlabel="x, in gaps Δ", xlim=(_X[0], _X[-1]), ylim=(0, 1.18))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_yticks(np.linspace(0, 1, 6))
    error.set(title="mean squared error / Δ²", xlabel="position of x in its cell", xlim=(-0.03, 1.03), ylim=(0, 0.45))
    error.legend(loc="upper left")
    reveal(2, [artists["x"], *artists["weights"], *artists["labels"]])
    reveal(3, error)
    update_dither(artists, rounding, position, seed)
    return figure, artists


def update_dither(artists, rounding, position, seed):
    degree = NAMES.index(rounding)
    for knot, curve, dot, label in zip(_KNOTS, artists["splines"], artists["weights"], artists["labels"], strict=True):
        curve.set_data(_X, spline(degree, _X - knot))
        weight = float(spline(degree, np.array(position - knot)))
        dot.set_data([position], [weight])
        dot.set_visible(weight > 0)
        label.set_text(f"to {knot}: {weight:.0%}".replace("-", "−"))
    artists["axes"].set_title(f"probability of each grid point: {rounding}")
    for line in (artists["x"], artists["here"]):
        line.set_xdata([position] * 2)
    squares = (_errors(degree, seed)[:400] ** 2).mean(axis=0)
    _show_points(artists["points"], artists["bars"], squares, 2 * std_of_squares(degree, _TRIED) / 20)
    at = np.array([position])
    return {
        "mean error / Δ": float(mean_error(degree, at)[0]),
        "mean squared error / Δ²": float(squared_error(degree, at)[0]),
    }


dither = View(
    "dither",
    "Rounding is a spline",
    build_dither,
    update_dither,
    (
        Control("rounding", "rounding", NAMES, "stochastic"),
        Control("position", "position of x in its cell", _POSITIONS, 0.3),
    ),
    static=tuple({"rounding": name} for name in NAMES),
    ghosts=("splines",),
    slide=Slide(
        "Left: the probability of each grid point under triangular dither is a quadratic B-spline. Right: "
        "the mean squared error of the three roundings against the position of x, and 400 draws at each "
        "point.",
        "Left: four overlapping bell-shaped curves, one for each grid point, that add up to 1. Right: the "
        "error of nearest is two arcs that meet in a peak of 1/4, that of stochastic rounding a parabola, "
        "that of triangular dither a straight line at 1/4.",
        settings={"rounding": "triangular dither"},
    ),
)


# ---- a wave smaller than a gap ---------------------------------------------------------------------------------------

_TIME = np.linspace(0, 2, 200)


def build_wave(rounding, copies, amplitude, seed):
    figure, ax = new_figure(title="A wave on a coarse grid")
    artists = {
        "wave": ax.plot([], [], **role("target", label="the wave", zorder=3))[0],
        "heard": ax.plot([], [], drawstyle="steps-mid", linewidth=1.6)[0],
        "band": ax.fill_between(_TIME, 0, 0, color=color("reference"), alpha=0.35, linewidth=0, label="mean ± 2 std"),
        "axes": ax,
    }
    ax.set(xlabel="time", ylabel="value, in gaps Δ", xlim=(0, 2), ylim=(-1, 1))
    ax.legend(loc="upper right", ncols=3)
    update_wave(artists, rounding, copies, amplitude, seed)
    return figure, artists


def update_wave(artists, rounding, copies, amplitude, seed):
    degree = NAMES.index(rounding)
    wave = amplitude * np.sin(2 * np.pi * _TIME)
    x = torch.tensor(GAP * wave).expand(copies, -1)
    heard = dithered(x, _FORMAT, degree, torch.Generator().manual_seed(seed)).mean(dim=0).numpy() / GAP
    position = wave - np.floor(wave)
    mean = wave + mean_error(degree, position)
    std = np.sqrt(np.maximum(squared_error(degree, position) - mean_error(degree, position) ** 2, 0) / copies)
    artists["wave"].set_data(_TIME, wave)
    artists["heard"].set_data(_TIME, heard)
    artists["heard"].set_color(color(_LOOKS[degree]))
    artists["band"].set_data(_TIME, mean - 2 * std, mean + 2 * std)
    copy = "one copy" if copies == 1 else f"the average of {copies} copies"
    artists["axes"].set_title(f"in colour: {copy}, {rounding}")
    reach = axis_end(1.2 * (amplitude + copies**-0.5))
    artists["axes"].set_ylim(-reach, 1.25 * reach)
    return {"rms distance to the wave / Δ": float(np.sqrt(np.mean((heard - wave) ** 2)))}


wave = View(
    "wave",
    "A wave on a coarse grid",
    build_wave,
    update_wave,
    (
        Control("rounding", "rounding", NAMES, "stochastic"),
        Control("copies", "copies averaged", (1, 4, 16, 64, 160), 16),
        Control("amplitude", "amplitude, in gaps", (0.2, 0.4, 0.8, 1.5), 0.4),
    ),
    static=tuple({"rounding": name} for name in NAMES),
    ghosts=("heard",),
    slide=Slide(
        "A sine of amplitude 0.4 gaps, rounded stochastically 64 times; the average of the copies, and two "
        "standard deviations around the wave. Rounded to nearest, all copies would be 0.",
        "A sine wave and a ragged curve that follows it. A band around them is wide at the peaks and "
        "shrinks to nothing where the wave crosses 0.",
        title="A wave smaller than half a gap",
        settings={"copies": 64},
    ),
)
