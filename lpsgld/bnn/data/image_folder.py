"""Image trees: train/<class>/<file> and test/<class>/<file>, in a folder or in an archive, as a `Dataset`.

Decoding tens of thousands of JPEG files takes longer than an epoch, so it is done once: the arrays are kept in the
cache folder under a name that changes with the files. Archives are read in memory; nothing is unpacked to disk.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lpsgld.bnn.data.arrays import Dataset, DatasetError, channel_statistics
from lpsgld.storage import StorageError, load_tensors, save_tensors

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
_SPLITS = ("train", "test")
_LAYOUT = "expected are images in train/<class>/ and test/<class>/, the same classes in both"

File = tuple[str, str, str]  # split, class, file name


def load(path: Path, cache: Path) -> Dataset:
    """The images of a folder, a .zip or a .tar archive (compressed or not), from the cache if they are there.

    Images are RGB, or grey if all of them are. Mean and std are those of the training images; training images may
    be shifted by an eighth of their height and mirrored. Raises DatasetError with what was found.
    """
    path = path.absolute()
    if not path.exists():
        raise DatasetError(f"{path}: there is no such folder or archive; {_LAYOUT}")
    stored = cache / f"images-{_key(path)}.safetensors"
    if not stored.exists():
        tensors, classes = _decode(path)
        save_tensors(stored, "image cache", tensors, {"classes": classes, "source": str(path)})
    try:
        tensors, meta = load_tensors(stored, "image cache")
    except StorageError as error:
        raise DatasetError(f"{error}. Remove this cache, and the images are decoded again") from None
    mean, std = channel_statistics(tensors["train_images"])
    parts = [tensors[f"{split}_{what}"] for split in _SPLITS for what in ("images", "labels")]
    height = parts[0].shape[2]
    return Dataset(f"folder:{path}", *parts, tuple(meta["classes"]), mean, std, pad=height // 8, flip=True)


def _key(path: Path) -> str:
    """Changes when a file is added, removed or replaced."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest = hashlib.sha256(str(path).encode())
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _decode(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    pixels: dict[File, np.ndarray] = {}
    modes: dict[str, bool] = {}
    for file, data in tqdm(_files(path), desc=f"decode {path.name}", unit="image", leave=False, delay=1):
        pixels[file], modes[file[0]] = _pixels(path, file, data, modes.get(file[0], True))
    classes = _classes(path, pixels)
    _require_one_size(path, pixels)
    grey = all(modes.values())
    tensors = {}
    for split in _SPLITS:
        chosen = sorted(file for file in pixels if file[0] == split)
        images = np.stack([pixels[file] for file in chosen]).transpose(0, 3, 1, 2)
        tensors[f"{split}_images"] = torch.from_numpy(np.ascontiguousarray(images[:, :1] if grey else images))
        tensors[f"{split}_labels"] = torch.tensor([classes.index(file[1]) for file in chosen])
    return tensors, classes


def _pixels(path: Path, file: File, data: bytes, grey_so_far: bool) -> tuple[np.ndarray, bool]:
    from PIL import Image, UnidentifiedImageError  # training on other images does without

    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB")), grey_so_far and image.mode in ("L", "1")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = "no image format is known for it" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DatasetError(f"{path}: {'/'.join(file)} is broken ({reason}). Replace or remove it") from None


def _classes(path: Path, files: dict[File, np.ndarray]) -> list[str]:
    found = {split: sorted({file[1] for file in files if file[0] == split}) for split in _SPLITS}
    for split in _SPLITS:
        if not found[split]:
            raise DatasetError(f"{path} has no images in {split}/<class>/; {_LAYOUT} ({', '.join(_IMAGES)})")
    if found["train"] != found["test"]:
        only = {split: sorted(set(found[split]) - set(found[other])) for split, other in (_SPLITS, _SPLITS[::-1])}
        raise DatasetError(
            f"{path}: classes only in train: {', '.join(only['train']) or 'none'}; "
            f"only in test: {', '.join(only['test']) or 'none'}; {_LAYOUT}"
        )
    return found["train"]


def _require_one_size(path: Path, pixels: dict[File, np.ndarray]) -> None:
    first = next(iter(pixels))
    for file, image in pixels.items():
        if image.shape != pixels[first].shape:
            sizes = [f"{'/'.join(f)} is {pixels[f].shape[1]}x{pixels[f].shape[0]}" for f in (first, file)]
            raise DatasetError(f"{path}: {sizes[0]}, but {sizes[1]} pixels; all images must have one size")


# ---- the three kinds of tree -----------------------------------------------------------------------------------


def _files(path: Path) -> Iterator[tuple[File, bytes]]:
    """Every image as (split, class, name) and its bytes, in the order of the folder or archive."""
    if path.is_dir():
        return _in_folder(path)
    if zipfile.is_zipfile(path):
        return _in_zip(path)
    if ".tar" in path.suffixes:
        return _in_tar(path)
    raise DatasetError(f"{path} is neither a folder nor a readable .zip or .tar archive (.tar.xz, .tar.gz, .tar.bz2)")


def _in_folder(path: Path) -> Iterator[tuple[File, bytes]]:
    for entry in sorted(path.glob("*/*/*")):
        file = _as_image(str(entry.relative_to(path)))
        if file and entry.is_file():
            yield file, entry.read_bytes()


def _in_zip(path: Path) -> Iterator[tuple[File, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if file := _as_image(name):
                    yield file, archive.read(name)
    except (zipfile.BadZipFile, zlib.error, OSError) as error:
        raise DatasetError(f"{path} is damaged or truncated: {error}") from None


def _in_tar(path: Path) -> Iterator[tuple[File, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:  # in order: seeking back would decompress from the start again
                if member.isfile() and (file := _as_image(member.name)):
                    yield file, archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DatasetError(f"{path} is damaged or truncated: {error}") from None


def _as_image(name: str) -> File | None:
    """(split, class, file) of a path that ends so, also inside one top folder; None for anything else."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = path.parts[1:] if path.parts and path.parts[0] == "." else path.parts
    if len(parts) not in (3, 4) or parts[-3] not in _SPLITS or parts[-1].startswith("."):
        return None
    return parts[-3:] if path.suffix.lower() in _IMAGES else None
