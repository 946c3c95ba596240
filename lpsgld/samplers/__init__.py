"""Samplers: one step as a pure function, and the torch optimizers that walk a network with it."""
