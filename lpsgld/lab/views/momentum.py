"""What notebook 12 shows: a rolling ball, its exact law on 8 bits, rolling beside walking, Metropolis' correction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from lpsgld import diagnostics
from lpsgld.bnn.studies.rolling import Mixed
from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.lab.views.variance_correction import bin_edges, distance_floor
from lpsgld.toy import chains, cheng, exact, metropolis, momentum
from lpsgld.toy.distances import wasserstein2
from lpsgld.toy.exact import Law
from lpsgld.toy.mixing import correlation_time, relaxation_time
from lpsgld.toy.targets import Banana, Gaussian, Mixture

TARGET = Gaussian()
TARGETS = {"N(0, 1)": TARGET, "two modes": Mixture()}
STEPS = (0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)  # η, of the ball
ALPHAS = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2)  # α, of the walk
_THETA = np.linspace(-6, 6, 241)

# ---- how a ball rolls ------------------------------------------------------------------------------------------------

_ROLLED = 400  # steps
_LAGS = np.arange(61)


def correlations(step: float, friction: float) -> np.ndarray:
    """The correlation of x with where it was 0, 1, ..., 60 steps ago, on N(0, 1) in full precision, exact."""
    law, turn = momentum.covariance(step, friction), momentum.recursion(step, friction)
    moved = [law]
    for _ in _LAGS[1:]:
        moved.append(turn @ moved[-1])
    return np.array([c[0, 0] for c in moved]) / law[0, 0]


def forgets(step: float, friction: float = 2.0) -> float:
    """The relaxation time of the ball on N(0, 1) in full precision, in steps."""
    return 1 / (1 - np.abs(np.linalg.eigvals(momentum.recursion(step, friction))).max())


def build_ball(step, friction, seed):
    figure, (plane, lags) = new_figure(1, 2, title="A ball that rolls and is kicked", wspace=0.22, left=0.08)
    angle = np.linspace(0, 2 * np.pi, 181)
    for radius in (1, 2):
        plane.plot(radius * np.cos(angle), radius * np.sin(angle), **role("target", label="_", linewidth=1.2))
    artists = {
        "path": plane.plot([], [], color=color("vc"), linewidth=1.2, marker="o", markersize=3)[0],
        "ball": lags.plot(_LAGS, np.ones(len(_LAGS)), **role("vc", label="ball"))[0],
        "walk": lags.plot(_LAGS, np.ones(len(_LAGS)), **role("sgld", label="walk with steps as long"))[0],
    }
    lags.axhline(0, **role("target", label="_", linewidth=1.2))
    plane.set(xlabel="position x", title="velocity w / η against position", xlim=(-4, 4), ylim=(-4, 4))
    lags.set(xlabel="steps k", title="correlation of x with itself, k steps ago", xlim=(0, 60), ylim=(-0.8, 1.05))
    lags.legend(loc="lower left")
    update_ball(artists, step, friction, seed)
    return figure, artists


def update_ball(artists, step, friction, seed):
    generator = torch.Generator().manual_seed(seed)
    rolled = momentum.run(torch.zeros(1), _ROLLED, TARGET, step, None, "full", friction, generator=generator)[:, 0]
    artists["path"].set_data(rolled[1:].numpy(), (rolled.diff() / step).numpy())
    rolling = correlations(step, friction)
    artists["ball"].set_ydata(rolling)
    artists["walk"].set_ydata((1 - step**2 / 2) ** _LAGS)
    return {
        "relaxation time, ball": forgets(step, friction),
        "relaxation time, walk": 2 / step**2,
        "spread of the ball": math.sqrt(momentum.covariance(step, friction)[0, 0]),
    }


ball = View(
    "ball",
    "A ball that rolls and is kicked",
    build_ball,
    update_ball,
    (
        Control("step", "step η", (0.05, 0.1, 0.2), 0.1),
        Control("friction", "friction γ", (0.1, 0.3, 1.0, 2.0, 5.0), 0.3),
    ),
    static=({}, {"friction": 2.0}, {"friction": 5.0}),
    ghosts=("ball",),
    slide=Slide(
        "A ball in the energy landscape of N(0, 1), step 0.1, friction 2, in full precision. Left: 400 steps, position "
        "and velocity. Right: how long it remembers where it was, beside a random walk with steps as long.",
        "Left: a path that winds around the origin, mostly within the circle of radius 2. Right: the correlation of "
        "the ball falls below 0.05 within 50 steps, the walk's is still at 0.75.",
        settings={"friction": 2.0},
    ),
)

# ---- the exact law on 8 bits -----------------------------------------------------------------------------------------


class Judged(NamedTuple):
    """The steps that a chain takes to forget its start, and the W2 of its stationary law to the target."""

    relaxation: float
    distance: float


def _format(fractional_bits: int) -> str:
    return f"fixed(8,{fractional_bits})"


@cache
def ball_law(
    step: float, fractional_bits: int, accumulator: str, target: str = "N(0, 1)", friction: float = 2.0
) -> Law:
    """The law of the ball's position in fixed(8,F), exact gradients, inverse mass 1."""
    return momentum.stationary(TARGETS[target], step, _format(fractional_bits), accumulator, friction)


