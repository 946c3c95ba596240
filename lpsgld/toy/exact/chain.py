"""Exact stationary laws: a sampler on W bits is a Markov chain with 2^W states.

So its stationary law is the left eigenvector of a matrix whose rows are single steps (`one_step.py`): moments of a
Gaussian against the linear B-spline (stochastic rounding) or the quadratic one (variance-corrected rounding). No
sampling, no Monte Carlo error.
With a full-precision accumulator the state is continuous; there the law is computed on a refined grid (`refined.py`).
How fast the chains get there is told in `mixing.py`.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from lpsgld import formats, text
from lpsgld.formats import AnyFormat, Format, FormatError
from lpsgld.samplers.accumulators import Accumulator, require_accumulator
from lpsgld.toy.exact import refined
from lpsgld.toy.exact.laws import Law, left_eigenvector, nearest, require_room
from lpsgld.toy.exact.outcomes import TAIL, compressed, gradient_outcomes, grid_codes
from lpsgld.toy.one_step import Landing, landing
from lpsgld.toy.targets import Target

__all__ = ["Law", "stationary", "transition"]


def stationary(
    target: Target,
    alpha: float,
    fmt: AnyFormat,
    accumulator: Accumulator,
    gradient_noise: float = 0.0,
    grad: AnyFormat = None,
    temperature: float = 1.0,
) -> Law:
    """The law to which low-precision SGLD converges, whatever its start.

    alpha: step size. fmt: weight format, fixed point. accumulator: "naive", "vc" (the law lives on the grid of fmt) or
    "full" (it lives on the line; points are a refined grid, and fmt may be None). gradient_noise: standard deviation of
    the Gaussian noise on ∇U. grad: gradient format, fixed point, or None. temperature: 1 samples the target, 0 is SGD.
    (Zhang, Wilson and De Sa 2022, section 3.)

    Probabilities are exact to 1e-8 for "naive" and "vc". For "full", the refined grid leaves a relative error
    in the standard deviation that is below 1e-5 while α(Δ/std)² < 1/200, and below 1e-4 while α(Δ/std)² < 1/20.
    Both are tested against closed forms and finer quadrature.
    Raises FormatError for formats other than fixed point; ValueError for a step size, noise or temperature that makes
    no sense, and for SGD without noise where its law has no density or depends on the start.
    """
    fmt, grad = checked(fmt, accumulator, grad)
    alpha, gradient_noise, temperature = _numbers(alpha, gradient_noise, temperature)
    if accumulator == "full":
        points, _, law = refined.chain(target, alpha, fmt, gradient_noise, grad, temperature)
        return Law(points, law)
    points, matrix = transition(target, alpha, fmt, accumulator, gradient_noise, grad, temperature)
    return Law(points, left_eigenvector(matrix, nearest(points, target.mode)))


def transition(
    target: Target,
    alpha: float,
    fmt: AnyFormat,
    accumulator: Accumulator,
    gradient_noise: float = 0.0,
    grad: AnyFormat = None,
    temperature: float = 1.0,
) -> tuple[np.ndarray, np.ndarray | sparse.csr_array]:
    """The points [n] of that law and the matrix [n, n] whose row i is the law of one step from point i.

    For "full", the matrix is sparse. Arguments and errors as for `stationary`.
    """
    fmt, grad = checked(fmt, accumulator, grad)
    alpha, gradient_noise, temperature = _numbers(alpha, gradient_noise, temperature)
    if accumulator == "full":
        points, rows, _ = refined.chain(target, alpha, fmt, gradient_noise, grad, temperature)
        n, band = len(points), rows.shape[1] // 2
        return points, sparse.dia_array((rows.T, np.arange(band, -band - 1, -1)), shape=(n, n)).T.tocsr()
    require_room(2**fmt.bits, 2**fmt.bits)
    gap, codes = grid_codes(fmt)
    points = codes * gap
    outcomes = gradient_outcomes(target.gradient(points), gradient_noise, grad)
    v = 2 * alpha * temperature / gap**2  # from here on, all lengths are in units of the gap
    step = landing(accumulator, v, alpha * outcomes.gaussian_std / gap)
    outcomes = compressed(outcomes, smooth_below=step.std * gap / alpha)
    drift = alpha * outcomes.values / gap
    return points, _assemble(codes, drift, outcomes.weights, step, reach=math.ceil(TAIL * step.std) + 3)


def _assemble(codes, drift, weights, step: Landing, reach: int) -> np.ndarray:
    """P[i, j] of steps from code i to a mean of code i - drift[i, k] with weights[i, k]; it ends within ±reach."""
    n = len(codes)
    first = np.floor(codes - drift.max(axis=1)) - reach
    width = math.ceil(np.ptp(drift, axis=1).max()) + 2 * reach + 1
    margin = min(step.order, 1)
    require_room(n, width)
    ends = first[:, None] + np.arange(-margin, width + max(step.order, 1))
    total = np.zeros_like(ends)
    for k in range(drift.shape[1]):
        total += weights[:, k, None] * step.function((codes - drift[:, k])[:, None] - ends)
    above = (-1) ** step.order * np.diff(total, n=step.order, axis=1)
    above[:, 0], above[:, -1] = 1.0, 0.0
    columns = np.clip(ends[:, margin : margin + width] - codes[0], 0, n - 1).astype(int)  # the range clips
    flat = (np.arange(n)[:, None] * n + columns).ravel()
    return np.bincount(flat, weights=-np.diff(above, axis=1).ravel(), minlength=n * n).reshape(n, n)


# ---- arguments ---------------------------------------------------------------------------------------------------


def _numbers(alpha, noise, temperature) -> tuple[float, float, float]:
    noise, temperature = (text.number(*pair) for pair in (("gradient_noise", noise), ("temperature", temperature)))
    return text.number("alpha", alpha, positive=True), noise, temperature


def checked(fmt, accumulator, grad) -> tuple[Format | None, Format | None]:
    """The two formats as objects, if exact laws can be computed in them."""
    fmt, grad = formats.parse(fmt), formats.parse(grad)
    for what, given, needed in (("weight", fmt, accumulator != "full"), ("gradient", grad, False)):
        if needed if given is None else given.uniform is None:
            raise FormatError(
                f"the {what} format is {formats.name(given)}, but exact laws need a clamped fixed-point format, "
                'such as "fixed(8,3)", whose states can be counted'
            )
    require_accumulator(accumulator, fmt)
    return fmt, grad
