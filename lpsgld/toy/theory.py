"""What theory says: the bounds of Theorems 1 to 3, and closed forms for small step sizes.

The theorems (Zhang, Wilson and De Sa 2022, section 3) hold for an m-strongly convex, M-smooth energy whose Hessian is
Ψ-Lipschitz, for α ≤ 2/(m + M), and ignore that formats have a range. Each returns its terms, to see which one is loose.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lpsgld.samplers.accumulators import Accumulator, require_accumulator
from lpsgld.toy.exact import Law
from lpsgld.toy.one_step import rounding_variance
from lpsgld.toy.targets import Curvature, Target


class Bound(NamedTuple):
    """The terms of an upper bound on W2(law of θ after K steps, target), in θ's unit.

    start: what is left of the start. discretisation: 1.65 (M/m) √(αd). gradient_bias: from gradients taken at rounded
    weights. noise: from the variance of gradients and of rounding. on_grid: because the result is itself rounded.
    """

    start: float
    discretisation: float
    gradient_bias: float
    noise: float
    on_grid: float

    @property
    def total(self) -> float:
        return sum(self)


def bound(
    accumulator: Accumulator,
    curvature: Curvature,
    alpha: float,
    weight_gap: float,
    grad_gap: float = 0.0,
    gradient_std: float = 0.0,
    *,
    mean_abs_gradient: float | None = None,
    dimension: int = 1,
    steps: float = math.inf,
    start: float = 0.0,
) -> Bound:
    """Theorem 1 ("full"), 2 ("naive") or 3 ("vc"), with an area A that rounding the accumulator costs:

        W2 ≤ (1-αm)^K W2(μ0, π) + 1.65 (M/m) √(αd) + min(ΨA/m, M√A/m) + √([αΔ_G² d + 4ακ² + r]/(4m)) + g

        "full"   A = v0·d = Δ_W² d/4,  r = 4M²αA,  g = 0
        "naive"  A = v0·d,             r = 4A/α,   g = ((1-αm)^K + 1) √A
        "vc"     A = 5 v0·d if 2α > v0, else max(2 Δ_W α G, 4αd);  r, g as for "naive"

    So the third term, what gradients at rounded weights leave as α → 0, is O(Δ_W²), and 0 for a Gaussian, whose Ψ is 0.
    The fourth diverges for "naive", and stays bounded for "vc": A/(αm) is at least 4d/m, but does not vanish either.

    weight_gap, grad_gap: Δ_W and Δ_G, 0 for full precision. gradient_std: κ. mean_abs_gradient: G ≥ E‖Q_G(∇Ũ)‖₁, for
    "vc" only. dimension: d. steps: K. start: W2(μ0, π).
    Raises ValueError for α outside (0, 2/(m + M)], for an unknown accumulator, and for "vc" without G.
    """
    require_accumulator(accumulator)
    if accumulator == "vc" and mean_abs_gradient is None:
        raise ValueError("Theorem 3 needs mean_abs_gradient: theory.mean_abs_gradient computes it")
    m, M, psi = curvature
    if not 0 < alpha <= 2 / (m + M):
        raise ValueError(f"alpha={alpha}: the theorems need 0 < alpha ≤ 2/(m + M) = {2 / (m + M):.6g}")
    if not (steps >= 0 and dimension >= 1):
        raise ValueError(f"steps={steps} must be at least 0, and dimension={dimension} at least 1")
    kept = (1 - alpha * m) ** steps  # α ≤ 2/(m + M) ≤ 1/m, so that 1 - αm is not negative
    v0 = weight_gap**2 / 4
    if accumulator != "vc":
        area = v0 * dimension
    elif 2 * alpha > v0:
        area = 5 * v0 * dimension
    else:
        area = max(2 * weight_gap * alpha * mean_abs_gradient, 4 * alpha * dimension)
    rounding = 4 * area * (M**2 * alpha if accumulator == "full" else 1 / alpha)
    variance = alpha * grad_gap**2 * dimension + 4 * alpha * gradient_std**2 + rounding
    return Bound(
        start=kept * start,
        discretisation=1.65 * (M / m) * math.sqrt(alpha * dimension),
        gradient_bias=min(psi * area / m, M * math.sqrt(area) / m),
        noise=math.sqrt(variance / (4 * m)),
        on_grid=0.0 if accumulator == "full" else (kept + 1) * math.sqrt(area),
    )


def mean_abs_gradient(law: Law, target: Target, gradient_std: float) -> float:
    """E|Q_G(∇U + κξ)| in this law, Theorem 3's G. Q_G leaves it alone, since |x| is linear in a cell."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    slopes = np.abs(target.gradient(law.points)[:, None] + gradient_std * nodes)
    return float(law.probabilities @ slopes @ weights / weights.sum())


