"""Datasets that need no network, the ones that do through synthetic files, and the batches made of them."""

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
import urllib.error

import numpy as np
import pytest
import torch

from lpsgld.__main__ import main
from lpsgld.bnn.data import arrays, datasets
from lpsgld.bnn.data.arrays import DatasetError
from tests.checks import assert_law, assert_mean


def test_digits_are_embedded_and_split_once_and_for_all():
    d, again = datasets.load("digits"), datasets.load("digits")
    assert d.train_images.shape == (1437, 1, 8, 8) and d.test_images.shape == (360, 1, 8, 8)
    assert d.train_images.dtype == torch.uint8 and d.train_labels.dtype == torch.int64
    assert d.train_images.max() == 255 and d.train_images.min() == 0  # pixels of 0 to 16
    assert len(set(d.train_images.flatten().tolist())) == 17
    assert torch.bincount(d.test_labels).min() >= 34  # stratified
    assert d.classes == tuple("0123456789") and not d.flip
    assert d.fingerprint == again.fingerprint


def test_normalised_training_images_have_mean_0_and_std_1():
    d = datasets.load("digits")
    x = d.normalize(d.train_images)
    assert x.dtype == torch.float32
    assert abs(x.mean()) < 1e-5 and abs(x.std(correction=0) - 1) < 1e-5


def test_channel_statistics_are_exact():
    images = torch.randint(256, (50, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 2] = 7
    mean, std = arrays.channel_statistics(images)
    x = images.numpy() / 255
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, [*x.std((0, 2, 3))[:2], 1.0], rtol=1e-10)


def test_subset_is_random_but_repeatable():
    d = datasets.load("digits")
    part, again, other = d.subset(100, 50), d.subset(100, 50), d.subset(100, 50, seed=1)
    assert len(part.train_labels) == 100 and len(part.test_images) == 50
    assert part.fingerprint == again.fingerprint != other.fingerprint
    assert part.mean == d.mean and part.flip == d.flip and part.pad == d.pad
    with pytest.raises(DatasetError, match="2000 training images were asked for, but digits has 1437"):
        d.subset(2000, 10)


def test_fingerprint_notices_one_pixel_and_one_label():
    d = datasets.load("digits")
    seen = {d.fingerprint}
    for field in ("test_images", "train_labels"):
        changed = {
            name: getattr(d, name).clone() for name in ("train_images", "train_labels", "test_images", "test_labels")
        }
        changed[field].view(-1)[0] += 1
        seen.add(arrays.Dataset("d", **changed, classes=d.classes, mean=d.mean, std=d.std).fingerprint)
    assert len(seen) == 3


# ---- augmentation ----------------------------------------------------------------------------------------------


def numbered(count: int, channels: int = 2, height: int = 5, width: int = 4) -> torch.Tensor:
    """Images whose pixels all differ, so that a crop tells where it came from; no pixel is 0."""
    one = 1 + torch.arange(channels * height * width, dtype=torch.uint8).view(channels, height, width)
    return one.expand(count, -1, -1, -1).clone()


