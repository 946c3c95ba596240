"""Bayesian neural networks in 8 bits: data, networks, training, judging, costs, studies; toy targets live elsewhere."""
