"""Low-precision tensors and posterior samples on disk, in the bits that they claim to need.

A tensor on the grid of its format packs into integer codes (int8, int16 above 8 bits, int32 above 16) and, for block
formats, one exponent a block; it unpacks to the identical tensor. A posterior sample is one safetensors file: packed
weights, buffers as they are, format and recipe as JSON. Files are written to a temporary name and renamed, carry a
checksum, and are never pickled. What a training run puts into its folder is told in `bnn/training/runs.py`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from qtorch import BlockFloatingPoint, FloatingPoint
from torch import Tensor, nn

from lpsgld import formats
from lpsgld.formats import Format

_MARK = "lpsgld"  # metadata key that tells our files from foreign ones
_VERSION = 1


class StorageError(RuntimeError):
    """A file that cannot be read or written, or a tensor that its format cannot hold."""


# ---- tensors <-> codes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """A tensor in the bits of its format.

    codes: integers of the tensor's shape (float32 where fmt is None). exponents: log2 of the gap of each block, [1]
    or [size of the block axis], block formats only.
    """

    fmt: Format
    codes: Tensor
    exponents: Tensor | None = None


def pack(x: Tensor, fmt: Format) -> Packed:
    """The codes of a float32 tensor that lies on the grid of `fmt`.

    fixed(W,F): x·2^F. block(W,k): x/Δ and log2 Δ, with the Δ of the block's largest value. float(E,M): the format's
    own bits (biased exponent, mantissa; a negative x as the complement). `unpack` returns the identical tensor;
    only fixed and block formats, which have no negative zero, return it as 0.

    Raises StorageError for a value off the grid or out of range, TypeError for another dtype than float32.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"pack needs a float32 tensor, but was given {x.dtype}")
    x = x.detach()
    if fmt is None:
        return Packed(None, x.contiguous().clone())
    g = formats.grid(fmt, x)
    units = x / g.gap
    if not bool(((units == units.round()) & (units >= g.low) & (units <= g.high)).all()):
        raise StorageError(
            f"{_first_off_grid(x, units, g)} is not a number of the format {formats.name(fmt)}: "
            "round the tensor with lpsgld.quantize first"
        )
    if isinstance(fmt, FloatingPoint):
        return Packed(fmt, _float_codes(x, units, fmt).to(integer_type(1 + fmt.exp + fmt.man)))
    limit = 2.0 ** (fmt.wl - 1)
    if not bool((units.abs() <= limit).all()):  # only an unclamped format gets here
        raise StorageError(f"the tensor holds a value beyond the {fmt.wl} bits of {formats.name(fmt)}")
    codes = units.to(integer_type(fmt.wl))
    return Packed(fmt, codes, _gap_exponents(g.gap) if isinstance(fmt, BlockFloatingPoint) else None)


def unpack(packed: Packed) -> Tensor:
    """The float32 tensor that was packed."""
    fmt, codes = packed.fmt, packed.codes
    if fmt is None:
        return codes.clone()
    if isinstance(fmt, FloatingPoint):
        return _float_values(codes.int(), fmt)
    if not isinstance(fmt, BlockFloatingPoint):
        return codes.float() * 2.0**-fmt.fl
    shape = [1] * codes.dim()
    if fmt.dim >= 0 and codes.dim():
        shape[fmt.dim] = packed.exponents.numel()
    # float64: 2^-149 times a code is exact there whatever the device does with float32 subnormals
    return torch.ldexp(codes.double(), packed.exponents.int().reshape(shape)).float()


def integer_type(bits: int) -> torch.dtype:
    """The smallest integers that hold codes of so many bits."""
    return torch.int8 if bits <= 8 else torch.int16 if bits <= 16 else torch.int32


def _gap_exponents(gap: Tensor) -> Tensor:
    e = formats.exponent(gap).flatten()
    return e.to(torch.int8 if e.numel() == 0 or int(e.min()) >= -128 else torch.int16)


def _float_codes(x: Tensor, units: Tensor, fmt: FloatingPoint) -> Tensor:
    lowest = 2 - 2 ** (fmt.exp - 1)
    e = formats.exponent(x).masked_fill(x == 0, lowest).clamp(min=lowest)
    # |units| of a normal number holds the hidden bit, which carries into the exponent field: 0 stays for subnormals
    word = ((e - lowest) << fmt.man) + units.abs().int()
    return torch.where(torch.signbit(x), -1 - word, word)


