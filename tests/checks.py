"""Statistical checks for the tests, with their false-alarm rates."""

from __future__ import annotations

import numpy as np
from scipy import stats

FALSE_ALARM = 1e-7  # of one check, if what it checks is true; seeds are fixed, so that it cannot come and go


def assert_law(counts, probabilities, false_alarm: float = FALSE_ALARM) -> None:
    """Pearson's chi-square test that the counts were drawn from the probabilities; rare cells are pooled."""
    counts, expected = np.asarray(counts, float), np.asarray(probabilities, float) * np.sum(counts)
    assert counts[expected == 0].sum() == 0, "a value was drawn that has probability 0"
    common = expected >= 10
    observed = np.append(counts[common], counts[~common].sum())
    predicted = np.append(expected[common], expected[~common].sum())
    keep = predicted > 0
    if keep.sum() < 2:
        return
    # probabilities are exact, but float32 uniforms have 24 bits
    assert predicted[~keep].sum() <= 1e-3
    observed, predicted = observed[keep], predicted[keep]
    if predicted[-1] < 10:  # a pooled remainder too small for the normal approximation joins its neighbour
        observed = np.append(observed[:-2], observed[-2:].sum())
        predicted = np.append(predicted[:-2], predicted[-2:].sum())
        if len(observed) < 2:
            return
    chi2 = float(((observed - predicted) ** 2 / predicted).sum())
    p = stats.chi2.sf(chi2, len(observed) - 1)
    assert p > false_alarm, f"chi-square {chi2:.1f} with {len(observed) - 1} degrees of freedom: p = {p:.1e}"


def assert_mean(samples, mean: float, std: float, false_alarm: float = FALSE_ALARM) -> None:
    """z-test that independent samples of known standard deviation have this mean."""
    samples = np.asarray(samples, float)
    error = std / np.sqrt(len(samples))
    z = (samples.mean() - mean) / error if error > 0 else np.where(samples.mean() == mean, 0.0, np.inf)
    assert abs(z) < stats.norm.isf(false_alarm / 2), f"mean {samples.mean():.6g}, expected {mean:.6g} ± {error:.2g}"
