"""Where a network computes, and where its random numbers come from."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import torch

from lpsgld.text import Mistake


class DeviceError(Mistake, ValueError):
    """A device that does not exist, or not here."""


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of that name, a CPU or a CUDA GPU; "auto" is the GPU if there is one, else the CPU.

    Raises DeviceError for any other.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise DeviceError(f'there is no device {name!r}: use "auto", "cpu", "cuda" or "cuda:0"') from None
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise DeviceError(f'the device is {str(name)!r}, but lpsgld computes on "cpu", "cuda", "cuda:1", ... or "auto"')
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(f'the device is {name!r}, but torch sees {count} CUDA devices here: use "auto" or "cpu"')
    return device


def device_name(device: torch.device) -> str:
    """What the hardware calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def provenance(device: torch.device) -> dict[str, str]:
    """Versions, hardware and the time, which a result that is computed now should remember."""
    return {
        "lpsgld": version("lpsgld"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(device),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@contextmanager
def plain_torch(device: torch.device) -> Iterator[None]:
    """torch as this library computes with it, whatever its caller has switched on: gradients, no autocast on that
    device, float32, and tensors on the CPU unless another device is named."""
    dtype, elsewhere = torch.get_default_dtype(), torch.get_default_device().type != "cpu"
    at_home = torch.device("cpu") if elsewhere else nullcontext()
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False), at_home:
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """torch's default generators start from `key` (whole numbers ≥ 0) inside, and are put back afterwards.

    Different keys give independent streams. A unit of work that is seeded by its own key (an epoch, a prediction)
    can be repeated without remembering any generator's state.
    """
    high, low = np.random.SeedSequence(key).generate_state(2, np.uint32)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((int(high) << 31) ^ int(low))
        yield