@cache
def rolled(step: float, fractional_bits: int, accumulator: str, target: str = "N(0, 1)") -> Judged:
    """The ball in fixed(8,F), friction 2."""
    made = momentum.chain(TARGETS[target], step, _format(fractional_bits), accumulator)
    return Judged(
        1 / momentum.spectral_gap(made), wasserstein2(Law(made.points, made.law.sum(axis=1)), TARGETS[target])
    )


@cache
def walked(alpha: float, fractional_bits: int, accumulator: str, target: str = "N(0, 1)") -> Judged:
    """SGLD in fixed(8,F), exact gradients."""
    where = TARGETS[target], alpha, _format(fractional_bits), accumulator
    return Judged(relaxation_time(exact.transition(*where)[1]), wasserstein2(exact.stationary(*where), TARGETS[target]))


def build_law(target, step, friction, fractional_bits):
    figure, (ax, spread) = new_figure(1, 2, title="The exact law of a ball in 8 bits", wspace=0.2, left=0.07)
    artists = {
        "target": ax.plot([], [], **role("target", zorder=3))[0],
        "axes": ax,
        "condition": spread.axvline(0.0625, ymax=0.8, **role("bound", label="Δ = 2η√u")),
    }
    for frame, name in enumerate(("naive", "vc"), start=2):
        artists[name] = reveal(frame, ax.stairs([0], [0, 1], baseline=None, **role(name)))
        artists[f"{name} spread"] = reveal(frame, spread.plot([], [], **role(name, label="_"), marker="o"))[0]
        artists[f"{name} here"] = reveal(frame, spread.plot([], [], "o", color=color(name), markersize=13))[0]
    spread.axhline(1, **role("target", label="_"))
    ax.set(xlabel="position x", xlim=(-6, 6))
    spread.set(xscale="log", xlim=(0.036, 0.34), ylim=(0.9, 20), xlabel="step η", title="spread / that of the target")
    spread.set(yscale="log")
    spread.set_xticks([0.05, 0.1, 0.2, 0.3], ["0.05", "0.1", "0.2", "0.3"])
    spread.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    spread.minorticks_off()
    ax.legend(loc="upper left", handlelength=2.2)
    spread.legend(loc="upper right")
    update_law(artists, target, step, friction, fractional_bits)
    return figure, artists


def update_law(artists, target, step, friction, fractional_bits):
    wanted = TARGETS[target]
    artists["target"].set_data(_THETA, wanted.density(_THETA))
    tallest = float(wanted.density(_THETA).max())
    for name in ("naive", "vc"):
        points, probabilities = ball_law(step, fractional_bits, name, target, friction)
        density = probabilities / (points[1] - points[0])
        tallest = max(tallest, float(density.max()))
        artists[name].set_data(density, bin_edges(points))
        widths = [ball_law(s, fractional_bits, name, target, friction).std / wanted.std for s in STEPS]
        artists[f"{name} spread"].set_data(STEPS, widths)
        artists[f"{name} here"].set_data([step], [widths[STEPS.index(step)]])
    artists["condition"].set_xdata([2.0**-fractional_bits / 2] * 2)
    artists["axes"].set_ylim(0, 1.3 * tallest)
    artists["axes"].set_title(f"density, {_format(fractional_bits)}, η = {step:g}, γ = {friction:g}")
    naive, corrected = (ball_law(step, fractional_bits, name, target, friction) for name in ("naive", "vc"))
    return {
        "std naive": naive.std,
        "std VC": corrected.std,
        "2η√u / Δ": 2 * step * 2.0**fractional_bits,
    }


