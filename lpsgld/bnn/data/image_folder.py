"""Image trees: train/<class>/<file> and test/<class>/<file>, in a folder or in an archive, as a `Dataset`.

Decoding tens of thousands of JPEG files takes ten times longer than reading them. So it is done once: the arrays are
kept in the cache folder, under a name that every byte of the files has a part in.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lpsgld.bnn.data import pictures, splits, trees
from lpsgld.bnn.data.arrays import Dataset, DatasetError, channel_statistics
from lpsgld.bnn.data.splits import SPLITS, Found, Kind, Place
from lpsgld.bnn.data.trees import File
from lpsgld.storage import StorageError, load_tensors, save_tensors

_RULES = b"2"  # by which images are found and decoded: what is in the cache by other ones is not used
_COPIES = 4  # of all images in memory, while they are written to the cache and read again
_KIND = Kind("image", pictures.SUFFIXES)


def load(path: Path, cache: Path) -> Dataset:
    """The images of a folder, a .zip or a .tar archive (compressed or not), from the cache if they are there.

    train/ and test/ may lie in one top folder. Images are RGB, or grey if all of them are, see `pictures.decode`. Mean
    and std are those of the training images; training images may be shifted by an eighth of their height and mirrored.
    How many files were used, and how many of which kind were not, is shown. Raises DatasetError with what was found.
    """
    path = splits.existing(path, _KIND)
    # to look into a large archive takes as long as to decode it
    found = splits.found(path, _KIND) if os.path.isdir(path) else None
    key = _key(path, found)
    stored = cache / f"images-{key}.safetensors"
    if not os.path.exists(stored):
        decoded = _decode(path, *found or splits.found(path, _KIND))
        if key != _key(path, found):
            raise DatasetError(f"{path} was changed while it was read. Try again when nobody writes there")
        save_tensors(stored, "image cache", *decoded)
        del decoded
    try:
        tensors, about = load_tensors(stored, "image cache")
    except StorageError as error:
        raise DatasetError(f"{error}. Remove this cache, and the images are decoded again") from None
    mean, std = channel_statistics(tensors["train_images"])
    parts = [tensors[f"{split}_{what}"] for split in SPLITS for what in ("images", "labels")]
    classes, pad = tuple(about["classes"]), parts[0].shape[2] // 8
    dataset = Dataset(f"folder:{path}", *parts, classes, mean, std, pad, flip=True, unused=about["unused"])
    tqdm.write(dataset.told, file=sys.stderr)
    return dataset


def _key(path: Path, found: Found | None) -> str:
    """Changes with every byte that is decoded, not with the place of the tree. found: in a folder."""
    digest = hashlib.sha256(_RULES)
    if found is None:
        with trees.told(path), open(path, "rb") as archive:
            hashlib.file_digest(archive, lambda: digest)
    else:
        digest.update(repr(found[1]).encode())
        for place, file in found[0].items():
            data = file.read()
            digest.update(f"{place!r} {len(data)}".encode() + data)
    return digest.hexdigest()[:16]


# ---- their pixels --------------------------------------------------------------------------------------------------


def _decode(path: Path, used: Mapping[Place, File], unused: Mapping[str, int]) -> tuple[dict[str, Tensor], Any]:
    """Arrays and labels, sorted by class and name, and what the cache tells about them."""
    classes = sorted({name for _, name, _ in used})
    places = {split: sorted(place for place in used if place[0] == split) for split in SPLITS}
    rows = {used[place].parts: (split, row) for split in SPLITS for row, place in enumerate(places[split])}
    images, size, grey = {}, None, True
    files = (file for file in trees.walk(path) if file.parts in rows)
    for file in tqdm(files, f"decode {path.name}", len(rows), unit="image", leave=False, delay=1):
        try:
            pixels = pictures.decode(file.read(), size)
        except pictures.PictureError as error:
            raise DatasetError(f"{path}: {file} {error}") from None
        if size is None:
            height, width = pixels.shape[:2]
            size = (width, height)
            _require_memory(path, len(rows), 3 * height * width)
            images = {split: np.empty((len(places[split]), 3, height, width), np.uint8) for split in SPLITS}
        split, row = rows[file.parts]
        images[split][row] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        grey = grey and pixels.ndim == 2
    tensors = {}
    for split in SPLITS:
        tensors[f"{split}_images"] = torch.from_numpy(images[split][:, : 1 if grey else 3])
        tensors[f"{split}_labels"] = torch.tensor([classes.index(name) for _, name, _ in places[split]])
    return tensors, {"classes": classes, "unused": unused}


def _require_memory(path: Path, images: int, size: int) -> None:
    import psutil

    needed, free = _COPIES * images * size, psutil.virtual_memory().available
    if needed > free:
        raise DatasetError(
            f"{path}: {images} images of {size:,} bytes need {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB "
            f"are free. Give fewer or smaller images"
        )
