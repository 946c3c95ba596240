"""Worlds whose answer is known: targets, exact stationary laws and their theory, chains to hold against them."""
