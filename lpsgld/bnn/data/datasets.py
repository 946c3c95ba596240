"""Datasets by name: images (digits, MNIST, CIFAR, trees of files), texts, and what functions of yours make."""

from __future__ import annotations

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lpsgld.bnn import own
from lpsgld.bnn.data import image_folder, prose, texts
from lpsgld.bnn.data.arrays import Data, Dataset, DatasetError, channel_statistics
from lpsgld.bnn.data.trees import MOST_BYTES
from lpsgld.text import one_of

FOLDER, TEXTS = PREFIXES = "folder:", "aclimdb:"  # of names that end in a path
NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "prose")


def default_cache() -> Path:
    """Where downloads and decoded images are kept: $LPSGLD_CACHE, or lpsgld in the user's cache folder.

    Raises DatasetError if the user has no home.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(os.environ.get("LPSGLD_CACHE") or Path(base) / "lpsgld")


def load(name: str, cache: str | Path | None = None) -> Data:
    """The dataset of that name.

    "digits"         1,797 handwritten digits of 8x8 pixels, inside scikit-learn: needs no download
    "mnist", "fashion_mnist", "cifar10", "cifar100"
                     downloaded once into the cache folder
    "folder:PATH"    any images in train/<class>/ and test/<class>/, in a folder, a .zip or a .tar(.xz|.gz|.bz2)
    "prose"          this course's own text, inside the package: the next character, see `prose.py`
    "aclimdb:PATH"   film reviews, good or bad: the public archive aclImdb_v1.tar.gz or its folder, or any texts in
                     train/<class>/ and test/<class>/, see `texts.py`
    "package.module:function"
                     what a function of yours returns: a `Dataset` of images or `Tensors` of any kind

    cache: folder for downloads and decoded images, `default_cache()` if None. Raises DatasetError.
    """
    require_name(name, DatasetError)
    if name == "digits":
        return _digits()
    if name == "prose":
        return prose.load()
    if name.startswith(TEXTS):
        return texts.load(_expanded(name.removeprefix(TEXTS)))
    if own.is_name(name) and not name.startswith(FOLDER):
        return _own(name)
    cache = _expanded(cache) if cache is not None else default_cache()
    if name.startswith(FOLDER):
        return image_folder.load(_expanded(name.removeprefix(FOLDER)), cache)
    if name in ("mnist", "fashion_mnist"):
        return _mnist(name, cache)
    return _cifar(name, cache)


def require_name(name: str, error: type[Exception]) -> None:
    """Raises `error`, with the nearest name, unless `load` knows the name."""
    if not name.startswith(PREFIXES) and not own.is_name(name):
        one_of("dataset", name, NAMES, error, f', "{FOLDER}PATH", "{TEXTS}PATH", or "package.module:function"')
    if name in PREFIXES:
        raise error(f'"{name}" names no folder: write "{name}PATH", or "{name}." for this one')


def _own(name: str) -> Data:
    function = own.find("dataset", name, DatasetError)
    if own.asks(function):
        raise DatasetError(f"dataset {name!r} asks for an argument, but is called with none: give that a default")
    data = function()
    if not isinstance(data, Data):
        raise DatasetError(
            f"dataset {name!r} returned {type(data).__name__}, but must return a Dataset or Tensors of "
            "lpsgld.bnn.data.arrays"
        )
    return data


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, or one without a home
        advice = "write the whole path, or set HOME or, for the cache, LPSGLD_CACHE"
        raise DatasetError(f"{path}: this machine does not know the home folder of that user; {advice}") from None


# ---- the named datasets ----------------------------------------------------------------------------------------


def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # pixels are 0 to 16
    split = train_test_split(
        images, bunch.target.astype(np.int64), test_size=360, random_state=0, stratify=bunch.target
    )
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(np.ascontiguousarray(a)) for a in split)
    mean, std = channel_statistics(train_images)
    classes = tuple(str(c) for c in bunch.target_names)
    return Dataset("digits", train_images, train_labels, test_images, test_labels, classes, mean, std)


def _mnist(name: str, cache: Path) -> Dataset:
    from torchvision.datasets import MNIST, FashionMNIST

    kind = {"mnist": MNIST, "fashion_mnist": FashionMNIST}[name]
    folder = cache / kind.__name__ / "raw"
    packed = dict(kind.resources)  # names, and MD5 sums; torchvision unpacks what it downloads, without the .gz
    missing = {file: md5 for file, md5 in packed.items() if not (folder / file.removesuffix(".gz")).exists()}
    _fetch(name, missing, kind.mirrors, folder)
    images, labels, *test = (_idx(folder / (file if file in missing else file.removesuffix(".gz"))) for file in packed)
    parts = [images[:, None], labels, test[0][:, None], test[1]]
    return _dataset(name, parts, (1, 28, 28), kind.classes, folder)


def _idx(path: Path) -> np.ndarray:
    """The bytes in a file of MNIST's format, perhaps packed: 0, 0, 8, the number of sizes, the sizes, the bytes."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _damaged(path, f"more than {MOST_BYTES:,} bytes")
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from None
    head = 4 + 4 * data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 4
    shape = [int.from_bytes(data[i : i + 4]) for i in range(4, head, 4)]
    if not shape or len(data) != head + math.prod(shape):
        raise _damaged(path, f"{len(data)} bytes are not {' x '.join(map(str, shape)) or 'a header'}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


# The binary archives, not the usual ones for Python: those are pickles, which run whatever code they hold.
# Per dataset: archive, its MD5 (as published beside it), training files, test file, bytes of label before the
# pixels (the last one counts), file with the names of the classes.
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
_CIFAR = {
    "cifar10": (
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        "cifar-10-batches-bin/test_batch.bin",
        1,
        "cifar-10-batches-bin/batches.meta.txt",
    ),
    "cifar100": (
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        ["cifar-100-binary/train.bin"],
        "cifar-100-binary/test.bin",
        2,
        "cifar-100-binary/fine_label_names.txt",
    ),
}
_PAPER = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}