def _float_values(codes: Tensor, fmt: FloatingPoint) -> Tensor:
    word = torch.where(codes < 0, -1 - codes, codes)
    field, mantissa = word >> fmt.man, word & (2**fmt.man - 1)
    units = mantissa + (field > 0) * 2**fmt.man
    e = (field - 1).clamp(min=0) + 2 - 2 ** (fmt.exp - 1) - fmt.man
    size = torch.ldexp(units.double(), e).float()
    return torch.where(codes < 0, -size, size)


def _first_off_grid(x: Tensor, units: Tensor, g: formats.Grid) -> str:
    bad = ~((units == units.round()) & (units >= g.low) & (units <= g.high))
    index = tuple(bad.nonzero()[0].tolist())
    return f"{x[index].item()!r} at index {index}"


# ---- posterior samples -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A posterior sample read from disk: `state` for `model.load_state_dict`, its weight format, the run's recipe."""

    state: dict[str, Tensor]
    weight: Format
    recipe: dict[str, Any]


def save_sample(path: str | Path, model: nn.Module, weight: Format, recipe: Mapping[str, Any]) -> None:
    """Write the model's parameters, packed in the format `weight`, and its buffers to one safetensors file.

    recipe: anything that JSON can hold; it comes back as `Sample.recipe`. Raises StorageError if a parameter is off
    its grid, or if the file cannot be written.
    """
    tensors = {f"buffer/{name}": buffer.detach() for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        try:
            packed = pack(parameter, weight)
        except StorageError as error:
            raise StorageError(f"parameter {name}: {error}") from None
        tensors[f"codes/{name}"] = packed.codes
        if packed.exponents is not None:
            tensors[f"exponents/{name}"] = packed.exponents
    save_tensors(path, "sample", tensors, {"weight": formats.name(weight), "recipe": dict(recipe)})


def load_sample(path: str | Path) -> Sample:
    """The posterior sample in a file of `save_sample`. Raises StorageError for a missing, foreign or damaged file."""
    tensors, meta = load_tensors(path, "sample")
    weight = formats.parse(meta["weight"])
    state = {}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        if kind == "buffer":
            state[name] = tensor
        elif kind == "codes":
            state[name] = unpack(Packed(weight, tensor, tensors.get(f"exponents/{name}")))
    return Sample(state, weight, meta["recipe"])


# ---- files -----------------------------------------------------------------------------------------------------


def save_tensors(path: str | Path, kind: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to one safetensors file with a checksum, all or nothing.

    kind: what the file is ("sample", "checkpoint", ...); `load_tensors` refuses another kind.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"kind": kind, "version": _VERSION, **meta}
    about["sha256"] = _digest(about, held)
    # one entry: safetensors writes several in a random order, and equal samples should be equal files
    write_atomically(path, safetensors.torch.save(held, {_MARK: json.dumps(about, sort_keys=True)}))


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file of `save_tensors`. Raises StorageError for a missing, foreign or damaged file."""
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise StorageError(f"{path} is truncated, or no safetensors file: {error}") from None
    if _MARK not in metadata:
        raise StorageError(f"{path} is a safetensors file, but not one written by lpsgld")
    meta = _parsed(metadata[_MARK])
    if meta.pop("sha256", None) != _digest(meta, tensors):
        raise StorageError(f"{path} was changed after it was written: its checksum does not match")
    if (meta["kind"], meta["version"]) != (kind, _VERSION):
        raise StorageError(
            f"{path} holds a {meta['kind']} (version {meta['version']}), but a {kind} (version {_VERSION}) is needed"
        )
    return tensors, meta


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a whole file or nothing: to a temporary name beside it, to the disk, then renamed.

    Raises StorageError that names the folder where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder may not even be there; the first error is the one to tell
            temporary.unlink()
        raise StorageError(f"cannot write {path}: {_advice(error, path.parent, len(data))}") from error


def _advice(error: OSError, folder: Path, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full. Free {size / 1e6:.1f} MB or more there, or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{folder} is read-only for this user. Choose another folder, or change its permissions"
    return str(error)


def _parsed(text: str) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except ValueError:
        return {}  # has no checksum, and fails by that
    return meta if isinstance(meta, dict) else {}


def _digest(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
