"""Low-precision tensors and posterior samples on disk, in the bits that they claim to need.

A tensor on the grid of its format packs into integer codes (int8, int16 above 8 bits, int32 above 16) and the scales
that its blocks share; it unpacks to the identical tensor. On disk, codes of 4 or 6 bits share bytes. A posterior
sample is one safetensors file: packed weights, buffers as they are, format and recipe as JSON. Files are written to a
temporary name and renamed, carry a checksum, and are never pickled. What a training run puts into its folder is told
in `bnn/training/runs.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lpsgld import formats
from lpsgld.files import write_atomically
from lpsgld.formats import AnyFormat, Format, FormatError
from lpsgld.formats.base import integer_type
from lpsgld.text import Mistake

_MARK = "lpsgld"  # metadata key that tells our files from foreign ones
_VERSION = 2
_WHOLE = (8, 16, 32)  # bits of codes that are stored as integers; others share bytes


class StorageError(Mistake, RuntimeError):
    """A file that cannot be read, or a tensor that its format cannot hold."""


# ---- tensors <-> codes -----------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """A tensor in the bits of its format.

    fmt: None is full precision. codes: integers of the tensor's shape (float32 in full precision). scales: what the
    elements of a block share, see `Format.scales`.
    """

    fmt: Format | None
    codes: Tensor
    scales: tuple[Tensor, ...] = ()


def pack(x: Tensor, fmt: AnyFormat) -> Packed:
    """The codes of a float32 tensor that lies on the grid of `fmt`; `unpack` returns the identical tensor.

    fixed(W,F): x·2^F. block(W,k): x/Δ, and log2 Δ of each block. Floating formats: the words of hardware (sign,
    exponent, mantissa). Scaled blocks: these, and the scale of each block. Only fixed and block formats, which have no
    negative zero, return it as 0. Raises StorageError for a value off the grid or out of range, TypeError for another
    dtype than float32.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"pack needs a float32 tensor, but was given {x.dtype}")
    x, fmt = x.detach(), formats.parse(fmt)
    if fmt is None:
        return Packed(None, x.contiguous().clone())
    try:
        return Packed(fmt, *fmt.encode(x))
    except FormatError as error:
        raise StorageError(str(error)) from None


def unpack(packed: Packed) -> Tensor:
    """The float32 tensor that was packed."""
    fmt, codes, scales = packed
    return codes.clone() if fmt is None else fmt.decode(codes, scales)


def squeeze(codes: Tensor, bits: int) -> Tensor:
    """The lowest bits of each code one after the other: uint8 [ceil(n·bits/8)]."""
    held = codes.cpu().flatten().numpy().view(np.uint8).reshape(codes.numel(), codes.element_size())
    every = np.unpackbits(held, axis=1, bitorder="little")
    return torch.from_numpy(np.packbits(every[:, :bits], bitorder="little"))


def spread(squeezed: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """The codes of `squeeze`, their higher bits 0: int8, int16 or int32 of that shape."""
    kind, count = integer_type(bits), math.prod(shape)
    every = np.unpackbits(squeezed.numpy(), count=count * bits, bitorder="little").reshape(count, bits)
    padded = np.pad(every, ((0, 0), (0, 8 * kind.itemsize - bits)))
    return torch.from_numpy(np.packbits(padded, axis=1, bitorder="little").reshape(-1)).view(kind).reshape(tuple(shape))


# ---- posterior samples -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A posterior sample read from disk: `state` for `model.load_state_dict`, the format of its weights (of each
    parameter by name, if they differ), the run's recipe, and what else was told of its origin when it was saved."""

    state: dict[str, Tensor]
    weight: Format | None | dict[str, Format | None]
    recipe: dict[str, Any]
    origin: dict[str, Any]


