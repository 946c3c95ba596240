"""Targets whose answer is known, on the line and in the plane; chains and laws on them live beside this room."""

from lpsgld.toy.targets.line import Curvature, Gaussian, LogOdds, Mixture, Quadrature, SeenThrough, Target
from lpsgld.toy.targets.planar import Banana, CorrelatedGaussian, PlanarTarget

__all__ = [
    "Banana",
    "CorrelatedGaussian",
    "Curvature",
    "Gaussian",
    "LogOdds",
    "Mixture",
    "PlanarTarget",
    "Quadrature",
    "SeenThrough",
    "Target",
]