def _cifar(name: str, cache: Path) -> Dataset:
    archive, md5, train_files, test_file, label_bytes, names_file = _CIFAR[name]
    _fetch(name, {archive: md5}, [_CIFAR_URL], cache)
    try:
        with tarfile.open(cache / archive) as tar:
            read = {file: tar.extractfile(file).read() for file in (*train_files, test_file, names_file)}
        parts = [
            *_cifar_images(b"".join(read[file] for file in train_files), label_bytes),
            *_cifar_images(read[test_file], label_bytes),
        ]
        classes = read[names_file].decode().split()
    except (tarfile.TarError, EOFError, KeyError, OSError, ValueError, zlib.error) as error:
        raise _damaged(cache / archive, error) from None
    return _dataset(name, parts, (3, 32, 32), classes, cache / archive, **_PAPER, pad=4, flip=True)


def _cifar_images(data: bytes, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels from rows of label bytes followed by 3 x 32 x 32 pixels."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + 3072)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1]


def _dataset(
    name: str, parts: list[np.ndarray], shape: tuple[int, ...], classes: Iterable[str], path: Path, **choices: Any
) -> Dataset:
    """A dataset of uint8 images, labels, test images and labels, if they fit together. path: where they are from."""
    classes = tuple(classes)
    for images, labels in (parts[:2], parts[2:]):
        if not (images.shape == (*labels.shape, *shape) and 0 < len(labels) and labels.max() < len(classes)):
            raise _damaged(path, "images, labels and classes do not fit together")
    parts = [torch.from_numpy(part.astype(kind)) for part, kind in zip(parts, 2 * [np.uint8, np.int64], strict=True)]
    mean, std = channel_statistics(parts[0])
    return Dataset(name, *parts, classes, **({"mean": mean, "std": std} | choices))


def _fetch(name: str, files: Mapping[str, str], urls: Sequence[str], folder: Path) -> None:
    """Download what is not in the folder. files: names, and the MD5 sums published beside them."""
    from torchvision.datasets.utils import download_url

    for file, md5 in files.items():
        was_there = (folder / file).exists()
        for url in urls:
            try:
                download_url(url + file, folder, file, md5)
                break
            except (RuntimeError, OSError) as error:
                reason = error
        else:
            state = f"{file} in {folder} is damaged: delete it. It" if was_there else f"{name} is not in {folder} and"
            raise DatasetError(
                f"{state} could not be downloaded ({reason}). On a machine with a network, fetch {', '.join(files)} "
                f"from {urls[0]} and put {'them' if len(files) > 1 else 'it'} unchanged into {folder}; "
                f'or use another dataset: "digits" needs no download'
            )


def _damaged(path: Path, why: Exception | str) -> DatasetError:
    return DatasetError(f"{path} is damaged ({' '.join(str(why).split())}). Delete it, and it is downloaded again")