law = View(
    "law",
    "The exact law of a ball in 8 bits",
    build_law,
    update_law,
    (
        Control("target", "target", tuple(TARGETS), "N(0, 1)"),
        Control("step", "step η", STEPS, 0.2),
        Control("friction", "friction γ", (1.0, 2.0), 2.0),
        Control("fractional_bits", "fractional bits F", (1, 2, 3), 3),
    ),
    static=({}, {"step": 0.1}, {"step": 0.05}),
    ghosts=("naive", "vc", "naive spread", "vc spread"),
    continuous=False,
    slide=Slide(
        "Exact laws of SGHMC with one rounding a step on N(0, 1) in fixed(8,3), friction 2, inverse mass 1, at step "
        "0.07, and their spread against the step. Upright: a rule of thumb for where correction begins to fail.",
        "Left: the naive law is 1.7 times as wide as the target, the corrected one hardly wider. Right: as steps "
        "shrink the naive spread grows from 1.03 to 2.6; the corrected one stays at 1 down to step 0.1 and then grows "
        "as well, to 1.3.",
        settings={"step": 0.07},
    ),
)

# ---- the released code -----------------------------------------------------------------------------------------------

VARIANTS = {
    "vc": ("as derived", True, -1),
    "full": ("covariance dropped", False, -1),
    "naive": ("gradient term with a plus", True, 1),
    "sgd": ("both, as released", False, 1),
}


@Slide(
    "Stationary standard deviation on N(0, 1) of the discretisation that the paper on momentum takes, in full "
    "precision, friction 2: as derived, without the covariance of its two noises, and with the released code's sign.",
    "Four curves against the step from 0.01 to 0.5. As derived the spread rises to 1.07; without the covariance it "
    "falls to 0.87; with the plus it rises to 2.2, with both mistakes to 1.7. All meet at 1 for small steps.",
    "What a sign costs",
)
def released() -> Figure:
    """The spread of Cheng's discretisation and of what the released code makes of it, against the step."""
    figure, ax = new_figure(title="What a sign costs")
    steps = np.logspace(-2, math.log10(0.5), 41)
    for frame, (look, (label, correlated, sign)) in zip((2, 3, 4, 4), VARIANTS.items(), strict=True):
        stds = [math.sqrt(cheng.covariance(step, correlated=correlated, sign=sign)[0, 0]) for step in steps]
        reveal(frame, ax.plot(steps, stds, **role(look, label=label)))
    ax.axhline(1, **role("target", label="target N(0, 1)", zorder=1.5))
    ax.set(xscale="log", xlabel="step η", ylabel="standard deviation in full precision", ylim=(0.8, 2.3))
    ax.set_xticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"])
    ax.minorticks_off()
    ax.legend(loc="upper left")
    return figure


def two_roundings(step: float, balls: int, seed: int) -> float:
    """The spread of so many balls on N(0, 1) after 12/η steps of Cheng's discretisation in fixed(8,3), x and v both
    drawn with Q^vc, with the covariance and the right sign."""
    generator = torch.Generator().manual_seed(seed)
    x, v = (torch.randn(balls, generator=generator) for _ in range(2))
    state = cheng.Ball(x, v)
    for _ in range(math.ceil(12 / step)):
        state = cheng.step(state, state.position, step, "fixed(8,3)", "vc", generator=generator)
    return state.position.double().std().item()


# ---- rolling beside walking ------------------------------------------------------------------------------------------

_CURVES = {
    ("walk", "naive"): dict(marker="s", markerfacecolor="none"),
    ("walk", "vc"): dict(marker="s", markerfacecolor="none"),
    ("ball", "naive"): dict(marker="o"),
    ("ball", "vc"): dict(marker="o"),
}
_WORDS = {"naive": "naive", "vc": "corrected"}


def frontier(sampler: str, accumulator: str, target: str, fractional_bits: int) -> list[Judged]:
    """All steps of one sampler, "walk" (SGLD) or "ball" (SGHMC, friction 2)."""
    if sampler == "walk":
        return [walked(alpha, fractional_bits, accumulator, target) for alpha in ALPHAS]
    return [rolled(step, fractional_bits, accumulator, target) for step in STEPS]


