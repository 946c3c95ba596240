"""Exact stationary laws: a sampler on W bits is a Markov chain with 2^W states.

So its stationary law is the left eigenvector of a matrix whose entries are moments of a Gaussian against the linear
B-spline (stochastic rounding) or the quadratic one (variance-corrected rounding). No sampling, no Monte Carlo error.
With a full-precision accumulator the state is continuous; there the law is computed on a refined grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from qtorch import FixedPoint
from scipy.linalg import solve_banded
from scipy.special import ndtr

from lpsgld import formats
from lpsgld.formats import Format, FormatError
from lpsgld.sgld import Accumulator, require_accumulator
from lpsgld.toy.targets import Gaussian

_TAIL = 8.5  # standard deviations: a Gaussian has 2e-17 beyond, below float64's resolution
_NODES = 6  # of the quadrature over rounded gradients


class Law(NamedTuple):
    """A discrete law: sorted points and their probabilities, float64 arrays of one length."""

    points: np.ndarray
    probabilities: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.points @ self.probabilities)

    @property
    def std(self) -> float:
        return math.sqrt(float((self.points - self.mean) ** 2 @ self.probabilities))


class _Outcomes(NamedTuple):
    """The law of a stochastic gradient at each of n states: K values with weights, plus a Gaussian of this std."""

    values: np.ndarray  # [n, K]
    weights: np.ndarray  # [n, K]
    gaussian_std: float


def stationary(
    target: Gaussian,
    alpha: float,
    fmt: Format,
    accumulator: Accumulator,
    gradient_noise: float = 0.0,
    grad: Format = None,
) -> Law:
    """The law to which low-precision SGLD converges, whatever its start.

    alpha: step size. fmt: weight format, fixed point. accumulator: "naive", "vc" (the law lives on the grid of fmt) or
    "full" (it lives on the line; points are a refined grid). gradient_noise: standard deviation of
    the Gaussian noise on ∇U. grad: gradient format, fixed point, or None. (Zhang, Wilson and De Sa 2022, section 3.)

    Probabilities are exact to 1e-8 for "naive" and "vc"; for "full" the grid leaves a relative error below 1e-5 in the
    standard deviation. Both are tested against closed forms and finer quadrature.
    Raises FormatError for formats other than fixed point, ValueError for a step size or a noise that make no sense.
    """
    require_accumulator(accumulator)
    _check(alpha, gradient_noise, fmt, grad)
    if accumulator == "full":
        return _stationary_full(target, alpha, fmt, gradient_noise, grad)
    points, matrix = transition(target, alpha, fmt, accumulator, gradient_noise, grad)
    return Law(points, _left_eigenvector(matrix, _nearest(points, target.mean)))


def transition(
    target: Gaussian,
    alpha: float,
    fmt: FixedPoint,
    accumulator: Accumulator,
    gradient_noise: float = 0.0,
    grad: Format = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The grid of fmt [n] and the matrix [n, n] whose row i is the law of one step from point i ("naive" or "vc")."""
    _check(alpha, gradient_noise, fmt, grad)
    if accumulator not in ("naive", "vc"):
        raise ValueError(f'the accumulator is {accumulator!r}, but only "naive" and "vc" chains live on a grid')
    gap, codes = _grid_codes(fmt)
    points = codes * gap
    outcomes = _gradient_outcomes(target.gradient(points), gradient_noise, grad)
    v = 2 * alpha / gap**2  # from here on, all lengths are in units of the gap
    if accumulator == "vc" and v <= 0.25:
        outcomes = _spread_gaussian(outcomes)
        std, spline = 0.0, _Spline(partial(_correction_survival, w=v), 0)
    else:
        order = 1 if accumulator == "naive" else 2
        v = v if accumulator == "naive" else v - 0.25
        std = math.sqrt(v + (alpha * outcomes.gaussian_std / gap) ** 2)
        spline = _Spline(partial((_ramp, _parabola)[order - 1], s=std), order)
        outcomes = _compressed(outcomes, smooth_below=std * gap / alpha)
    drift = alpha * outcomes.values / gap
    return points, _assemble(codes, drift, outcomes.weights, spline, reach=math.ceil(_TAIL * std) + 3)


