"""A made-up sweep for the tests of views: every score is a formula of sampler, accumulator, bits, seed and count."""

from __future__ import annotations

import numpy as np

from lpsgld.bnn.studies.sweep import Point, Settings, Sweep

_COST = {"full": (0.12, 2), "naive": (0.5, 1), "vc": (0.2, 2)}  # NLL above float32 at a gap of 1, and its power
_SHARES = np.exp(-0.5 * (np.linspace(-4, 4, 129) / 0.4) ** 2)


def nll(point: Point, seed: int, count: int) -> float:
    """0.2 in float32 for many networks; single ones, few bits and seeds cost more."""
    cost, power = _COST[point.accumulator]
    gap = 0.0 if point.bits is None else 2.0**-point.bits
    return (0.2 + cost * gap**power) * (1 + 0.5 / count) * (1 + 0.01 * seed)


def made_up(settings: Settings | None = None) -> Sweep:
    settings = settings or Settings(networks=8, bits=(1, 2, 3, 4), seeds=3)
    rows = {}
    for point in settings.points():
        scores = {str(c): [nll(point, s, c) for s in range(settings.seeds)] for c in settings.counts}
        shares = _SHARES if point.bits is None else np.where(np.arange(-64, 65) * 2**point.bits % 16 == 0, _SHARES, 0)
        rows[str(point)] = {
            "nll": scores,
            "error": {count: [x / 4 for x in values] for count, values in scores.items()},
            "ece": scores,
            "unrounded": scores[str(settings.networks)],
            "mixing": {"rhat": 1.0, "suspicious": 0.0, "ess": 20.0, "draws": 24},
            "std": [0.4] * settings.seeds,
            "histogram": (shares / shares.sum()).tolist(),
            "seconds": 0.0,
        }
    return Sweep(settings, {"name": "made up"}, {}, rows)
