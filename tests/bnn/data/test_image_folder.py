"""Trees of image files: folders and archives, good and bad."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpsgld.bnn.data import arrays, datasets, image_folder, trees
from lpsgld.bnn.data.arrays import DatasetError
from lpsgld.files import FileError
from lpsgld.storage import save_tensors

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
@pytest.mark.parametrize("top", ["", "images/", "./", "/", "test/"])
def test_archives_are_read_in_place(tmp_path, name, top):
    path = archive(tmp_path / name, {top + file: data for file, data in tree().items()})
    assert_is_the_tree(load(path, tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(["cache", name])


@pytest.mark.parametrize("name", ["a.tgz", "a.txz", "a.tbz2", "a.TAR.GZ", "a.TAR", "a.ZIP", "a", "a.data"])
def test_an_archive_is_known_by_what_it_holds(tmp_path, name):
    kind = {"a.tgz": "tar.gz", "a.txz": "tar.xz", "a.tbz2": "tar.bz2", "a.TAR.GZ": "tar.gz", "a.TAR": "tar"}
    archive(tmp_path / f"b.{kind.get(name, 'zip')}", tree()).rename(tmp_path / name)
    assert_is_the_tree(load(tmp_path / name, tmp_path))


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = archive(tmp_path / "inner.zip", dict.fromkeys(tree(), png(77)))
    assert_is_the_tree(load(archive(tmp_path / "a.tar", tree() | {"z.zip": inner.read_bytes()}), tmp_path))


def test_a_folder_may_hold_the_tree_in_another(tmp_path):
    write(tmp_path / "images" / "top", tree())
    assert_is_the_tree(load(tmp_path / "images", tmp_path))


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPG", "apng", "dib", "pbm", "pnm", "webp", "TIFF"])
def test_images_have_many_suffixes(tmp_path, suffix):
    kind = {"jfif": "JPEG", "jpe": "JPEG", "JPG": "JPEG", "apng": "PNG", "pbm": "PPM", "pnm": "PPM"}
    buffer = io.BytesIO()
    Image.new("RGB", SIZE).save(buffer, kind.get(suffix, suffix.upper()))
    files = tree() | {f"train/dog/1.{suffix}": buffer.getvalue()}
    assert load(write(tmp_path / "images", files), tmp_path).train_labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({}, "every file is used"),
        ({"README": b"", "train/cat/a.txt": b"", "train/b.txt": b""}, "3 files not used (2 .txt, 1 without suffix)"),
        ({"train/cat/a.heic": b"x"}, "1 file not used (1 .heic)"),
        ({"logo.png": png(1), "val/cat/0.png": png(1)}, "2 files not used (2 outside train/ and test/)"),
        ({"old/train/cat/0.png": png(1)}, "1 file not used (1 outside train/ and test/)"),
        (
            {"train/cat/.DS_Store": b"x", "train/cat/._0.png": b"x", "train/dog/Thumbs.db": b"x", ".git/a/b": b"x"},
            "4 files not used (4 hidden)",
        ),
        ({"train/.ipynb_checkpoints/0.png": png(1), "test/.ipynb_checkpoints/0.png": png(1)}, "2 hidden"),
        ({"train/__MACOSX/0.png": png(1), "test/__MACOSX/0.png": png(1)}, "2 hidden"),
        ({"__MACOSX/train/cat/0.png": b"x", "train/cat/.ipynb_checkpoints/0.png": png(1)}, "2 hidden"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "a.zip", "a.tar.gz"])
def test_every_load_says_which_files_were_not_used(tmp_path, capsys, extra, told, form):
    files = tree() | extra
    path = write(tmp_path / form, files) if form == "folder" else archive(tmp_path / form, files)
    for _ in range(2):  # decoded, and from the cache
        assert_is_the_tree(load(path, tmp_path))
        line = capsys.readouterr().err.splitlines()[-1]
        assert "3 training and 2 test images in 2 classes" in line and told in line


def test_images_are_decoded_once(tmp_path, monkeypatch):
    folder = write(tmp_path / "images", tree())
    first = load(folder, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_decode", lambda path: pytest.fail("decoded again"))
        assert load(folder, tmp_path).fingerprint == first.fingerprint
    (folder / "test/dog/1.png").write_bytes(png(41))
    assert len(load(folder, tmp_path).test_labels) == 3  # a new file: a new cache


def replaced(path: Path, data: bytes) -> None:
    """Other bytes, as many and with the times of before."""
    before = path.stat()
    assert len(data) == before.st_size
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def reds(dataset: arrays.Dataset) -> list[int]:
    return dataset.train_images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("linked", ["", "train", "train/cat", "train/cat/0.png"])
def test_the_cache_sees_what_is_decoded(tmp_path, linked):
    """Also where time and size tell nothing, and behind links."""
    folder = write(tmp_path / "images", tree())
    if linked:
        (folder / linked).rename(tmp_path / "elsewhere")
        (folder / linked).symlink_to(tmp_path / "elsewhere")
    assert reds(load(folder, tmp_path)) == [10, 11, 20]
    replaced((folder / "train/cat/0.png").resolve(), png(99))
    assert reds(load(folder, tmp_path)) == [99, 11, 20]


def test_the_cache_sees_a_new_archive_under_the_old_name(tmp_path):
    path = archive(tmp_path / "a.zip", tree())
    (tmp_path / "link.zip").symlink_to(path)
    assert reds(load(tmp_path / "link.zip", tmp_path)) == [10, 11, 20]
    other = archive(tmp_path / "b.zip", tree() | {"train/cat/0.png": png(99)})
    replaced(path, other.read_bytes())
    assert reds(load(tmp_path / "link.zip", tmp_path)) == [99, 11, 20]


def test_an_image_moved_to_another_class_is_seen(tmp_path):
    folder = write(tmp_path / "images", tree())
    load(folder, tmp_path)
    (folder / "train/cat/1.png").rename(folder / "train/dog/1.png")
    assert load(folder, tmp_path).train_labels.tolist() == [0, 1, 1]


def test_arrays_of_other_rules_are_not_taken_from_the_cache(tmp_path, monkeypatch):
    folder = write(tmp_path / "images", tree())
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_RULES", b"1")
        load(folder, tmp_path)
    (cached,) = (tmp_path / "cache").iterdir()
    wrong = {"train_labels": torch.tensor([0, 0, 1]), "test_labels": torch.tensor([0, 1])}
    wrong |= {f"{split}_images": torch.zeros(n, 3, 4, 6).byte() for split, n in (("train", 3), ("test", 2))}
    save_tensors(cached, "image cache", wrong, {"classes": ["cat", "dog"], "unused": {}})
    assert_is_the_tree(load(folder, tmp_path))


def test_a_tree_that_changes_while_it_is_read_is_not_cached(tmp_path, monkeypatch):
    folder, decode = write(tmp_path / "images", tree()), image_folder._decode

    def meanwhile(*arguments):
        (folder / "train/cat/0.png").write_bytes(png(99))
        return decode(*arguments)

    monkeypatch.setattr(image_folder, "_decode", meanwhile)
    with pytest.raises(DatasetError, match="was changed while it was read"):
        load(folder, tmp_path)
    assert not (tmp_path / "cache").exists()


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
        (
            tree() | {"train/cat/sub/0.png": png(1)},
            "train/cat/sub/0.png does not lie directly in train/<class>/ or test/<class>/. Move",
        ),
        (tree() | {"train/cat/a/b/0.png": png(1)}, "train/cat/a/b/0.png does not lie"),
        (tree() | {"train/cat/x.png/0.png": png(1)}, "train/cat/x.png/0.png does not lie"),
        (
            tree() | {"train/0.png": png(1), "test/0.png": png(1)},
            "/0.png does not lie directly in .*, nor do 1 more images",
        ),
        ({f"{top}/{name}": data for top in "ab" for name, data in tree().items()}, "several trees of images: a, b"),
        ({f"{name[:5]}/{name}": data for name, data in tree().items()}, "several trees of images: test/?, train"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "a.zip", "a.tar"])
def test_bad_trees_are_refused_and_leave_no_cache(tmp_path, files, message, form):
    path = write(tmp_path / form, files) if form == "folder" else archive(tmp_path / form, files)
    with pytest.raises(DatasetError, match=message):
        load(path, tmp_path)
    assert not (tmp_path / "cache").exists()


def link(to: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(to)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("train/cat/2.png", link("nothing"), "2.png cannot be read, or is a link that leads nowhere"),
        ("train/cat/2.png", link("2.png"), "2.png cannot be read, or is a link that leads nowhere"),
        ("train/cow", link("nothing"), "train/cow cannot be read"),
        ("train/cat/2.png", os.mkfifo, "2.png is neither a file nor a folder"),
        ("train/cat/2.png", link("/dev/zero"), "2.png is neither a file nor a folder"),
        ("train/cat/up", link(".."), "train/cat/up is a link to a folder above it"),
    ],
)
def test_what_cannot_be_read_where_images_are_is_refused(tmp_path, name, make, message):
    folder = write(tmp_path / "images", tree())
    make(folder / name)
    with pytest.raises(DatasetError, match=message):
        load(folder, tmp_path)


@pytest.mark.parametrize("make", [link("."), link("nothing"), os.mkfifo])
def test_elsewhere_it_is_only_counted(tmp_path, capsys, make):
    folder = write(tmp_path / "images", tree())
    make(folder / "latest")
    assert_is_the_tree(load(folder, tmp_path))
    assert "1 file not used (1 outside train/ and test/)" in capsys.readouterr().err


@pytest.mark.parametrize("denied", ["train/dog", "train/dog/0.png"])
def test_what_this_user_may_not_read_is_refused(tmp_path, monkeypatch, denied):
    """Permissions do not bind every user who runs tests."""
    folder = write(tmp_path / "images", tree())

    def strict(function):
        def call(path, *arguments, **options):
            if str(path) == str(folder / denied):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(os, "scandir", strict(os.scandir))
    monkeypatch.setattr(trees, "open", strict(open), raising=False)
    with pytest.raises(DatasetError, match=f"{denied} cannot be read: Permission denied"):
        load(folder, tmp_path)


def test_names_that_are_no_utf_8(tmp_path):
    """Of a file they do not matter; that of a class is stored and shown."""
    folder = write(tmp_path / "images", tree() | {"train/cat/\udcff.png": png(12), "train/cat/\udcff.\udcfe": b""})
    assert reds(load(folder, tmp_path)) == [10, 11, 12, 20]
    write(folder, {"train/c\udcff/0.png": png(1), "test/c\udcff/0.png": png(1)})
    with pytest.raises(DatasetError, match=r"the class c\\udcff is no UTF-8"):
        load(folder, tmp_path)
    with pytest.raises(DatasetError, match=r"\\udcff is no UTF-8"):
        load(write(tmp_path / "\udcff", tree()), tmp_path)


@pytest.mark.parametrize("name", ["/nowhere/a\0b", "/nowhere/" + "a" * 5000])
def test_impossible_paths_are_missing(tmp_path, name):
    with pytest.raises(DatasetError, match="there is no such folder or archive"):
        load(name, tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(DatasetError, match="there is no such folder or archive"):
        load(tmp_path / "a.tar", tmp_path)


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


# ---- archives --------------------------------------------------------------------------------------------------


def packed(files: dict[str, bytes]) -> bytes:
    """The bytes of a plain .tar of small files: a block of header and a block of contents each, then the end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


