"""Targets on the line and in space, of known answers or your own energy; chains and laws live beside this room."""

from lpsgld.toy.targets.given import from_energy
from lpsgld.toy.targets.line import Curvature, Gaussian, LogOdds, Mixture, Quadrature, SeenThrough, Target
from lpsgld.toy.targets.space import Banana, MultivariateGaussian, SpaceTarget

__all__ = [
    "Banana",
    "Curvature",
    "Gaussian",
    "LogOdds",
    "Mixture",
    "MultivariateGaussian",
    "Quadrature",
    "SeenThrough",
    "SpaceTarget",
    "Target",
    "from_energy",
]
