"""Worlds whose answer is known: targets, exact stationary laws and their theory, chains to hold against them.

A tail that underflows is zero: what has tails says so to numpy (`np.errstate`), whatever the user's `np.seterr`.
"""
