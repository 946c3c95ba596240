"""A made-up view for the tests: a Gaussian on a grid, wider than its target by a closed form."""

import math

import numpy as np

from lpsgld import lab

THETA = np.linspace(-5, 5, 401)


def _density(std: float, theta: np.ndarray = THETA) -> np.ndarray:
    return np.exp(-(theta**2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))


def build(alpha: float, bits: int, corrected: bool, seed: int):
    figure, ax = lab.new_figure(title="A law on a grid")
    artists = {
        "naive": ax.stairs(np.zeros(8), np.arange(9.0), baseline=None, **lab.role("naive")),
        "vc": ax.plot([], [], **lab.role("vc"))[0],
        "sample": ax.scatter([], [], color="0.5", s=30),
    }
    ax.plot(THETA, _density(1.0), **lab.role("target"))
    ax.set(xlim=(-5, 5), ylim=(0, 0.55), xlabel=r"parameter $\theta$", ylabel="density")
    ax.legend(loc="upper right")
    update(artists, alpha, bits, corrected, seed)
    return figure, artists


def update(artists, alpha: float, bits: int, corrected: bool, seed: int):
    gap = 2.0**-bits
    std = math.sqrt(1 + gap / math.sqrt(math.pi * alpha))
    count = round(5 / gap)
    edges = (np.arange(-count, count + 2) - 0.5) * gap
    artists["naive"].set_data(_density(std, edges[:-1] + gap / 2), edges)
    artists["vc"].set_data(THETA, _density(1.0 + gap / 16))
    artists["vc"].set_visible(corrected)
    draws = np.random.default_rng(seed).normal(0, std, 20)
    artists["sample"].set_offsets(np.column_stack([np.clip(draws, -5, 5), np.full(20, 0.01)]))
    return {"std": std, "mean of 20 draws": draws.mean()}


def view(**changes) -> lab.View:
    fields = {
        "name": "demo",
        "title": "A made-up law",
        "build": build,
        "update": update,
        "controls": (
            lab.Control("alpha", "step size α", (1e-4, 1e-3, 1e-2), 1e-3),
            lab.Control("bits", "fractional bits F", (1, 2, 3, 4), 3),
            lab.Control("corrected", "show corrected", (True, False), True),
        ),
        "static": ({"alpha": 1e-2}, {"alpha": 1e-4}),
        "ghosts": ("naive", "vc"),
    }
    return lab.View(**(fields | changes))
