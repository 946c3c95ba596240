"""Experiments over many runs or many images; one run lives in training, one ensemble in judging."""
