"""Exact stationary laws of the samplers; how far they are from a target is told beside this room."""

from lpsgld.toy.exact.chain import stationary, transition
from lpsgld.toy.exact.laws import Law
from lpsgld.toy.exact.unrounded import covariance

__all__ = ["Law", "covariance", "stationary", "transition"]
