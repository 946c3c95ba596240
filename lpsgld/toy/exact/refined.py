"""The exact law of a full-precision accumulator, on a grid fine enough to resolve its noise.

θ' = θ - α Q_G(∇U(Q_W(θ)) + noise) + √(2αT) ξ lives on the line, so that its transition kernel is sampled at points a
third of the noise's standard deviation apart, where sums of Gaussians are integrals to float64's last digits.
"""

from __future__ import annotations

import math

import numpy as np

from lpsgld import formats
from lpsgld.formats import Format
from lpsgld.toy.exact.laws import nearest, null_vector, require_room
from lpsgld.toy.exact.outcomes import TAIL, Outcomes, compressed, gradient_outcomes, grid_codes
from lpsgld.toy.one_step import phi
from lpsgld.toy.targets import Target

_NEGLIGIBLE = 37.0  # energies above the mode: e^-37 is below float64's resolution
_MOST_POINTS = 400_000  # on each side, before anything of that size is allocated


def chain(target, alpha, fmt, noise, grad, temperature) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points as far as the law reaches [n], the kernel around each of them [n, 2 band + 1], and the law [n].

    The law and the kernel are densities times the spacing. Arguments as of `exact.stationary`, formats as objects.
    """
    enough = _NEGLIGIBLE
    while True:
        points, rows = _kernel(target, alpha, fmt, noise, grad, temperature, enough)
        law = null_vector(np.ascontiguousarray(rows.T), rows.shape[1] // 2, nearest(points, target.mode))
        if max(law[0], law[-1]) <= 1e-13:
            return points, rows, law
        enough *= 2  # large steps, noisy or rounded gradients: the law is wider than the target


@np.errstate(under="ignore")
def _kernel(target, alpha, fmt, noise, grad, temperature, enough) -> tuple[np.ndarray, np.ndarray]:
    smooth = 2 * alpha * temperature + (alpha * noise) ** 2 * (grad is None)  # variance of a step's Gaussian part
    if smooth == 0:
        raise ValueError(
            "without noise, the law of a full-precision accumulator has no density. Take a temperature > 0, or a "
            "gradient noise > 0 with unrounded gradients"
        )
    s = math.sqrt(smooth)
    spacing = s / 3
    if fmt is not None:
        gap = fmt.uniform.gap
        spacing = gap / _pieces(gap, spacing, alpha / target.std**2, smooth)
    points = _support(target, fmt, spacing, enough * smooth / (2 * alpha))
    n = len(points)
    outcomes = compressed(_outcomes(target, points, fmt, noise, grad), smooth_below=s / alpha)
    drift = alpha * outcomes.values
    band = int(np.ceil((TAIL * s + np.abs(drift).max()) / spacing))
    require_room(n, 2 * band + 1)
    offsets = np.arange(-band, band + 1)
    rows = np.zeros((n, 2 * band + 1))
    for k in range(drift.shape[1]):
        rows += outcomes.weights[:, k, None] * phi((offsets * spacing + drift[:, k, None]) / s)
    inside = (np.arange(n)[:, None] + offsets >= 0) & (np.arange(n)[:, None] + offsets < n)
    rows *= inside
    reached = rows.sum(axis=1, keepdims=True)
    if not reached.all():
        raise ValueError(
            f"alpha = {alpha}: a single step leaves all places where the target has mass, so the chain diverges. "
            f"Take a step size well below 2·std² = {2 * target.std**2:.2g}"
        )
    return points, rows / reached


def _pieces(gap: float, spacing: float, pull: float, smooth: float) -> int:
    """Points a gap: the law has corners at the grid, and of the variance of rounded weights, 1/pieces² is lost.

    They move a step by the variance (pull·Δ)²/6, pull = αU''. Of all its variance, less than 1e-5 should be lost, at no
    more than 8 points.
    """
    enough = math.ceil(gap * pull / math.sqrt(6e-5 * smooth))
    return max(math.ceil(gap / spacing), 2, min(enough, 8))


def _support(target: Target, fmt: Format, spacing: float, enough: float) -> np.ndarray:
    """Points out to where the energy, the integral of the gradient of the clipped weight, stays above `enough`."""
    low, high = -math.inf, math.inf
    if fmt is not None:
        gap, codes = grid_codes(fmt)
        low, high = codes[0] * gap, codes[-1] * gap
    start = round(min(max(target.mode, low), high) / spacing) * spacing
    out = []
    for sign in (-1, 1):
        distance = np.arange(1, _MOST_POINTS) * spacing
        slope = sign * target.gradient(np.clip(start + sign * distance, low, high))
        energy = np.cumsum(slope) * spacing
        below = np.flatnonzero(energy <= enough)
        far = int(below[-1]) + 1 if len(below) else 0
        if far == len(distance):
            raise ValueError(
                f"the law of a full-precision accumulator around {formats.name(fmt)} is too wide to compute: the range "
                f"[{low}, {high}] ends where the target still has no slope. Take a wider range or a larger step size"
            )
        out.append(distance[: far + 1])
    return np.concatenate([start - out[0][::-1], [start], start + out[1]])


def _outcomes(target: Target, points: np.ndarray, fmt: Format, noise: float, grad: Format) -> Outcomes:
    """The law of the gradient at Q_W(θ): θ is rounded to one of two grid points, and each has its gradient's law."""
    if fmt is None:
        return gradient_outcomes(target.gradient(points), noise, grad)
    gap, codes = grid_codes(fmt)
    t = np.clip(points / gap, codes[0], codes[-1])
    below = np.floor(t)
    parts = [
        (1 - (t - below), gradient_outcomes(target.gradient(below * gap), noise, grad)),
        (t - below, gradient_outcomes(target.gradient(np.minimum(below + 1, codes[-1]) * gap), noise, grad)),
    ]
    values = np.concatenate([part.values for _, part in parts], axis=1)
    weights = np.concatenate([share[:, None] * part.weights for share, part in parts], axis=1)
    return Outcomes(values, weights, parts[0][1].gaussian_std)
