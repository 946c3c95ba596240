"""Trees of image files: folders and archives, good and bad."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpsgld.bnn.data import arrays, datasets, image_folder
from lpsgld.bnn.data.arrays import DatasetError

SIZE = (6, 4)  # width, height


def png(value: int, size: tuple[int, int] = SIZE, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(buffer, "PNG")
    return buffer.getvalue()


def tree(mode: str = "RGB") -> dict[str, bytes]:
    """Three training and two test images of two classes; the red value of an image tells which it is."""
    return {
        "train/cat/0.png": png(10, mode=mode),
        "train/cat/1.png": png(11, mode=mode),
        "train/dog/0.png": png(20, mode=mode),
        "test/cat/0.png": png(30, mode=mode),
        "test/dog/0.PNG": png(40, mode=mode),
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as z:
            for name, data in files.items():
                z.writestr(name, data)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def load(path: Path, cache: Path) -> arrays.Dataset:
    return datasets.load(f"folder:{path}", cache / "cache")


def assert_is_the_tree(d: arrays.Dataset, channels: int = 3) -> None:
    assert d.train_images.shape == (3, channels, 4, 6) and d.test_images.shape == (2, channels, 4, 6)
    assert d.classes == ("cat", "dog")
    assert d.train_labels.tolist() == [0, 0, 1] and d.test_labels.tolist() == [0, 1]
    assert d.train_images[:, 0, 0, 0].tolist() == [10, 11, 20] and d.test_images[:, 0, 0, 0].tolist() == [30, 40]


def test_a_folder_becomes_a_dataset(tmp_path):
    d = load(write(tmp_path / "images", tree()), tmp_path)
    assert_is_the_tree(d)
    assert d.train_images.dtype == torch.uint8 and d.flip and d.pad == 0  # an eighth of 4 pixels
    np.testing.assert_allclose(d.mean, d.train_images.double().mean((0, 2, 3)) / 255)


def test_grey_images_have_one_channel(tmp_path):
    assert_is_the_tree(load(write(tmp_path / "grey", tree("L")), tmp_path), channels=1)


def test_one_coloured_image_makes_all_coloured(tmp_path):
    files = tree("L") | {"test/cat/0.png": png(30)}
    assert_is_the_tree(load(write(tmp_path / "mixed", files), tmp_path))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.xz", "a.tar.gz", "a.tar.bz2"])
@pytest.mark.parametrize("top", ["", "images/", "./"])
def test_archives_are_read_in_place(tmp_path, name, top):
    path = archive(tmp_path / name, {top + file: data for file, data in tree().items()})
    assert_is_the_tree(load(path, tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(["cache", name])


def test_other_files_are_passed_over(tmp_path):
    extra = {
        "README.txt": b"read me",
        "train/cat/.DS_Store": b"x",
        "train/cat/notes.txt": b"y",
        "train/cat/._1.png": b"z",
    }
    assert_is_the_tree(load(write(tmp_path / "images", tree() | extra), tmp_path))


def test_images_are_decoded_once(tmp_path, monkeypatch):
    folder = write(tmp_path / "images", tree())
    first = load(folder, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_decode", lambda path: pytest.fail("decoded again"))
        assert load(folder, tmp_path).fingerprint == first.fingerprint
    (folder / "test/dog/1.png").write_bytes(png(41))
    assert len(load(folder, tmp_path).test_labels) == 3  # a new file: a new cache


def without(split: str) -> dict[str, bytes]:
    return {name: data for name, data in tree().items() if not name.startswith(split)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (without("test"), "no images in test/<class>/; expected are images in train/<class>/"),
        (without("train"), "no images in train/<class>/"),
        ({"train/0.png": png(1), "test/0.png": png(1)}, "no images in train/<class>/"),
        (tree() | {"train/cow/0.png": png(1)}, "classes only in train: cow; only in test: none"),
        (
            tree() | {"test/dog/1.png": png(1, size=(5, 4))},
            "test/dog/1.png is 5x4 pixels; all images must have one size",
        ),
        (tree() | {"train/dog/1.png": b"no image"}, "train/dog/1.png is broken .no image format is known"),
        (tree() | {"train/dog/1.png": png(1)[:-30]}, "train/dog/1.png is broken"),
    ],
)
def test_bad_trees_are_refused_and_leave_no_cache(tmp_path, files, message):
    with pytest.raises(DatasetError, match=message):
        load(write(tmp_path / "images", files), tmp_path)
    assert not (tmp_path / "cache").exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        DatasetError, match="nowhere: there is no such folder or archive; expected are images in train/"
    ):
        load(tmp_path / "nowhere", tmp_path)


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "file.txt").write_text("text")
    with pytest.raises(DatasetError, match="neither a folder nor a readable .zip or .tar archive"):
        load(tmp_path / "file.txt", tmp_path)


def test_a_truncated_archive_is_named(tmp_path):
    noise = {f"train/cat/{i}.png": png(i, size=(64, 64)) + os.urandom(5000) for i in range(20)}
    path = archive(tmp_path / "a.tar.xz", noise)
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(DatasetError, match="damaged or truncated"):
        load(path, tmp_path)


def test_a_damaged_zip_is_named(tmp_path):
    path = archive(tmp_path / "a.zip", tree())
    data = bytearray(path.read_bytes())
    place = data.index(b"IDAT")
    data[place : place + 8] = b"damaged!"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="a.zip is damaged or truncated"):
        load(path, tmp_path)
    path.write_bytes(data[:200])
    with pytest.raises(DatasetError, match="neither a folder nor a readable .zip"):
        load(path, tmp_path)


def test_a_damaged_cache_says_what_to_remove(tmp_path):
    folder = write(tmp_path / "images", tree())
    load(folder, tmp_path)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=f"{cached.name} is truncated.*Remove this cache"):
        load(folder, tmp_path)