# ---- one step on the grid ----------------------------------------------------------------------------------------


class _Spline(NamedTuple):
    """P(rounded ≥ j) as a finite difference over j, of this order, of a function of t - j; t is the step's mean.

    A B-spline is a finite difference of a truncated power, so that the integral of a Gaussian against one is a finite
    difference of the Gaussian's truncated moments: `_ramp` for stochastic rounding, `_parabola` for Q^vc.
    """

    function: Callable[[np.ndarray], np.ndarray]
    order: int


def _assemble(codes, drift, weights, spline: _Spline, reach: int) -> np.ndarray:
    """P[i, j] of steps from code i to a mean of code i - drift[i, k] with weights[i, k]; it ends within ±reach."""
    n = len(codes)
    first = np.floor(codes - drift.max(axis=1)) - reach
    width = math.ceil(np.ptp(drift, axis=1).max()) + 2 * reach + 1
    margin = min(spline.order, 1)
    ends = first[:, None] + np.arange(-margin, width + max(spline.order, 1))
    total = np.zeros_like(ends)
    for k in range(drift.shape[1]):
        total += weights[:, k, None] * spline.function((codes - drift[:, k])[:, None] - ends)
    above = (-1) ** spline.order * np.diff(total, n=spline.order, axis=1)
    above[:, 0], above[:, -1] = 1.0, 0.0
    columns = np.clip(ends[:, margin : margin + width] - codes[0], 0, n - 1).astype(int)  # the range clips
    flat = (np.arange(n)[:, None] * n + columns).ravel()
    return np.bincount(flat, weights=-np.diff(above, axis=1).ravel(), minlength=n * n).reshape(n, n)


def _ramp(d, s):
    """E max(d + sξ, 0)."""
    if s == 0:
        return np.maximum(d, 0)
    z = d / s
    return d * ndtr(z) + s * _phi(z)


def _parabola(d, s):
    """E max(d + 1/2 + sξ, 0)²/2; the half centres Q^vc's spline on the point that it rounds to."""
    d = d + 0.5
    if s == 0:
        return np.maximum(d, 0) ** 2 / 2
    z = d / s
    return ((d * d + s * s) * ndtr(z) + d * s * _phi(z)) / 2


def _correction_survival(d, w):
    """P(code ≥ 0) for Q^vc's second branch with variance w ≤ 1/4, from the mean d."""
    below = np.floor(d)
    f = d - below
    half = np.maximum(w - f * (1 - f), 0) / 2
    return np.select(
        [below >= 1, below == 0, below == -1, below == -2],
        [1.0, 1 - (1 - f) * half, f * (1 - half) + (1 - f) * half, f * half],
        0.0,
    )


def _phi(z):
    return np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


# ---- the stochastic gradient -------------------------------------------------------------------------------------


def _gradient_outcomes(slopes: np.ndarray, noise: float, grad: Format) -> _Outcomes:
    if grad is None:
        return _Outcomes(slopes[:, None], np.ones((len(slopes), 1)), noise)
    gap, codes = _grid_codes(grad)
    t = slopes / gap
    s = noise / gap
    reach = math.ceil(_TAIL * s) + 1
    ends = np.floor(t)[:, None] + np.arange(-reach - 1, reach + 3)
    above = -np.diff(_ramp(t[:, None] - ends, s), axis=1)  # P(Q_G ≥ end), of all ends but the first
    above[:, 0], above[:, -1] = 1.0, 0.0
    weights = np.maximum(-np.diff(above, axis=1), 0.0)
    return _Outcomes(np.clip(ends[:, 1:-1], codes[0], codes[-1]) * gap, weights, 0.0)


