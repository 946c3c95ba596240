"""What a machine says to the counts of `footprint.py` and `roofline.py`: memory of a process, a file, and the clock.

`python -m lpsgld.bnn.costs.meters RECIPE` is the process whose memory is looked at; see `process_memory`.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from torch import nn

from lpsgld.bnn.costs import integers, timing
from lpsgld.bnn.costs.footprint import CIFAR
from lpsgld.bnn.costs.roofline import Machine
from lpsgld.bnn.devices import device_name, pick_device, seeded
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.bnn.training.stepping import make_optimizer
from lpsgld.storage import save_sample

ImageShape = tuple[int, int, int]


def process_memory(
    recipe: Recipe, image_shape: ImageShape = CIFAR[0], classes: int = CIFAR[1], device: str = "auto"
) -> dict[str, int]:
    """Bytes by which a fresh process grows: weights, copy, activations, gradients, as in `costs.Memory`.

    It builds the recipe's network and its optimizer, goes forward and, after a look at its resident memory (on a GPU:
    at what is allocated there), backward. Small leftovers of other libraries count too: take a network whose parts
    have tens of megabytes. Raises RuntimeError with the process's own words if it fails.
    """
    arguments = [recipe.to_json(), json.dumps([list(image_shape), classes, device])]
    # large blocks then come from the system one by one and go back at once: what is resident is what is held (glibc)
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", __name__, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"the process that measures memory failed: {result.stderr.strip() or result.returncode}")
    return json.loads(result.stdout)


def _grow(recipe: Recipe, image_shape: ImageShape, classes: int, device: torch.device) -> dict[str, int]:
    found, reading = {}, _resident(device)

    def note(part: str) -> None:
        nonlocal reading
        gc.collect()
        before, reading = reading, _resident(device)
        found[part] = reading - before

    model = recipe.build_model(image_shape, classes).to(device)
    note("weights")
    optimizer = make_optimizer(recipe, model, num_data=50_000)  # holds the copy while we look
    note("copy")
    images = torch.randn(recipe.batch_size, *image_shape, device=device)
    loss = F.cross_entropy(model(images), torch.zeros(recipe.batch_size, dtype=torch.int64, device=device))
    note("activations")
    loss.backward()
    del loss, images
    note("gradients")
    found["gradients"] += found["activations"]  # which were given back meanwhile
    del optimizer
    return found


def _resident(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss


def sample_file(recipe: Recipe, image_shape: ImageShape = CIFAR[0], classes: int = CIFAR[1]) -> tuple[int, int]:
    """(bytes of one posterior sample's file, bytes of numbers in it): the rest are names, shapes and the recipe."""
    with seeded(torch.device("cpu"), recipe.seed), tempfile.TemporaryDirectory() as folder:
        model = recipe.build_model(image_shape, classes)
        make_optimizer(recipe, model, num_data=1)  # puts the weights onto their grid
        path = Path(folder) / "sample.safetensors"
        save_sample(path, model, recipe.by_name("weight"), recipe.to_dict())
        data = path.read_bytes()
    return len(data), len(data) - 8 - int.from_bytes(data[:8], "little")  # safetensors: length of the header, header


# ---- the clock -------------------------------------------------------------------------------------------------------


def measure_machine(device: str = "auto", *, size: int = 0, megabytes: int = 0, repetitions: int = 7) -> Machine:
    """The bandwidth of a copy and the rates of matrix products on this machine, from the fastest of several rounds.

    size: rows of the square matrices, megabytes: of the copied tensor, which should not fit into a cache; 0 chooses
    for the device.
    """
    where = pick_device(device)
    gpu = where.type == "cuda"
    size, megabytes = size or (8192 if gpu else 1024), megabytes or (1024 if gpu else 128)
    source = torch.zeros(megabytes * 10**6, dtype=torch.int8, device=where)
    target = torch.zeros_like(source)
    codes = torch.randint(-127, 128, (size, size), dtype=torch.int8, device=where)
    wide = codes.float()
    cases: dict[str, Callable[[], object]] = {"copy": lambda: target.copy_(source), "float32": lambda: wide @ wide}
    if not integers.missing(where.type):
        cases["int8"] = lambda: integers.product(codes, codes)
    best = {name: min(seconds) for name, seconds in timing.rounds(cases, repetitions).items()}
    rates = {kind: 2 * size**3 / seconds for kind, seconds in best.items() if kind != "copy"}
    return Machine(device_name(where), bandwidth=2 * source.nbytes / best["copy"], rates=rates)


def copy_seconds(values: int, repetitions: int = 7, device: str = "auto") -> dict[str, list[float]]:
    """Seconds to copy that many numbers in 32 and in 8 bits, in interleaved rounds."""
    where = pick_device(device)
    held = {"32 bits": torch.zeros(values, device=where), "8 bits": torch.zeros(values, dtype=torch.int8, device=where)}
    spare = {name: torch.zeros_like(tensor) for name, tensor in held.items()}
    return timing.rounds({name: lambda n=name: spare[n].copy_(held[n]) for name in held}, repetitions)


def step_seconds(
    recipes: dict[str, Recipe],
    image_shape: ImageShape = CIFAR[0],
    classes: int = CIFAR[1],
    *,
    device: str = "auto",
    repetitions: int = 5,
) -> dict[str, dict[str, list[float]]]:
    """Seconds of a training step by each recipe, in interleaved rounds: of "pass" (forward, backward) and "update"."""
    where = pick_device(device)
    with seeded(where, 0):
        cases: dict[str, Callable[[], object]] = {}
        for name, recipe in recipes.items():
            model = recipe.build_model(image_shape, classes).to(where)
            images = torch.randn(recipe.batch_size, *image_shape, device=where)
            labels = torch.zeros(recipe.batch_size, dtype=torch.int64, device=where)
            cases[f"pass/{name}"] = _forward_and_backward(model, images, labels)
            cases[f"update/{name}"] = make_optimizer(recipe, model, num_data=50_000).step
        seconds = timing.rounds(cases, repetitions)
    return {name: {part: seconds[f"{part}/{name}"] for part in ("pass", "update")} for name in recipes}


def _forward_and_backward(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    def both_ways() -> None:
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()

    return both_ways


def _main(recipe: str, settings: str) -> None:
    image_shape, classes, device = json.loads(settings)
    chosen, where = Recipe.from_json(recipe), pick_device(device)
    _grow(chosen.override(width=4, batch_size=2), tuple(image_shape), classes, where)  # loads what loads late
    print(json.dumps(_grow(chosen, tuple(image_shape), classes, where)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
