"""Datasets by name: digits, MNIST, CIFAR, and `folder:PATH`, any tree of image files (see `image_folder.py`)."""

from __future__ import annotations

import os
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpsgld.bnn.data import image_folder
from lpsgld.bnn.data.arrays import Dataset, DatasetError, channel_statistics
from lpsgld.text import one_of

FOLDER = "folder:"
NAMES = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")


def default_cache() -> Path:
    """Where downloads and decoded images are kept: $LPSGLD_CACHE, or lpsgld in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("LPSGLD_CACHE") or Path(base) / "lpsgld").expanduser()


def load(name: str, cache: str | Path | None = None) -> Dataset:
    """The dataset of that name.

    "digits"         1,797 handwritten digits of 8x8 pixels, inside scikit-learn: needs no download
    "mnist", "fashion_mnist", "cifar10", "cifar100"
                     downloaded once into the cache folder
    "folder:PATH"    any images in train/<class>/ and test/<class>/, in a folder, a .zip or a .tar(.xz|.gz|.bz2)

    cache: folder for downloads and decoded images, `default_cache()` if None. Raises DatasetError.
    """
    require_name(name, DatasetError)
    cache = Path(cache).expanduser() if cache is not None else default_cache()
    if name.startswith(FOLDER):
        return image_folder.load(Path(name.removeprefix(FOLDER)).expanduser(), cache)
    if name == "digits":
        return _digits()
    if name in ("mnist", "fashion_mnist"):
        return _mnist(name, cache)
    return _cifar(name, cache)


def require_name(name: str, error: type[Exception]) -> None:
    """Raises `error`, with the nearest name, unless `load` knows the name."""
    if not name.startswith(FOLDER):
        one_of("dataset", name, NAMES, error, f', or "{FOLDER}PATH"')


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
    try:
        train, test = (kind(cache, train=flag, download=True) for flag in (True, False))
    except (RuntimeError, OSError) as error:
        files = [Path(url).name for url, _ in kind.resources]
        raise _not_downloaded(name, files, kind.mirrors[0], folder, error) from error
    mean, std = channel_statistics(train.data[:, None])
    return Dataset(
        name, train.data[:, None], train.targets, test.data[:, None], test.targets, tuple(train.classes), mean, std
    )


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
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # the paper's


def _cifar(name: str, cache: Path) -> Dataset:
    from torchvision.datasets.utils import download_url

    archive, md5, train_files, test_file, label_bytes, names_file = _CIFAR[name]
    try:
        download_url(_CIFAR_URL + archive, cache, archive, md5)
    except (RuntimeError, OSError, urllib.error.URLError) as error:
        raise _not_downloaded(name, [archive], _CIFAR_URL, cache, error) from error
    with tarfile.open(cache / archive) as tar:
        read = {file: tar.extractfile(file).read() for file in (*train_files, test_file, names_file)}
    train = _cifar_images(b"".join(read[file] for file in train_files), label_bytes)
    test = _cifar_images(read[test_file], label_bytes)
    classes = tuple(read[names_file].decode().split())
    return Dataset(name, *train, *test, classes, _CIFAR_MEAN, _CIFAR_STD, pad=4, flip=True)


def _cifar_images(data: bytes, label_bytes: int) -> tuple[Tensor, Tensor]:
    """Images and labels from rows of label bytes followed by 3 x 32 x 32 pixels."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + 3072)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).copy()
    return torch.from_numpy(images), torch.from_numpy(rows[:, label_bytes - 1].astype(np.int64))


def _not_downloaded(name: str, files: list[str], url: str, folder: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{name} is not in {folder} and could not be downloaded ({error}). On a machine with a network, fetch "
        f"{', '.join(files)} from {url} and put {'them' if len(files) > 1 else 'it'} unchanged into {folder}; "
        f'or use another dataset: "digits" needs no download'
    )
