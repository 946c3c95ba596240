"""Small runs that several tests look at."""

from pathlib import Path

import pytest
import torch

from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.training import loop
from lpsgld.bnn.training.recipes import RECIPES, Recipe
from lpsgld.bnn.training.runs import Run

SMALL = RECIPES["train_bfp"].override(dataset="digits", model="mlp", width=16, epochs=6, samples=3)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """These networks are too small to gain from a second thread, and lose much where the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return datasets.load("digits").subset(500, 200)


@pytest.fixture
def small() -> Recipe:
    """An MLP in 8-bit blocks that trains in less than a second."""
    return SMALL


@pytest.fixture(scope="session")
def finished(digits, tmp_path_factory) -> Run:
    """A finished run of the small recipe. Do not change its folder."""
    path: Path = tmp_path_factory.mktemp("run") / "small"
    return loop.train(SMALL, path, dataset=digits, progress=False, device="cpu")
