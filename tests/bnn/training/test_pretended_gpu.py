"""A training step on a GPU that is not there: tensors have its device, shapes and types, and no numbers.

Torch checks of every operation whether its tensors are on one device. Whatever would make the host wait for the GPU
needs a number, and raises, since there is none.
"""

import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.training.recipes import RECIPES
from lpsgld.bnn.training.stepping import Stepper

GPU = torch.device("cuda")
KEPT = [("full", "sgld"), ("naive", "sgld"), ("vc", "sgld"), ("vc", "sghmc"), ("full", "sghmc")]
SETTINGS = [(name, *kept) for name in ("train_bfp", "train_fixed") for kept in KEPT]


@pytest.fixture
def pretended(monkeypatch):
    """Within it, all tensors are on a pretended GPU, networks too: their numbers could not be moved there."""
    monkeypatch.setattr(nn.Module, "to", lambda module, *_, **__: module)
    with FakeTensorMode(), GPU:
        yield


def stepper(name: str, **settings) -> Stepper:
    images = (torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    dataset = Dataset("shapes alone", *images, *images, tuple("ab"), (0.5,) * 3, (0.2,) * 3, pad=1, flip=True)
    sampler = settings.pop("sampler", "sgld")
    momentum = {"momentum": 0.9} if sampler == "sghmc" else {}
    recipe = RECIPES[name].override(sampler=sampler, width=4, batch_size=8, **settings, **momentum)
    return Stepper(recipe, dataset, GPU)


@pytest.mark.parametrize(("name", "accumulator", "sampler"), SETTINGS)
def test_a_step_stays_on_the_gpu_and_never_waits_for_it(pretended, name, accumulator, sampler):
    """All of it but torch's own backward pass, which needs a GPU. The address of a tensor is none, and warns."""
    training = stepper(name, accumulator=accumulator, sampler=sampler)
    for batch in training.batches():
        loss, hits = training._loss(batch)
        for p in training.model.parameters():
            p.grad = torch.empty_like(p)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            training.move()
        state = dict(training.state())
        assert {x.device.type for x in (loss, hits, *state.values())} == {"cuda"}
    assert training.steps == 3 and len(state) > 60


def test_what_waits_and_what_mixes_devices_would_be_found(pretended):
    x = torch.zeros(3)
    with pytest.raises(DataDependentOutputException):
        x.sum().item()
    with pytest.raises(RuntimeError, match="device"):
        x + torch.zeros(3, device="cpu")
