"""Exact stationary laws of the samplers on the line; how far they are from a target is told beside this room."""

from lpsgld.toy.exact.chain import stationary, transition
from lpsgld.toy.exact.laws import Law

__all__ = ["Law", "stationary", "transition"]
