"""Training on a GPU: resumes in the same bits, learns compiled as it does eager, and never waits in an epoch."""

import dataclasses

import pytest
import torch
from tqdm.auto import tqdm

from lpsgld.bnn.training import loop
from lpsgld.bnn.training.recipes import RECIPES
from lpsgld.bnn.training.runs import Run
from lpsgld.bnn.training.stepping import Stepper

RESNET = RECIPES["train_bfp"].override(dataset="digits", model="resnet10", width=8, epochs=4, samples=2)
EITHER = pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
pytestmark = pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")


def train(recipe, out, dataset, device, **options) -> Run:
    return loop.train(recipe, out, dataset=dataset, progress=False, device=device.type, **options)


def sample_bytes(run: Run) -> list[bytes]:
    return [path.read_bytes() for path in run.samples]


@pytest.mark.parametrize("fields", [{}, {"accumulator": "full", "weight": "fixed(8,8)", "grad": "fixed(8,8)"}])
@EITHER
def test_short_calls_end_in_the_bits_of_one_long_run(tmp_path, digits, device, compile, fields):
    recipe = RESNET.override(**fields)
    whole = train(recipe, tmp_path / "whole", digits, device, compile=compile)
    for _ in range(4):
        parts = train(recipe, tmp_path / "parts", digits, device, compile=compile, time_limit=0)
    assert whole.finished and parts.finished
    assert sample_bytes(parts) == sample_bytes(whole)
    assert [row["train_loss"] for row in parts.history] == [row["train_loss"] for row in whole.history]


@EITHER
def test_it_learns(tmp_path, digits, device, compile):
    run = train(RESNET.override(epochs=10), tmp_path, digits, device, compile=compile)
    assert run.history[-1]["test_error"] < 0.3  # chance is 0.9
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"] / 2


def test_a_compiled_gradient_equals_the_eager_one(digits, device):
    """Full precision leaves no randomness; float32 sums in another order."""
    recipe = RECIPES["cifar10_sgd_float32"].override(dataset="digits", model="resnet10", width=8)
    gradients = []
    for compile in (False, True):
        torch.manual_seed(0)
        stepper = Stepper(recipe, digits, device, compile)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            loss, hits = stepper._loss(torch.arange(100, device=device))
            loss.backward()
        gradients.append([loss, hits, *(p.grad for p in stepper.model.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-4)


@EITHER
@pytest.mark.parametrize("accumulator", ["full", "vc"])
def test_the_host_does_not_wait_in_an_epoch(tmp_path, digits, device, compile, accumulator):
    recipe = RESNET.override(accumulator=accumulator)
    shifted = dataclasses.replace(digits, pad=1, flip=True)
    trainer = loop._Trainer(Run(tmp_path, recipe, 0, {}, {}, []), shifted, device, compile)
    trainer._steps(1, tqdm(disable=True))  # compiles, and allocates
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sums, seen, _ = trainer._steps(2, tqdm(disable=True))
        with pytest.raises(RuntimeError, match="synchroniz"):
            sums.tolist()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert seen == 500 and torch.isfinite(sums).all()


def test_a_step_size_is_not_a_program(digits, device):
    from torch._dynamo.utils import counters

    counters.clear()
    stepper = Stepper(RESNET, digits, device, compile=True)
    for multiplier in (1.0, 0.8, 0.6):
        for size in (128, 116):
            stepper.gradient(torch.arange(size, device=device), multiplier)
            stepper.move()
    assert counters["stats"]["unique_graphs"] == 3 and not counters["graph_break"]
