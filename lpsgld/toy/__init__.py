"""Worlds whose answer is known: one-dimensional targets, exact stationary laws, chains to hold against them."""
