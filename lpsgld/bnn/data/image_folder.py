"""Image trees: train/<class>/<file> and test/<class>/<file>, in a folder or in an archive, as a `Dataset`.

Decoding tens of thousands of JPEG files takes ten times longer than reading them. So it is done once: the arrays are
kept in the cache folder, under a name that every byte of the files has a part in.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lpsgld.bnn.data import pictures, trees
from lpsgld.bnn.data.arrays import Dataset, DatasetError, channel_statistics
from lpsgld.bnn.data.trees import File, printable
from lpsgld.storage import StorageError, load_tensors, save_tensors

_RULES = b"2"  # by which images are found and decoded: what is in the cache by other ones is not used
_COPIES = 4  # of all images in memory, while they are written to the cache and read again
_SPLITS = ("train", "test")
_LAYOUT = "expected are images in train/<class>/ and test/<class>/, the same classes in both"
_HIDDEN = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")  # and what begins with a dot

Place = tuple[str, str, str]  # split, class, file name
Found = tuple[dict[Place, File], dict[str, int]]  # the images, and how many files of each kind are not used


def load(path: Path, cache: Path) -> Dataset:
    """The images of a folder, a .zip or a .tar archive (compressed or not), from the cache if they are there.

    train/ and test/ may lie in one top folder. Images are RGB, or grey if all of them are, see `pictures.decode`. Mean
    and std are those of the training images; training images may be shifted by an eighth of their height and mirrored.
    How many files were used, and how many of which kind were not, is shown. Raises DatasetError with what was found.
    """
    path = path.absolute()
    if printable(str(path)) != str(path):
        raise DatasetError(f"{printable(str(path))} is no UTF-8, as the name of a dataset must be. Rename it")
    if not (os.path.isdir(path) or os.path.isfile(path)):
        raise DatasetError(f"{path}: there is no such folder or archive; {_LAYOUT}")
    found = _found(path) if os.path.isdir(path) else None  # to look into a large archive takes as long as to decode it
    key = _key(path, found)
    stored = cache / f"images-{key}.safetensors"
    if not os.path.exists(stored):
        decoded = _decode(path, *found or _found(path))
        if key != _key(path, found):
            raise DatasetError(f"{path} was changed while it was read. Try again when nobody writes there")
        save_tensors(stored, "image cache", *decoded)
        del decoded
    try:
        tensors, about = load_tensors(stored, "image cache")
    except StorageError as error:
        raise DatasetError(f"{error}. Remove this cache, and the images are decoded again") from None
    mean, std = channel_statistics(tensors["train_images"])
    parts = [tensors[f"{split}_{what}"] for split in _SPLITS for what in ("images", "labels")]
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


# ---- which files ---------------------------------------------------------------------------------------------------


def _found(path: Path) -> Found:
    """What there is. Raises DatasetError where it is doubtful whether or how a file should be used."""
    images, unused = [], Counter()
    for file in trees.walk(path):
        suffix = os.path.splitext(file.parts[-1])[1].lower()
        if any(name.startswith(".") or name in _HIDDEN for name in file.parts):
            unused["hidden"] += 1
        elif file.obstacle or suffix in pictures.SUFFIXES:
            images.append(file)
        else:
            unused[printable(suffix) or "without suffix"] += 1
    top = _top(path, images)
    used, misplaced = {}, []
    for file in images:
        place = file.parts[len(top) :]
        if file.parts[: len(top)] != top or place[0] not in _SPLITS:
            unused["outside train/ and test/"] += 1
        elif file.obstacle:
            raise DatasetError(f"{path}: {file} {file.obstacle}. Remove or replace it")
        elif len(place) != 3:
            misplaced.append(file)
        elif place in used:
            raise DatasetError(f"{path} holds {file} twice. Keep one of them")
        else:
            used[place] = file
    _require_classes(path, used)
    if misplaced:
        others = f", nor do {len(misplaced) - 1} more images" if len(misplaced) > 1 else ""
        where = " or ".join(f"{split}/<class>/" for split in _SPLITS)
        raise DatasetError(f"{path}: {misplaced[0]} does not lie directly in {where}{others}. Move or remove them")
    return used, dict(sorted(unused.items()))


def _top(path: Path, images: list[File]) -> tuple[str, ...]:
    """The folder that train/ and test/ lie in: none, or the only one."""
    if {file.parts[0] for file in images if len(file.parts) == 3}.issuperset(_SPLITS):
        return ()
    tops = sorted({file.parts[0] for file in images if len(file.parts) == 4 and file.parts[1] in _SPLITS})
    if len(tops) > 1:
        names = ", ".join(map(printable, tops))
        raise DatasetError(f"{path} holds several trees of images: {names}. Keep one of them")
    return tuple(tops)


def _require_classes(path: Path, used: Mapping[Place, File]) -> None:
    found = {split: {name for of, name, _ in used if of == split} for split in _SPLITS}
    for split in _SPLITS:
        if not found[split]:
            raise DatasetError(f"{path} has no images in {split}/<class>/; {_LAYOUT} ({', '.join(pictures.SUFFIXES)})")
    if found["train"] != found["test"]:
        only = [sorted(map(printable, found[split] - found[other])) for split, other in (_SPLITS, _SPLITS[::-1])]
        train, test = (", ".join(names) or "none" for names in only)
        raise DatasetError(f"{path}: classes only in train: {train}; only in test: {test}; {_LAYOUT}")
    for name in map(printable, found["train"] - set(map(printable, found["train"]))):
        raise DatasetError(f"{path}: the name of the class {name} is no UTF-8. Rename its folders")


# ---- their pixels --------------------------------------------------------------------------------------------------


def _decode(path: Path, used: Mapping[Place, File], unused: Mapping[str, int]) -> tuple[dict[str, Tensor], Any]:
    """Arrays and labels, sorted by class and name, and what the cache tells about them."""
    classes = sorted({name for _, name, _ in used})
    places = {split: sorted(place for place in used if place[0] == split) for split in _SPLITS}
    rows = {used[place].parts: (split, row) for split in _SPLITS for row, place in enumerate(places[split])}
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
            images = {split: np.empty((len(places[split]), 3, height, width), np.uint8) for split in _SPLITS}
        split, row = rows[file.parts]
        images[split][row] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        grey = grey and pixels.ndim == 2
    tensors = {}
    for split in _SPLITS:
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