MANY = {f"{split}/{name}/{i:02d}.png": png(i) for i in range(9) for split in ("train", "test") for name in "ab"}
HALF = 1024 * 16  # whole pairs of train and test, a and b


@pytest.mark.parametrize(
    "damage",
    [
        lambda tar: tar[: HALF + 100],  # in a header
        lambda tar: tar[:HALF],  # between two files
        lambda tar: tar[: HALF + 512],
        lambda tar: tar[: HALF + 600],
        lambda tar: tar[:HALF] + b"U" * 512 + tar[HALF + 512 :],
        lambda tar: tar[: HALF + 5] + bytes([tar[HALF + 5] ^ 1]) + tar[HALF + 6 :],  # one bit of a name
        lambda tar: tar[:HALF] + bytes(512) + tar[HALF + 512 :],  # looks like the end
        lambda tar: tar[: 1024 * 36],  # all files, and no end
        lambda tar: tar + packed(tree()),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_a_damaged_tar_is_not_a_smaller_one(tmp_path, damage, compress):
    (tmp_path / "a.tar").write_bytes(compress(damage(packed(MANY))))
    with pytest.raises(DatasetError, match="damaged or truncated|goes on after its end"):
        load(tmp_path / "a.tar", tmp_path)
    (tmp_path / "a.tar").write_bytes(compress(packed(MANY) + bytes(10240)))  # only zeros follow
    assert len(load(tmp_path / "a.tar", tmp_path).train_labels) == 18


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_a_compressed_tar_is_read_to_its_checksum(tmp_path, compress):
    (tmp_path / "a.tar").write_bytes(compress(packed(MANY))[:-3])
    with pytest.raises(DatasetError, match="a.tar (is damaged|is neither)"):
        load(tmp_path / "a.tar", tmp_path)


def test_a_checksum_of_gzip_is_compared(tmp_path):
    data = bytearray(gzip.compress(packed(MANY)))
    data[-8] ^= 1
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(DatasetError, match="damaged or truncated: CRC check failed"):
        load(tmp_path / "a.tar.gz", tmp_path)


@pytest.mark.parametrize(
    "twin",
    ["train/cat/0.png", "./train/cat/0.png", "train//cat/0.png", "train/./cat/0.png", "/train/cat/0.png"]
    + ["//train/cat/0.png", "train\\cat\\0.png", "train/dog/../cat/0.png", "../train/cat/0.png"],
)
@pytest.mark.parametrize("form", ["zip", "tar"])
def test_one_file_of_an_archive_does_not_replace_another(tmp_path, twin, form):
    path = archive(tmp_path / f"a.{form}", tree())
    if form == "zip":
        with zipfile.ZipFile(path, "a") as z, warnings.catch_warnings(action="ignore"):
            z.writestr(twin, png(99))
    else:
        with tarfile.open(path, "a") as tar:
            info = tarfile.TarInfo(twin)
            info.size = len(png(99))
            tar.addfile(info, io.BytesIO(png(99)))
    with pytest.raises(DatasetError, match="holds train/cat/0.png twice|is no name of a file in it"):
        load(path, tmp_path)


def with_member(path: Path, name: str, kind: bytes, target: str = "") -> Path:
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        tar.addfile(info)
    return path


def test_a_hard_link_in_a_tar_is_the_file_that_it_names(tmp_path):
    path = with_member(archive(tmp_path / "a.tar", tree()), "train/cat/2.png", tarfile.LNKTYPE, "train/cat/0.png")
    assert reds(load(path, tmp_path)) == [10, 11, 10, 20]


@pytest.mark.parametrize(
    ("name", "kind", "target", "message"),
    [
        ("train/cat/2.png", tarfile.SYMTYPE, "0.png", "train/cat/2.png is a link or no file"),
        ("train/cow", tarfile.SYMTYPE, "cat", "train/cow is a link or no file"),
        ("train/cat/2.png", tarfile.FIFOTYPE, "", "train/cat/2.png is a link or no file"),
        ("train/cat/2.png", tarfile.LNKTYPE, "nothing.png", "damaged or truncated.*nothing.png"),
        ("train/cat/2.png", tarfile.LNKTYPE, "train/cat/2.png", "damaged or truncated"),
    ],
)
def test_other_members_of_a_tar_are_refused(tmp_path, name, kind, target, message):
    with pytest.raises(DatasetError, match=message):
        load(with_member(archive(tmp_path / "a.tar", tree()), name, kind, target), tmp_path)


def test_a_link_in_a_zip_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", tree())
    info = zipfile.ZipInfo("train/cow")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "a") as z:
        z.writestr(info, "cat")
    with pytest.raises(DatasetError, match="train/cow is a link or no file"):
        load(path, tmp_path)


@pytest.mark.parametrize(
    ("local", "central", "value", "message"),
    [
        (6, 8, 1, "is encrypted.* Pack it anew, with deflate and no password"),
        (6, 8, 0x41, "strong encryption"),
        (6, 8, 0x20, "patched data"),
        (8, 10, 9, "compression method is not supported.* Pack it anew"),  # Deflate64
        (8, 10, 1, "compression method is not supported"),
        (8, 10, 14, "damaged or truncated"),  # LZMA, and it is not
        (8, 10, 12, "damaged or truncated: Invalid data stream"),  # bzip2
    ],
)
def test_a_zip_that_python_cannot_unpack_is_named(tmp_path, local, central, value, message):
    """local, central: where the field lies in the two headers of each file."""
    path = archive(tmp_path / "a.zip", tree())
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            struct.pack_into("<H", data, place + offset, value)
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        load(path, tmp_path)


def test_a_zip_with_a_name_that_is_no_utf_8_is_named(tmp_path):
    path = archive(tmp_path / "a.zip", tree() | {"train/c\u00e9/0.png": png(1)})
    path.write_bytes(path.read_bytes().replace("c\u00e9".encode(), b"c\xff\xa9"))
    with pytest.raises(DatasetError, match="a.zip is damaged or truncated: 'utf-8' codec can't decode"):
        load(path, tmp_path)


def test_a_tar_with_a_class_that_is_no_utf_8_is_named(tmp_path):
    path = archive(tmp_path / "a.tar", tree() | {"train/c\udcff/0.png": png(1), "test/c\udcff/0.png": png(1)})
    with pytest.raises(DatasetError, match=r"the class c\\udcff is no UTF-8"):
        load(path, tmp_path)


def test_two_joined_zips_are_refused(tmp_path):
    first, second = (archive(tmp_path / name, tree()).read_bytes() for name in ("1.zip", "2.zip"))
    (tmp_path / "a.zip").write_bytes(first + second)
    with pytest.raises(DatasetError, match="begins with data that its list of files does not name"):
        load(tmp_path / "a.zip", tmp_path)


# ---- memory ----------------------------------------------------------------------------------------------------


@pytest.fixture
def little(monkeypatch) -> int:
    """So many bytes may a file have."""
    monkeypatch.setattr(trees, "MOST_BYTES", 2**17)
    return 2**17


@pytest.mark.parametrize("form", ["folder", "a.zip", "a.tar.gz"])
def test_no_file_is_read_beyond_a_limit(tmp_path, little, form):
    files = tree() | {"train/cat/2.png": bytes(20 * little), "train/cat/large.bin": bytes(20 * little)}
    path = write(tmp_path / form, files) if form == "folder" else archive(tmp_path / form, files)
    tracemalloc.start()
    with pytest.raises(DatasetError, match="train/cat/2.png has more than 131,072 bytes"):
        load(path, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15 * little
    del files["train/cat/2.png"]
    (tmp_path / "other").mkdir()
    path = write(tmp_path / "other" / form, files) if form == "folder" else archive(tmp_path / "other" / form, files)
    assert_is_the_tree(load(path, tmp_path))  # what is no image may be large


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
@pytest.mark.parametrize("first", [True, False])
def test_a_long_name_in_a_tar_is_not_read_either(tmp_path, kind, first):
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 2**26
    bomb = info.tobuf(tarfile.USTAR_FORMAT) + bytes(2**26)
    good = packed(tree())
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bomb + good if first else good[: 1024 * 5] + bomb + good))
    tracemalloc.start()
    with pytest.raises(DatasetError, match="a.tar.gz is (neither|damaged)"):
        load(tmp_path / "a.tar.gz", tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_more_images_than_memory_holds_are_refused_at_the_first(tmp_path, monkeypatch):
    from types import SimpleNamespace

    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * 5 * 72 - 1))
    decode, seen = image_folder.pictures.decode, []
    monkeypatch.setattr(image_folder.pictures, "decode", lambda *arguments: seen.append(1) or decode(*arguments))
    with pytest.raises(DatasetError, match="5 images of 72 bytes need .* GB of memory, and .* are free"):
        load(write(tmp_path / "images", tree()), tmp_path)
    assert len(seen) == 1


# ---- the cache -------------------------------------------------------------------------------------------------


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(FileError, match="cannot write .*cache"):
        load(write(tmp_path / "images", tree()), tmp_path)


def test_a_tree_that_was_moved_is_in_the_cache(tmp_path):
    load(write(tmp_path / "images", tree()), tmp_path)
    (tmp_path / "images").rename(tmp_path / "moved")
    moved = load(tmp_path / "moved", tmp_path)
    assert_is_the_tree(moved)
    assert moved.name == f"folder:{tmp_path}/moved" and len(os.listdir(tmp_path / "cache")) == 1


def test_a_damaged_cache_says_what_to_remove(tmp_path):
    folder = write(tmp_path / "images", tree())
    load(folder, tmp_path)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=f"{cached.name} is truncated.*Remove this cache"):
        load(folder, tmp_path)
