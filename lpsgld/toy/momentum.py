"""A rolling ball in worlds whose answer is known: chains with momentum, and their exact laws.

Friction γ, inverse mass u and step η are those of underdamped Langevin dynamics. On a grid, a step draws the
displacement w' = Q((1 - γη)w - uη²∇U(x), variance 2γη·uη²) and adds it (`samplers/sghmc.py`): (x, w) is a finite Markov
chain with 2^W positions and a few dozen displacements. Its matrix is sparse, since a step is short, and its law is
close to where Arnoldi's iteration starts, at that of fine grids and small steps: that is what makes it fast.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import solve_discrete_lyapunov
from scipy.sparse.linalg import ArpackNoConvergence, eigs, splu
from torch import Tensor

from lpsgld import text
from lpsgld.formats import AnyFormat, Format
from lpsgld.samplers import sghmc
from lpsgld.samplers.accumulators import Accumulator
from lpsgld.toy import chains
from lpsgld.toy.exact import Law
from lpsgld.toy.exact.chain import checked
from lpsgld.toy.exact.laws import nearest, require_room
from lpsgld.toy.exact.outcomes import TAIL, grid_codes
from lpsgld.toy.one_step import Landing, landing
from lpsgld.toy.targets import SpaceTarget, Target

_NEGLIGIBLE = 1e-13  # of the law, at the largest displacement that is kept
_FAR = 1.5  # times as far as the target itself goes: in long steps, the law is wider


class Rolling(NamedTuple):
    """The chain of (x, w). points: [n] positions. displacements: [m], w. matrix: [n·m, n·m], row-stochastic, the states
    in the order of `law`: its law in the long run [n, m]."""

    points: np.ndarray
    displacements: np.ndarray
    matrix: sparse.csr_array
    law: np.ndarray


def stationary(
    target: Target,
    step: float,
    fmt: AnyFormat,
    accumulator: Accumulator,
    friction: float = 2.0,
    inverse_mass: float = 1.0,
) -> Law:
    """The law of x to which SGHMC converges with exact gradients, whatever its start; see `chain`."""
    rolling = chain(target, step, fmt, accumulator, friction, inverse_mass)
    return Law(rolling.points, rolling.law.sum(axis=1))


def chain(
    target: Target,
    step: float,
    fmt: AnyFormat,
    accumulator: Accumulator,
    friction: float = 2.0,
    inverse_mass: float = 1.0,
) -> Rolling:
    """The exact Markov chain of position and displacement, and its stationary law, with exact gradients: noise in
    them, as of mini-batches, is for `run`.

    step: η. fmt: weight format, fixed point. accumulator: "naive" or "vc", on the grid of fmt, exact to 1e-10; "full",
    on a grid that is as fine as the noise, where steps are drawn with their mean and variance (fmt, which may be None,
    is that of the weights that gradients are taken at). Raises FormatError for formats other than fixed point;
    ValueError for a step, friction or mass that makes no sense (the momentum 1 - γη must not be negative, and
    displacements must fit into the format), and for laws that need more than 2 GB.
    """
    _check(step, friction, inverse_mass, fmt)
    fmt, _ = checked(fmt, accumulator, None)
    variance = 2 * friction * step * inverse_mass * step**2
    points, spacing, slopes = _world(target, fmt, accumulator, math.sqrt(variance))
    pushes = [(share, inverse_mass * step**2 / spacing * slope) for share, slope in slopes]
    where = landing("vc" if accumulator == "full" else accumulator, variance / spacing**2)
    std = math.sqrt(inverse_mass) * step / spacing  # of the displacement, on a fine grid
    widest = math.ceil(7 * std) + 3
    while True:
        matrix = _matrix(len(points), widest, 1 - friction * step, pushes, where)
        steps = np.arange(-widest, widest + 1)
        fine = np.outer(target.density(points), np.exp(-((steps / std) ** 2) / 2)).ravel() + 1e-12
        law = _long_run(matrix, fine, likely=nearest(points, target.mode) * len(steps) + widest)
        law = law.reshape(len(points), -1)
        if law[:, [0, -1]].sum() <= _NEGLIGIBLE or widest >= len(points):
            return Rolling(points, steps * spacing, matrix, law)
        widest *= 2


def run(
    start: Tensor,
    steps: int,
    target: Target | SpaceTarget,
    step: float,
    weight: AnyFormat,
    accumulator: Accumulator,
    friction: float = 2.0,
    inverse_mass: float = 1.0,
    *,
    gradient_noise: float = 0.0,
    keep_every: int = 1,
    generator: torch.Generator | None = None,
    **settings,
) -> Tensor:
    """Positions of balls that start at rest, as `chains.run` gives those of SGLD; each step is `sghmc.step`.

    settings: temperature and grad of `sghmc.step`. Raises what `chains.run` and `chain` raise.
    """
    _check(step, friction, inverse_mass, weight)
    settings |= {"momentum": 1 - friction * step, "generator": generator}

    def advance(state: sghmc.State) -> sghmc.State:
        slope = chains.slope(state.theta, target, weight, accumulator, gradient_noise, generator)
        return sghmc.step(*state, slope, inverse_mass * step**2, weight, accumulator, **settings)

    start = chains.started(start, weight, accumulator, generator)
    return chains.states(sghmc.State(start, torch.zeros_like(start)), advance, steps, keep_every)


def recursion(step: float, friction: float = 2.0, inverse_mass: float = 1.0) -> np.ndarray:
    """What takes the mean of (x, w) to that of the next step [2, 2], on N(0, 1) in full precision."""
    pull, momentum = inverse_mass * step**2, 1 - friction * step
    return np.array([[1 - pull, momentum], [-pull, momentum]])


def covariance(step: float, friction: float = 2.0, inverse_mass: float = 1.0) -> np.ndarray:
    """That of (x, w) [2, 2] in the long run on N(0, 1), in full precision: Lyapunov's equation of the `recursion`."""
    noise = np.full((2, 2), 2 * friction * step * inverse_mass * step**2)
    return solve_discrete_lyapunov(recursion(step, friction, inverse_mass), noise)