# ---- closed forms --------------------------------------------------------------------------------------------------


def sgld_std(alpha: float, gradient_std: float = 0.0) -> float:
    """√((1 + ακ²/2)/(1 - α/2)): the stationary standard deviation of SGLD in full precision on N(0, 1), for α < 2.

    The chain θ' = (1-α)θ + √(2α) ξ + ακξ' is an AR(1) process; κ is gradient_std, the noise of mini-batches, which acts
    as a temperature of 1 + ακ²/2. Raises ValueError where it has no stationary law.
    """
    if not 0 < alpha < 2:
        raise ValueError(f"sgld_std(alpha={alpha}): the chain has a stationary law for 0 < alpha < 2 only")
    return math.sqrt((1 + alpha * gradient_std**2 / 2) / (1 - alpha / 2))


def naive_temperature(alpha: float, gap: float) -> float:
    """1 + E|δ|(Δ - |δ|)/(2α), δ ~ N(0, 2α): the temperature at which naive SGLDLP-L samples in effect.

    Langevin noise at temperature T has the variance 2αT. From a grid point, a naive step has 2α and the
    `rounding_variance` of its displacement. For √(2α) much smaller than Δ that makes Δ/√(πα): the smaller the step, the
    hotter the chain. Raises ValueError unless alpha and gap are positive.
    """
    _positive(alpha, gap)
    asked = 2 * alpha / gap**2
    return 1 + float(rounding_variance(math.sqrt(asked))) / asked


def naive_std(alpha: float, gap: float) -> float:
    """√(Δ/√(πα)): the stationary standard deviation of naive SGLDLP-L on N(0, 1) for √(2α) much smaller than Δ.

    That of N(0, 1) at `naive_temperature`, in the limit of small steps. Raises ValueError unless alpha and gap are
    positive.
    """
    _positive(alpha, gap)
    return math.sqrt(gap / math.sqrt(math.pi * alpha))


def naive_std_at_any_step(alpha: float, gap: float) -> float:
    """√T/√(1 - α/2), T the `naive_temperature`: as `naive_std`, but for large steps, too."""
    return math.sqrt(naive_temperature(alpha, gap)) * sgld_std(alpha)


def _positive(alpha: float, gap: float) -> None:
    if not (alpha > 0 and gap > 0):
        raise ValueError(f"alpha={alpha}, gap={gap}: both must be positive")


def naive_best_step(gap: float) -> float:
    """Δ/√6: the step size at which naive SGLDLP-L on N(0, 1) is closest to its target.

    Steps of √(2α) > Δ spread over a whole cell, so that rounding adds Δ²/6 to the 2α of a step. The stationary
    variance is then about 1 + α/2 + Δ²/(12α), smallest at Δ/√6.
    """
    return gap / math.sqrt(6)


def sgd_floor(gap: float, gradient_std: float, m: float = 1.0) -> float:
    """√(σΔ/(m√(2π))): the root mean square distance to the minimum at which SGDLP-L stalls, for ασ much below Δ.

    A step displaces by ασ|ξ|, which stochastic rounding turns into a variance of about ασΔ√(2/π), while the slope
    takes 2αm of the variance away: the step size drops out. Smaller steps do not help.
    """
    return math.sqrt(gradient_std * gap / (m * math.sqrt(2 * math.pi)))


def full_std(alpha: float, gap: float) -> float:
    """The stationary standard deviation of SGLDLP-F on N(0, 1), exact gradients at weights rounded with gap Δ.

    Rounding the weight adds the variance α²Δ²/6 to a step that has 2α, and the slope takes (2 - α)α of the variance
    away: √((2 + αΔ²/6)/(2 - α)), up to e^(-2π²/Δ²). Raises ValueError unless 0 < α < 2.
    """
    return sgld_std(alpha) * math.sqrt(1 + alpha * gap**2 / 12)


def saturated_share(top: float, block: int) -> float:
    """The share of standard normal numbers that are too large for their block, `block` of which share a power of two.

    The scale brings the largest of them into [2^k, 2^(k+1)), k the exponent of the largest number of the elements'
    format, which is top·2^k: top = 6/4 for mxfp4, 448/256 for mxfp8(e4m3). With G(x) = P(|ξ| ≤ x) a number lies between
    top·2^e and 2^(e+1), and all others below, with probability (G(2^(e+1)) - G(top·2^e)) G(2^(e+1))^(block-1); summed
    over e.
    """
    octaves = [2.0**e for e in range(-60, 6)]
    within = [math.erf(2 * x / math.sqrt(2)) for x in octaves]
    beyond = [g - math.erf(top * x / math.sqrt(2)) for x, g in zip(octaves, within, strict=True)]
    return sum(b * g ** (block - 1) for b, g in zip(beyond, within, strict=True))