def build_race(target, fractional_bits):
    figure, ax = new_figure(title="Rolling beside walking", left=0.1)
    artists = {"floor": ax.axhline(1, color=color("reference"), linewidth=1.5, label="best on this grid")}
    for sampler, accumulator in _CURVES:
        look = role(accumulator, label=f"{sampler}, {_WORDS[accumulator]}") | _CURVES[sampler, accumulator]
        drawn = ax.plot([], [], **(look | {"markersize": 9, "linewidth": 2.8 if sampler == "ball" else 1.3}))
        artists[f"{sampler} {accumulator}"] = reveal(2 + (sampler == "ball"), drawn)[0]
    ax.set(xscale="log", yscale="log", xlim=(3, 5e5), ylim=(0.025, 20))
    ax.set(xlabel="relaxation time: steps, each with one gradient", ylabel="distance W2 to the target")
    ax.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10"])
    ax.minorticks_off()
    ax.legend(loc="upper right")
    update_race(artists, target, fractional_bits)
    return figure, artists


def update_race(artists, target, fractional_bits):
    readout = {}
    for sampler, accumulator in _CURVES:
        told = frontier(sampler, accumulator, target, fractional_bits)
        artists[f"{sampler} {accumulator}"].set_data([j.relaxation for j in told], [j.distance for j in told])
        readout[f"least W2, {sampler}, {_WORDS[accumulator]}"] = min(j.distance for j in told)
    artists["floor"].set_ydata([distance_floor(8, fractional_bits, target)] * 2)
    return readout


race = View(
    "race",
    "Rolling beside walking",
    build_race,
    update_race,
    (
        Control("target", "target", tuple(TARGETS), "N(0, 1)"),
        Control("fractional_bits", "fractional bits F", (1, 2, 3), 3),
    ),
    static=({}, {"target": "two modes"}),
    ghosts=("walk naive", "walk vc", "ball naive", "ball vc"),
    continuous=False,
    slide=Slide(
        "Wasserstein-2 distance to N(0, 1) against relaxation time, exact, in fixed(8,3): SGLD (squares, steps from "
        "0.001 to 0.2) and SGHMC (dots, friction 2, steps from 0.04 to 0.3), naive and corrected.",
        "Four curves. The corrected ball is at the grey line of the best law with relaxation times of 8 to 14 steps, "
        "and leaves it to the right; the corrected walk reaches the line at 50 steps and stays on it. Both naive "
        "curves turn up to the right, the ball's earlier and more steeply.",
    ),
)

# ---- the banana ------------------------------------------------------------------------------------------------------

BANANA = Banana()
BANANA_STEPS = {"walk": (5e-3, 1e-2, 2e-2), "ball": (0.07, 0.1, 0.12)}


class Explored(NamedTuple):
    """What chains tell of the banana. worth: steps that are worth one independent draw of x². error: of the spread of
    y, relative, and its standard error, from how far the chains differ."""

    worth: float
    error: float
    uncertainty: float