def spectral_gap(rolling: Rolling) -> float:
    """1 - |λ| of the second largest eigenvalue, which may be complex: a ball swings. What a chain remembers of its
    start fades like (1 - gap)^k after k steps."""
    start = np.random.default_rng(0).random(rolling.law.size)  # a symmetric one would never see what is odd
    try:
        found = eigs(rolling.matrix, 2, v0=start, ncv=80, maxiter=50, tol=1e-8, return_eigenvectors=False)
    except ArpackNoConvergence:  # slow ones crowd at 1: look there
        matrix = rolling.matrix.tocsc()
        found = eigs(matrix, 4, v0=start, ncv=60, sigma=1 + 1e-6, tol=1e-6, return_eigenvectors=False)
    return float(1 - np.sort(np.abs(found))[-2])


def _world(target: Target, fmt: Format | None, accumulator: Accumulator, noise: float):
    """The positions, their spacing, and the slopes that a ball may see there, each with its share."""
    if accumulator != "full":
        gap, codes = grid_codes(fmt)
        return codes * gap, gap, [(np.ones(len(codes)), target.gradient(codes * gap))]
    spacing = noise if fmt is None else fmt.uniform.gap / math.ceil(fmt.uniform.gap / noise)
    low, high = (target.mean + _FAR * (target.quantile(u) - target.mean) for u in (1e-15, 1 - 1e-15))
    points = np.arange(math.floor(low / spacing), math.ceil(high / spacing) + 1) * spacing
    if fmt is None:
        return points, spacing, [(np.ones_like(points), target.gradient(points))]
    gap, codes = grid_codes(fmt)
    t = np.clip(points / gap, codes[0], codes[-1])
    below = np.floor(t)
    above = np.minimum(below + 1, codes[-1])
    return points, spacing, [(1 - (t - below), target.gradient(below * gap)), (t - below, target.gradient(above * gap))]


def _matrix(n: int, widest: int, momentum: float, pushes, where: Landing) -> sparse.csr_array:
    """Row (i, k): position i, displacement k, in units of the spacing; the range ends, and longer steps are cut."""
    steps = np.arange(-widest, widest + 1)
    reach = math.ceil(TAIL * where.std) + 2
    m, length = len(steps), 2 * reach + 2
    require_room(len(pushes) * n, m, length)
    i = np.arange(n)[:, None, None]
    total = sparse.csr_array((n * m, n * m))
    for share, push in pushes:
        mean = momentum * steps - push[:, None]
        moves = np.floor(mean)[..., None] - reach + np.arange(length)
        p = share[:, None, None] * np.maximum(where.probabilities(mean[..., None], moves), 0)
        end = np.clip(i + moves, 0, n - 1).astype(int)
        column = end * m + np.clip(end - i, -widest, widest) + widest
        kept = p > 1e-17
        ends = np.concatenate([[0], np.cumsum(kept.sum(axis=2).ravel())])
        total = total + sparse.csr_array((p[kept], column[kept], ends), shape=(n * m, n * m))
    return total


def _long_run(matrix: sparse.csr_array, start: np.ndarray, likely: int) -> np.ndarray:
    """π with π P = π: by Arnoldi's iteration from `start`, or, where a chain is too slow for it, by elimination."""
    transposed = matrix.T.tocsr()
    try:
        law = eigs(transposed, 1, v0=start, ncv=40, maxiter=200, tol=1e-13)[1][:, 0].real
        law = law * np.sign(law.sum())
    except ArpackNoConvergence:
        rest = np.delete(np.arange(len(start)), likely)  # one equation follows from the others: π[likely] = 1
        balance = (transposed - sparse.eye_array(len(start))).tocsc()
        law = np.ones(len(start))
        law[rest] = splu(balance[rest][:, rest]).solve(-balance[rest][:, [likely]].toarray()[:, 0])
    law = np.maximum(law, 0)
    return law / law.sum()


def _check(step: float, friction: float, inverse_mass: float, weight: AnyFormat) -> None:
    for what, value in (("step", step), ("friction", friction), ("inverse_mass", inverse_mass)):
        text.number(what, value, positive=True)
    if friction * step > 1:
        raise ValueError(
            f"friction {friction:g} times step {step:g} is above 1, so that the momentum 1 - γη is negative: "
            "take smaller steps"
        )
    sghmc.require_reach(weight, math.sqrt(inverse_mass) * step)