def all_crops(pad: int, flip: bool) -> dict[bytes, int]:
    """Every possible result of augmenting `numbered` images, in plain numpy."""
    image = np.pad(numbered(1)[0].numpy(), ((0, 0), (pad, pad), (pad, pad)))
    crops = [image[:, i : i + 5, j : j + 4] for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    crops += [crop[:, :, ::-1] for crop in crops] if flip else []
    return {crop.tobytes(): index for index, crop in enumerate(crops)}


@pytest.mark.parametrize(("pad", "flip"), [(0, False), (0, True), (2, False), (2, True)])
def test_augmentation_draws_every_crop_equally_often(pad, flip):
    """Chi-square over all crops at a false-alarm rate of 1e-7."""
    count = 20_000
    out = arrays.augment(numbered(count), torch.Generator().manual_seed(0), pad=pad, flip=flip)
    assert out.dtype == torch.uint8 and out.shape == (count, 2, 5, 4)
    crops = all_crops(pad, flip)
    drawn = np.bincount([crops[image.tobytes()] for image in out.numpy()], minlength=len(crops))
    assert_law(drawn, np.full(len(crops), 1 / len(crops)))


def test_images_of_a_batch_are_augmented_independently():
    """The mean shift of pairs: a shared draw would make all images equal."""
    out = arrays.augment(numbered(2000), torch.Generator().manual_seed(0), pad=2, flip=True)
    same = (out[::2] == out[1::2]).flatten(1).all(1)
    assert_mean(same, 1 / 50, (1 / 50 * 49 / 50) ** 0.5)


def test_augmentation_is_reproducible_and_leaves_its_input():
    images = numbered(64)
    first, second = (arrays.augment(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(images, numbered(64))


def test_a_dataset_augments_as_it_allows():
    d = datasets.load("digits")
    assert torch.equal(d.augment(d.train_images[:9]), d.normalize(d.train_images[:9]))  # digits: not at all


# ---- downloads -------------------------------------------------------------------------------------------------


def cifar_archive(label_bytes: int, files: dict[str, int], names_file: str, classes: list[str]) -> bytes:
    """An archive in CIFAR's binary layout, of random images; the label is the number of the record modulo 10."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        contents = {names_file: "\n".join(classes).encode() + b"\n"}
        for file, count in files.items():
            labels = np.zeros((count, label_bytes), np.uint8)
            labels[:, -1] = np.arange(count) % 10
            contents[file] = np.hstack([labels, rng.integers(256, size=(count, 3072), dtype=np.uint8)]).tobytes()
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_its_binary_archive(tmp_path, monkeypatch, name):
    archive, _, train_files, test_file, label_bytes, names_file = row = datasets._CIFAR[name]
    classes = [f"class{i}" for i in range(10)]
    data = cifar_archive(label_bytes, dict.fromkeys([*train_files, test_file], 20), names_file, classes)
    (tmp_path / archive).write_bytes(data)
    monkeypatch.setitem(datasets._CIFAR, name, (row[0], hashlib.md5(data).hexdigest(), *row[2:]))
    d = datasets.load(name, tmp_path)
    assert d.train_images.shape == (20 * len(train_files), 3, 32, 32) and d.test_images.shape == (20, 3, 32, 32)
    assert d.test_labels.tolist() == [i % 10 for i in range(20)]
    first = np.random.default_rng(0).integers(256, size=(20, 3072), dtype=np.uint8)[0].reshape(3, 32, 32)
    assert np.array_equal(d.train_images[0].numpy(), first)
    assert d.classes == tuple(classes) and d.flip and d.pad == 4


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", ["cifar-10-binary.tar.gz"]),
        ("cifar100", ["cifar-100-binary.tar.gz"]),
        ("mnist", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]),
        ("fashion_mnist", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]),
    ],
)
def test_without_network_the_error_names_the_files_and_their_folder(tmp_path, monkeypatch, name, files):
    import torchvision.datasets.utils

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", unreachable)
    with pytest.raises(DatasetError) as caught:
        datasets.load(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message and "digits" in message
    assert all(file in message for file in files)


def idx(pixels: np.ndarray) -> bytes:
    """An array of bytes in MNIST's format."""
    return bytes([0, 0, 8, pixels.ndim]) + np.array(pixels.shape, ">i4").tobytes() + pixels.tobytes()


def fashion(cache, **changed) -> np.ndarray:
    """Six images in the files of Fashion-MNIST, as torchvision unpacks them; changed: other contents of some."""
    raw = cache / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(256, size=(6, 28, 28), dtype=np.uint8)
    for split in ("train", "t10k"):
        for kind, data in (("images-idx3", images), ("labels-idx1", np.arange(6, dtype=np.uint8))):
            (raw / f"{split}-{kind}-ubyte").write_bytes(changed.get(f"{split}-{kind}", idx(data)))
    return images


@pytest.fixture
def offline(monkeypatch):
    import torchvision.datasets.utils

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", unreachable)
    monkeypatch.setattr(torchvision.datasets.utils, "_get_redirect_url", unreachable)


def test_mnist_is_read_from_its_files(tmp_path, offline):
    images = fashion(tmp_path)
    d = datasets.load("fashion_mnist", tmp_path)
    assert np.array_equal(d.train_images[:, 0].numpy(), images) and d.test_labels.tolist() == list(range(6))
    assert d.image_shape == (1, 28, 28) and d.classes[0] == "T-shirt/top" and not d.flip


def test_mnist_is_read_as_it_is_downloaded(tmp_path, offline, monkeypatch):
    import torchvision.datasets

    images, raw = fashion(tmp_path), tmp_path / "FashionMNIST" / "raw"
    sums = []
    for file in sorted(raw.iterdir(), reverse=True):
        packed = raw / f"{file.name}.gz"
        packed.write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
        sums.append((packed.name, hashlib.md5(packed.read_bytes()).hexdigest()))
    order = [sums[i] for i in (1, 0, 3, 2)]  # training images, their labels, test images, their labels
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", order)
    d = datasets.load("fashion_mnist", tmp_path)
    assert np.array_equal(d.test_images[:, 0].numpy(), images) and d.train_labels.tolist() == list(range(6))
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(b"cut")
    with pytest.raises(DatasetError, match="train-labels-idx1-ubyte.gz in .*raw is damaged: delete it"):
        datasets.load("fashion_mnist", tmp_path)


SIX = np.arange(6, dtype=np.uint8)
BLACK = np.zeros((6, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("file", "contents"),
    [
        ("train-images-idx3", b""),
        ("train-images-idx3", idx(BLACK)[:9]),
        ("train-images-idx3", idx(BLACK)[:-1]),
        ("train-images-idx3", idx(BLACK) + b"x"),
        ("train-images-idx3", b"x" + idx(BLACK)[1:]),
        ("train-images-idx3", idx(BLACK)[:4] + b"\x7f\xff\xff\xff" + idx(BLACK)[8:]),  # claims 2 billion images
        ("train-images-idx3", idx(BLACK.reshape(6, 14, 56))),
        ("train-images-idx3", idx(BLACK[:5])),
        ("train-labels-idx1", idx(BLACK)),
        ("t10k-labels-idx1", b""),
        ("t10k-labels-idx1", idx(SIX)[:-1]),
        ("t10k-labels-idx1", idx(SIX + 5)),  # the last is 10
        ("t10k-labels-idx1", idx(SIX[:0])),
    ],
)
def test_a_damaged_mnist_file_is_to_be_deleted(tmp_path, offline, file, contents):
    fashion(tmp_path, **{file: contents})
    with pytest.raises(DatasetError, match="raw.* is damaged .*Delete it, and it is downloaded again"):
        datasets.load("fashion_mnist", tmp_path)


def test_a_huge_mnist_file_is_not_read(tmp_path, offline):
    fashion(tmp_path)
    path = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    os.truncate(path, 2**29)  # takes no room on the disk
    tracemalloc.start()
    with pytest.raises(DatasetError, match="train-images-idx3-ubyte is damaged .more than 268,435,456 bytes"):
        datasets.load("fashion_mnist", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    "damage",
    [
        {"row": 3000},
        {"images": 0},
        {"last_label": 10},
        {"names": b"\xff\xfe"},
        {"names": b"cat dog"},
        {"left_out": "cifar-10-batches-bin/test_batch.bin"},
        {"kept": 0.5},
        {"kept": 0},
    ],
)
def test_a_damaged_cifar_archive_is_to_be_deleted(tmp_path, offline, monkeypatch, damage):
    """Its checksum is that of the damaged one, so that nothing is downloaded."""
    archive, _, train_files, test_file, _, names_file = row = datasets._CIFAR["cifar10"]
    labels = list(range(9)) + [damage.get("last_label", 9)]
    rows = b"".join(bytes([label]) + bytes(damage.get("row", 3072)) for label in labels[: damage.get("images", 10)])
    contents = dict.fromkeys([*train_files, test_file], rows)
    contents[names_file] = damage.get("names", b" ".join(b"class%d" % i for i in range(10)))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in contents.items():
            if name != damage.get("left_out"):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()[: int(damage.get("kept", 1) * len(buffer.getvalue()))]
    (tmp_path / archive).write_bytes(data)
    with pytest.raises(DatasetError, match=f"{archive} in .* is damaged: delete it"):
        datasets.load("cifar10", tmp_path)
    monkeypatch.setitem(datasets._CIFAR, "cifar10", (archive, hashlib.md5(data).hexdigest(), *row[2:]))
    with pytest.raises(DatasetError, match=f"{archive} is damaged .*Delete it"):
        datasets.load("cifar10", tmp_path)


def test_an_unknown_dataset_is_named():
    with pytest.raises(DatasetError, match="there is no dataset 'cifar': choose from digits, .*folder:PATH"):
        datasets.load("cifar")


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("LPSGLD_CACHE", str(tmp_path / "here"))
    assert datasets.default_cache() == tmp_path / "here"
    monkeypatch.delenv("LPSGLD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert datasets.default_cache() == tmp_path / "lpsgld"


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the system does not know, as in some containers."""
    import pwd

    def unknown(user):
        raise KeyError(user)

    for name in ("HOME", "XDG_CACHE_HOME", "LPSGLD_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_only_the_default_cache_is_missing(homeless, tmp_path, capsys):
    assert len(datasets.load("digits").test_labels) == 360
    with pytest.raises(DatasetError, match="does not know the home folder.*set HOME or, for the cache, LPSGLD_CACHE"):
        datasets.load("cifar10")
    assert main(["recipes"]) == 0 and "train_bfp" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "cache"), [("folder:~nobody-here/x", None), ("cifar10", "~nobody-here/x")])
def test_an_unknown_user_is_named(name, cache):
    with pytest.raises(DatasetError, match="~nobody-here/x: this machine does not know the home folder of that user"):
        datasets.load(name, cache)


def test_an_empty_path_is_no_folder(monkeypatch, tmp_path):
    with pytest.raises(DatasetError, match='"folder:" names no folder'):
        datasets.load("folder:", tmp_path)


def test_what_was_not_used_is_told_of_a_part_as_well():
    unused = {".a": 1, ".b": 5, ".c": 4, ".d": 3, ".e": 2, ".f": 1}
    part = dataclasses.replace(datasets.load("digits"), unused=unused).subset(100, 50)
    assert part.told.startswith("digits: 100 training and 50 test images in 10 classes; ")
    assert part.told.endswith("16 files not used (5 .b, 4 .c, 3 .d, 2 .e, 1 .a, others)")