def on_the_banana(sampler: str, accumulator: str, size: float, count: int, steps: int, seed: int) -> Explored:
    """So many chains in fixed(8,4), a quarter of the steps dropped; the ball's friction is 1."""
    generator = torch.Generator().manual_seed(seed)
    start, settings = torch.zeros(count, 2), {"generator": generator}
    if sampler == "walk":
        states = chains.run(start, steps, BANANA, size, "fixed(8,4)", accumulator, **settings)
    else:
        states = momentum.run(start, steps, BANANA, size, "fixed(8,4)", accumulator, 1.0, **settings)
    x, y = states[steps // 4 :].double().numpy().transpose(2, 1, 0)
    variances = ((y - y.mean()) ** 2).mean(axis=1) / BANANA.covariance[1, 1]  # of each chain
    spread = math.sqrt(variances.mean())
    uncertainty = variances.std(ddof=1) / math.sqrt(count) / (2 * spread)
    return Explored(x.size / float(diagnostics.effective_sample_size(x**2)), spread - 1, float(uncertainty))


@Slide(
    "The banana, a bent Gaussian, in fixed(8,4): error of the spread of y, with two standard errors either way, "
    "against the steps that are worth one independent draw of x². {chains} chains of {steps} steps each. Squares: SGLD "
    "at steps 0.005, 0.01 and 0.02. Dots: SGHMC, friction 1, steps 0.07, 0.1, 0.12.",
    "Dots lie at 60 to 110 steps, squares at 150 to 1,400. The corrected ball is within 6 percent of the right spread. "
    "Walks are 20 percent too narrow with their longest step, which takes 150 to 210 steps a draw, and 4 to 8 percent "
    "with shorter ones, at 800 and more. The naive ball is too wide by 9, 21 and 57 percent, the more the shorter its "
    "step.",
    "On the banana",
)
def banana(found: Mapping[tuple[str, str, float], Explored]) -> Figure:
    """What `on_the_banana` returned, by (sampler, accumulator, step)."""
    figure, ax = new_figure(title="On the banana", left=0.1)
    ax.axhline(0, **role("target", label="_", linewidth=1.2))
    for sampler, accumulator in _CURVES:
        told = [value for (s, a, _), value in found.items() if (s, a) == (sampler, accumulator)]
        worth, error, uncertainty = np.array(told).T
        look = role(accumulator, label=f"{sampler}, {_WORDS[accumulator]}") | _CURVES[sampler, accumulator]
        look |= {"markersize": 12, "linewidth": 2.8 if sampler == "ball" else 1.3}
        drawn = ax.plot(worth, 100 * error, **look)
        bars = ax.errorbar(worth, 100 * error, 200 * uncertainty, fmt="none", ecolor=color(accumulator), capsize=6)
        reveal(2 + (sampler == "ball"), [*drawn, *bars.get_children()])
    ax.set(xscale="log", xlabel="steps that are worth one independent draw of x²")
    ax.set(ylabel="error of the spread of y, percent", ylim=(-30, 70))
    ticks = [50, 100, 200, 500, 1000, 2000]
    ax.set_xticks(ticks, [f"{t:,}" for t in ticks])
    ax.minorticks_off()
    ax.legend(loc="upper right")
    return figure


# ---- a network on digits ---------------------------------------------------------------------------------------------

NETWORKS = {  # name: (lr, momentum or None, role)
    "walk, lr 0.5": (0.5, None, "sgld"),
    "ball, lr 0.05: as fast": (0.05, 0.9, "full"),
    "ball, lr 0.2": (0.2, 0.9, "vc"),
    "walk, lr 2: as fast": (2.0, None, "naive"),
}


@Slide(
    "Four chains of an MLP on digits, variance-corrected in fixed(9,6), temperature 1: R-hat and effective sample size "
    "of the log probability that each test image's label gets. All from as many gradients, {steps} a chain after as "
    "many of burn-in; 1,024 networks each.",
    "Curves of the share of test images below each value, four samplers. SGLD and SGHMC of the same speed lie close "
    "together; SGHMC with four times the step size has the least R-hat and the largest sample size.",
    "Do the chains of a network agree?",
)
def agreement(found: Mapping[str, Mixed]) -> Figure:
    """R-hat and effective sample size over the test images, by the names of NETWORKS."""
    figure, (rhat, ess) = new_figure(1, 2, title="Do the chains of a network agree?", wspace=0.15, left=0.09)
    for frame, (name, mixed) in zip((2, 2, 3, 4), found.items(), strict=True):
        share, look = np.linspace(0, 1, len(mixed.rhat)), role(NETWORKS[name][2], label=name)
        reveal(frame, rhat.plot(np.sort(mixed.rhat), share, **look))
        reveal(frame, ess.plot(np.sort(mixed.ess), share, **look))
    rhat.set(xlabel="R-hat", ylabel="share of test images below", xlim=(0.99, 1.6), ylim=(0, 1.02))
    ess.set(xlabel=f"effective sample size, of {mixed.draws} draws", xlim=(0, None), ylim=(0, 1.02))
    rhat.legend(loc="lower right")
    return figure


# ---- Metropolis' correction ------------------------------------------------------------------------------------------

REJECTING = (1e-4, 2e-4, 5e-4, *ALPHAS, 0.4)


@cache
def accepted(alpha: float, accumulator: str, target: str = "N(0, 1)", noise: float = 0.0) -> metropolis.Corrected:
    """SGLD's chain in fixed(8,3), corrected as Metropolis does."""
    points, proposals = exact.transition(TARGETS[target], alpha, "fixed(8,3)", accumulator)
    return metropolis.corrected(points, proposals, TARGETS[target], noise)


@cache
def steps_a_draw(alpha: float, accumulator: str, target: str = "N(0, 1)", correct: bool = True) -> float:
    """How many steps are worth one independent draw of x, with or without correction."""
    if correct:
        made = accepted(alpha, accumulator, target)
        return correlation_time(made.law, made.matrix)
    where = TARGETS[target], alpha, "fixed(8,3)", accumulator
    return correlation_time(exact.stationary(*where), exact.transition(*where)[1])


def build_accept(target, alpha, accumulator):
    figure, (ax, shares) = new_figure(1, 2, title="Accept or stay: Metropolis' correction", wspace=0.25, left=0.07)
    artists = {
        "target": ax.plot([], [], **role("target", zorder=3))[0],
        "before": ax.stairs([0], [0, 1], baseline=None, **role("naive", label="before")),
        "after": ax.stairs([0], [0, 1], fill=True, color=color("full"), alpha=0.35, label="after"),
        "axes": ax,
    }
    for name in ("naive", "vc"):
        artists[f"{name} rejected"] = shares.plot([], [], **role(name, label=_WORDS[name]), marker="o")[0]
    artists["here"] = shares.plot([], [], "o", color=color("target"), markersize=12)[0]
    ax.set(xlabel="position x", xlim=(-6, 6))
    ax.legend(loc="upper left", handlelength=2.2)
    shares.set(xscale="log", yscale="log", xlim=(7e-5, 0.6), ylim=(3e-6, 1), xlabel="step size α")
    shares.set(title="share of proposals that are rejected")
    shares.minorticks_off()
    shares.legend(loc="lower right")
    update_accept(artists, target, alpha, accumulator)
    return figure, artists


def update_accept(artists, target, alpha, accumulator):
    before = exact_law(alpha, accumulator, target)
    after = accepted(alpha, accumulator, target).law
    artists["target"].set_data(_THETA, TARGETS[target].density(_THETA))
    gap = before.points[1] - before.points[0]
    artists["before"].set_data(before.probabilities / gap, bin_edges(before.points))
    artists["after"].set_data(after.probabilities / gap, bin_edges(after.points))
    artists["before"].set(**{k: v for k, v in role(accumulator).items() if k in ("color", "linestyle")})
    artists["axes"].set_ylim(0, 1.3 * float(max(before.probabilities.max(), after.probabilities.max())) / gap)
    artists["axes"].set_title(f"density, {_WORDS[accumulator]} proposals, α = {alpha:g}")
    for name in ("naive", "vc"):
        rejected = [max(1 - accepted(a, name, target).acceptance, 1e-9) for a in REJECTING]
        artists[f"{name} rejected"].set_data(REJECTING, rejected)
        if name == accumulator:
            artists["here"].set_data([alpha], [rejected[REJECTING.index(alpha)]])
    return {
        "rejected (%)": 100 * (1 - accepted(alpha, accumulator, target).acceptance),
        "std before": before.std,
        "std after": after.std,
        "steps a draw, before": steps_a_draw(alpha, accumulator, target, False),
        "steps a draw, after": steps_a_draw(alpha, accumulator, target),
    }


@cache
def exact_law(alpha: float, accumulator: str, target: str = "N(0, 1)") -> Law:
    """SGLD's stationary law in fixed(8,3), exact gradients."""
    return exact.stationary(TARGETS[target], alpha, "fixed(8,3)", accumulator)


accept = View(
    "accept",
    "Accept or stay: Metropolis' correction",
    build_accept,
    update_accept,
    (
        Control("target", "target", tuple(TARGETS), "N(0, 1)"),
        Control("alpha", "step size α", REJECTING, 1e-3),
        Control("accumulator", "proposals", ("naive", "vc"), "naive", format=lambda name: _WORDS[name]),
    ),
    static=({}, {"alpha": 1e-4}, {"accumulator": "vc", "alpha": 0.2}),
    ghosts=("before",),
    slide=Slide(
        "Metropolis' correction of naive SGLD on N(0, 1) in fixed(8,3) at step size 1e-4, exact: its law before and "
        "after, and the share of proposals that is rejected, for naive and for corrected rounding.",
        "Left: before, the law is 2.7 times as wide as the target; after, it lies on it. Right: at most one percent of "
        "the naive proposals is rejected while the step size is below 0.1, far fewer of the corrected ones.",
        settings={"alpha": 1e-4},
    ),
)