def _spread_gaussian(outcomes: _Outcomes, nodes: int = 1601) -> _Outcomes:
    """The Gaussian part as equally spaced values, for kernels that have corners."""
    if outcomes.gaussian_std == 0:
        return outcomes
    z = np.linspace(-_TAIL, _TAIL, nodes)
    weights = _phi(z) / _phi(z).sum()
    values = outcomes.values[:, :, None] + outcomes.gaussian_std * z
    n = len(values)
    return _Outcomes(values.reshape(n, -1), (outcomes.weights[:, :, None] * weights).reshape(n, -1), 0.0)


def _compressed(outcomes: _Outcomes, smooth_below: float) -> _Outcomes:
    """The Gauss quadrature of each state's gradient law: the same first 11 moments from 6 values.

    What follows is smooth on the scale `smooth_below` (in the gradient's unit); if the gradient varies by less than a
    sixth of it, the error is below 6^-12 / 12! and no digit of float64 changes. Otherwise nothing is compressed.
    """
    values, weights, _ = outcomes
    centre = (values * weights).sum(axis=1, keepdims=True)
    x = values - centre
    spread = np.sqrt((x * x * weights).sum(axis=1)).max()
    if values.shape[1] <= _NODES or spread > smooth_below / 6:
        return outcomes
    n = len(x)
    jacobi = np.zeros((n, _NODES, _NODES))
    previous, current, beta = np.zeros_like(x), np.sqrt(weights), np.zeros(n)
    for k in range(_NODES):  # Lanczos: orthogonal polynomials of the discrete law
        step = x * current
        jacobi[:, k, k] = (step * current).sum(axis=1)
        step = step - jacobi[:, k, k, None] * current - beta[:, None] * previous
        beta = np.sqrt((step * step).sum(axis=1))
        alive = beta > 1e-12 * (spread + 1e-300)  # a law of fewer values ends earlier, with nodes of weight 0
        beta = np.where(alive, beta, 0.0)
        previous, current = current, np.where(alive[:, None], step / np.where(alive, beta, 1.0)[:, None], 0.0)
        if k + 1 < _NODES:
            jacobi[:, k, k + 1] = jacobi[:, k + 1, k] = beta
    nodes, vectors = np.linalg.eigh(jacobi)
    return _Outcomes(nodes + centre, vectors[:, 0, :] ** 2, outcomes.gaussian_std)


# ---- stationary vectors ------------------------------------------------------------------------------------------


def _left_eigenvector(matrix: np.ndarray, likely: int) -> np.ndarray:
    """π with π P = π, by a banded solver: small steps reach few states. `likely`: a state that is not rare."""
    source, destination = np.nonzero(matrix)
    offset = destination - source
    band = int(np.abs(offset).max())
    balance = np.zeros((2 * band + 1, len(matrix)))
    balance[band + offset, source] = matrix[source, destination]
    return _null_vector(balance, band, likely)


def _null_vector(balance: np.ndarray, band: int, likely: int) -> np.ndarray:
    """π with (P^T - I) π = 0, where P[i, i + o] is balance[band + o, i]: LAPACK's storage of the banded P^T."""
    n = balance.shape[1]
    balance[band] -= 1.0
    for offset in range(-band, band + 1):  # one equation follows from the others: in its place, π[likely] = 1
        if 0 <= likely - offset < n:
            balance[band + offset, likely - offset] = float(offset == 0)
    rhs = np.zeros(n)
    rhs[likely] = 1.0
    solution = np.maximum(solve_banded((band, band), balance, rhs), 0.0)
    return solution / solution.sum()


