"""What the tests on a GPU share. They import nothing but torch, scipy, pytest and lpsgld, so that a bare machine runs
them: `python -m pytest tests/cuda`. LPSGLD_TEST_DEVICE=cpu runs those that can on a CPU, to test the tests.
"""

import os

import pytest
import torch

from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(os.environ.get("LPSGLD_TEST_DEVICE", "cuda"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is marked `cuda`."""
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here) and os.environ.get("LPSGLD_TEST_DEVICE", "cuda") != "cpu":
            item.add_marker(pytest.mark.cuda)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return datasets.load("digits").subset(500, 200)