def save_sample(
    path: str | Path,
    model: nn.Module,
    weight: AnyFormat | Mapping[str, AnyFormat],
    recipe: Mapping[str, Any],
    **origin: Any,
) -> None:
    """Write all that the model's `state_dict` holds to one safetensors file, its parameters packed.

    weight: the format of all parameters, or formats by their names or patterns of these (`formats.of_each`;
    `SGLD.weights(model)` tells them). Full precision is kept as it is, of whatever type; what is tied is
    stored once. recipe, origin: anything that JSON can hold; they come back as `Sample.recipe` and `Sample.origin`.
    Raises StorageError if a parameter is off its grid or the state holds no tensor, FileError if the file cannot be
    written.
    """
    state = model.state_dict(keep_vars=True)
    try:
        weights = formats.of_each(weight, [name for name, value in state.items() if isinstance(value, nn.Parameter)])
    except FormatError as error:
        raise StorageError(str(error)) from None
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}  # of the parameters whose codes share bytes
    types: dict[str, str] = {}  # of the packed parameters that are not float32
    tied: dict[str, str] = {}
    first: dict[Tensor, str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise StorageError(f"{name} is {type(value).__name__}, but a sample holds tensors only")
        if first.setdefault(value, name) != name:
            tied[name] = first[value]
        elif isinstance(value, nn.Parameter):
            fmt = weights[name]
            codes, scales = _codes(name, value.detach(), fmt)
            if fmt is not None and fmt.bits not in _WHOLE:
                shapes[name], codes = list(codes.shape), squeeze(codes, fmt.bits)
            if fmt is not None and value.dtype != torch.float32:
                types[name] = str(value.dtype).removeprefix("torch.")
            tensors[f"codes/{name}"] = codes
            tensors |= {f"scales{i}/{name}": part for i, part in enumerate(scales)}
        else:
            tensors[f"buffer/{name}"] = value.detach().clone()  # some may share memory
    told = _of_all(formats.name, weights if isinstance(weight, Mapping) else weight)
    about = {"weight": told, "recipe": dict(recipe), "shapes": shapes, "origin": origin}
    save_tensors(path, "sample", tensors, about | {"types": types, "tied": tied})


def _of_all(function: Callable[[Any], Any], weight: Any) -> Any:
    """The function of a format, or of each of several by name."""
    return {name: function(fmt) for name, fmt in weight.items()} if isinstance(weight, Mapping) else function(weight)


def _codes(name: str, x: Tensor, fmt: Format | None) -> tuple[Tensor, tuple[Tensor, ...]]:
    if fmt is None:
        return x.clone(), ()
    if not torch.equal(x.float().to(x.dtype), x):
        raise StorageError(f"parameter {name} holds {x.dtype} numbers that are none of the format {fmt.name}")
    try:
        return pack(x.float(), fmt)[1:]
    except StorageError as error:
        raise StorageError(f"parameter {name}: {error}") from None


def load_sample(path: str | Path) -> Sample:
    """The posterior sample in a file of `save_sample`. Raises StorageError for a missing, foreign or damaged file."""
    tensors, meta = load_tensors(path, "sample")
    if lacking := [field for field in ("weight", "shapes", "recipe") if field not in meta]:
        raise StorageError(f"{path} is a sample of another lpsgld: it lacks {', '.join(lacking)}. Draw it again")
    weight, shapes, types = _of_all(formats.parse, meta["weight"]), meta["shapes"], meta.get("types", {})
    state = {}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        if kind == "buffer":
            state[name] = tensor
        elif kind == "codes":
            fmt = weight.get(name) if isinstance(weight, dict) else weight
            codes = spread(tensor, fmt.bits, shapes[name]) if name in shapes else tensor
            scales = [tensors[k] for k in sorted(tensors) if k.startswith("scales") and k.split("/", 1)[1] == name]
            state[name] = unpack(Packed(fmt, codes, tuple(scales)))
            if name in types:
                state[name] = state[name].to(getattr(torch, types[name]))
    state |= {name: state[other] for name, other in meta.get("tied", {}).items()}
    return Sample(state, weight, meta["recipe"], meta.get("origin", {}))


# ---- files -----------------------------------------------------------------------------------------------------


def save_tensors(path: str | Path, kind: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to one safetensors file with a checksum, all or nothing.

    kind: what the file is ("sample", "checkpoint", ...); `load_tensors` refuses another kind. Raises FileError.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"kind": kind, "version": _VERSION, **meta}
    about["sha256"] = _digest(about, held)
    # one entry: safetensors writes several in a random order, and equal samples should be equal files
    write_atomically(path, safetensors.torch.save(held, {_MARK: json.dumps(about, sort_keys=True)}))


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file of `save_tensors`. Raises StorageError for a missing, foreign or damaged file.

    A file that a training run replaces meanwhile is read again: its tensors are opened by name, after its header.
    """
    path = Path(path)
    while True:
        before = _version(path)
        try:
            return _loaded(path, kind)
        except StorageError:
            if before == _version(path):
                raise


def _version(path: Path) -> tuple[int, int] | None:
    """What tells a file from the one that takes its place; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _loaded(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise StorageError(f"{path}: there is no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
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
