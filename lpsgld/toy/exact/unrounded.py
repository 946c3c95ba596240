"""The exact law of SGLD without rounding on a Gaussian of any dimension, where steps are linear."""

from __future__ import annotations

import numpy as np

from lpsgld import text
from lpsgld.toy.targets import MultivariateGaussian


def covariance(
    target: MultivariateGaussian, alpha: float, gradient_noise: float = 0.0, temperature: float = 1.0
) -> np.ndarray:
    """That of θ [d, d] in the long run of θ' = θ - α(Σ⁻¹(θ - mean) + σζ) + √(2αT) ξ, whose law is N(mean, this):

        (2αT + α²σ²) (I - (I - αΣ⁻¹)²)⁻¹,   which for T = 1 and σ = 0 is Σ (I - αΣ⁻¹/2)⁻¹

    the solution of S = (I - αΣ⁻¹) S (I - αΣ⁻¹) + (2αT + α²σ²) I. alpha: step size. gradient_noise: σ, of each
    coordinate. temperature: T. It is the variance-corrected chain's on a grid, too, while nothing clips and
    2αT ≥ Δ²/4: that rounding keeps mean and variance, and draws each coordinate by itself. Raises ValueError for
    numbers that make no sense, and for steps so long that the chain has no such law.
    """
    alpha = text.number("alpha", alpha, positive=True)
    noise, temperature = text.number("gradient_noise", gradient_noise), text.number("temperature", temperature)
    curvatures, axes = np.linalg.eigh(target.precision)
    if alpha * curvatures[-1] >= 2:
        raise ValueError(
            f"alpha is {alpha:g}, but only below {2 / curvatures[-1]:.3g}, twice the smallest eigenvalue of the "
            "covariance, do the steps not lead ever farther away"
        )
    return axes * ((2 * temperature + alpha * noise**2) / (curvatures * (2 - alpha * curvatures))) @ axes.T