def _stationary_full(target, alpha, fmt, noise, grad) -> Law:
    """The full-precision accumulator: θ' = θ - α Q_G(∇U(Q_W(θ)) + noise) + √(2α) ξ, on a refined grid.

    Its spacing resolves the noise and divides the gap, since the law of Q_W(θ) has corners at the grid of fmt.
    """
    std = math.sqrt(2 * alpha)
    spacing = std / 3
    if fmt is not None:
        spacing = 2.0**-fmt.fl / max(8, math.ceil(2.0**-fmt.fl / spacing))
    points = _support(target, fmt, spacing)
    n = len(points)
    outcomes = _compressed(_full_outcomes(target, points, fmt, noise, grad), smooth_below=std / alpha)
    s = math.sqrt(2 * alpha + (alpha * outcomes.gaussian_std) ** 2)
    drift = alpha * outcomes.values
    band = int(np.ceil((_TAIL * s + np.abs(drift).max()) / spacing))
    offsets = np.arange(-band, band + 1)
    rows = np.zeros((n, 2 * band + 1))
    for k in range(drift.shape[1]):
        rows += outcomes.weights[:, k, None] * _phi((offsets * spacing + drift[:, k, None]) / s)
    inside = (np.arange(n)[:, None] + offsets >= 0) & (np.arange(n)[:, None] + offsets < n)
    rows *= inside
    rows /= rows.sum(axis=1, keepdims=True)
    return Law(points, _null_vector(np.ascontiguousarray(rows.T), band, _nearest(points, target.mean)))


def _support(target, fmt, spacing) -> np.ndarray:
    """Points out to where the density exp(-∫ gradient of the clipped weight) has fallen below e^-37."""
    low, high = -math.inf, math.inf
    if fmt is not None:
        gap, codes = _grid_codes(fmt)
        low, high = codes[0] * gap, codes[-1] * gap
    start = round(min(max(target.mean, low), high) / spacing) * spacing
    out = []
    for sign in (-1, 1):
        distance = np.arange(1, 400_000) * spacing
        slope = sign * target.gradient(np.clip(start + sign * distance, low, high))
        energy = np.cumsum(slope) * spacing
        far = int(np.argmax(energy > 37))
        if energy.max() <= 37:
            raise ValueError(
                f"the law of a full-precision accumulator around {formats.name(fmt)} is too wide to compute: the range "
                f"[{low}, {high}] ends where the target still has no slope. Take a wider range or a larger step size"
            )
        out.append(distance[: far + 1])
    return np.concatenate([start - out[0][::-1], [start], start + out[1]])


def _full_outcomes(target, points, fmt, noise, grad) -> _Outcomes:
    """The law of the gradient at Q_W(θ): θ is rounded to one of two grid points, and each has its gradient's law."""
    if fmt is None:
        return _gradient_outcomes(target.gradient(points), noise, grad)
    gap, codes = _grid_codes(fmt)
    t = np.clip(points / gap, codes[0], codes[-1])
    below = np.floor(t)
    parts = [
        (1 - (t - below), _gradient_outcomes(target.gradient(below * gap), noise, grad)),
        (t - below, _gradient_outcomes(target.gradient(np.minimum(below + 1, codes[-1]) * gap), noise, grad)),
    ]
    values = np.concatenate([part.values for _, part in parts], axis=1)
    weights = np.concatenate([share[:, None] * part.weights for share, part in parts], axis=1)
    return _Outcomes(values, weights, parts[0][1].gaussian_std)


def _nearest(points: np.ndarray, x: float) -> int:
    return int(np.abs(points - x).argmin())


# ---- arguments ---------------------------------------------------------------------------------------------------


def _grid_codes(fmt: FixedPoint) -> tuple[float, np.ndarray]:
    g = formats.grid(fmt, None)
    return g.gap, np.arange(g.low, g.high + 1)


def _check(alpha: float, noise: float, fmt: Format, grad: Format) -> None:
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ValueError(f"the step size alpha is {alpha}, but must be a finite number > 0")
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"the gradient noise is {noise}, but must be a finite standard deviation ≥ 0")
    for what, given in (("weight", fmt), ("gradient", grad)):
        fixed = isinstance(given, FixedPoint) and given.clamp
        if not fixed and not (what == "gradient" and given is None):
            raise FormatError(
                f"the {what} format is {formats.name(given)}, but exact laws need a clamped fixed-point format, "
                'such as "fixed(8,3)", whose states can be counted'
            )
