"""Where the time of a training step goes: `python -m benchmarks.profile`.

A trace of a few steps, by share. On the CPU the time is that of the operations themselves; on a GPU it is that of their
kernels, and what is left of the wall clock is the GPU waiting (launch gaps).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks import epoch
from lpsgld.bnn.data import arrays
from lpsgld.bnn.devices import device_name, pick_device
from lpsgld.bnn.training import compiling
from lpsgld.bnn.training.recipes import RECIPES
from lpsgld.bnn.training.stepping import Stepper
from lpsgld.text import markdown

# what the name of an operation, or of the nearest one around it, holds
PARTS = {
    "optimizer": ("Optimizer.step",),
    "data and augmentation": ("augment",),
    "quantization": ("_BothWays", "_AnyWay"),
    "convolution": ("convolution", "conv2d"),
    "BatchNorm": ("batch_norm",),
    "compiled: BatchNorm, ReLU, quantization, fused": ("triton_", "CompiledFunction", "Torch-Compiled Region"),
}
OTHER = "other"


def main() -> None:
    """Parse the command line, trace, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description="The shares of a training step.")
    parser.add_argument("--recipe", choices=RECIPES, default="train_bfp", metavar="R", help="default: train_bfp")
    parser.add_argument("--width", type=int, default=64, help="channels of ResNet-18's first stage (default: 64)")
    parser.add_argument("--steps", type=int, default=3, help="in the trace (default: 3)")
    parser.add_argument("--dataset", default="random", help="default: noise of CIFAR-10's shape")
    parser.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda")
    choices = {"auto": "auto", "yes": True, "no": False}
    parser.add_argument("--compile", choices=choices, default="auto", help="see `lpsgld train --help`")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    recipe = RECIPES[arguments.recipe].override(width=arguments.width)
    program = compiling.compiled(choices[arguments.compile], device)
    products = compiling.tf32("auto", recipe, device)
    print(f"{arguments.recipe}, width {arguments.width}, on {device_name(device)}; {program.why}; {products.why}\n")
    images = epoch.images(arguments.dataset, arguments.steps * recipe.batch_size)
    with compiling.convolutions(products.on):
        seconds, wall = trace(Stepper(recipe, images, device, program.on), arguments.steps)
    print(table(seconds, wall, device.type == "cuda"))


def trace(stepper: Stepper, steps: int) -> tuple[dict[str, float], float]:
    """Seconds a step of each part, and on the wall clock, after one step of warming up."""
    batches = stepper.batches()[:steps]
    cuda = stepper.device.type == "cuda"
    _step(stepper, batches[0])
    started = _now(cuda)
    for batch in batches:
        _step(stepper, batch)
    wall = _now(cuda) - started  # without the profiler, which slows the host
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with _augmentation_labelled(not stepper.compiled), profile(activities=activities) as found:
        for batch in batches:
            _step(stepper, batch)
        _now(cuda)
    seconds: dict[str, float] = defaultdict(float)
    for event in found.events():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if event.device_type == torch.autograd.DeviceType.CPU and spent > 0:
            seconds[part(event)] += spent / 1e6 / len(batches)
    return dict(seconds), wall / len(batches)


def part(event: FunctionEvent | None) -> str:
    """The part of the step that an operation belongs to."""
    if event is None:
        return OTHER
    for name, texts in PARTS.items():
        if any(text in event.name for text in texts):
            return name
    return part(event.cpu_parent)


def table(seconds: dict[str, float], wall: float, cuda: bool) -> str:
    """Markdown: the parts, largest first, in milliseconds a step, and their shares (on a GPU, of the wall clock)."""
    busy = sum(seconds.values())
    total = max(wall, busy) if cuda else busy
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    if total > busy:
        parts.append(("waiting (launch gaps), or claimed by no operation", total - busy))
    rows = [(name, f"{1e3 * spent:.2f}", f"{spent / total:.1%}") for name, spent in parts]
    return markdown([*rows, ("a step on the wall clock", f"{1e3 * wall:.2f}", "")], ("part", "ms a step", "share"), 1)


@contextmanager
def _augmentation_labelled(wanted: bool) -> Iterator[None]:
    """Inside, what turns images into a network's input is labelled in traces. A compiled step has it in its program,
    and would be compiled again."""
    originals = {name: getattr(arrays, name) for name in ("augment", "normalize")} if wanted else {}

    def labelled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return record_function("augment")(function)

    for name, function in originals.items():
        setattr(arrays, name, labelled(function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(arrays, name, function)


def _step(stepper: Stepper, batch: Tensor) -> None:
    stepper.gradient(batch)
    stepper.move()


def _now(cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main()
