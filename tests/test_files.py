"""A file is written whole or not at all, and a failure says what to do."""

import errno
import os

import pytest

from lpsgld.files import FileError, write_atomically


def test_text_and_bytes_and_the_folder_around_them(tmp_path):
    write_atomically(tmp_path / "new" / "a", "Δ")
    write_atomically(str(tmp_path / "new" / "b"), b"\xff")
    assert [(tmp_path / "new" / name).read_bytes() for name in "ab"] == ["Δ".encode(), b"\xff"]
    assert sorted(os.listdir(tmp_path / "new")) == ["a", "b"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, r"disk of .* is full. Free 0.0 MB or more"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "read-only"),
        (errno.EIO, "Input/output"),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_says_why(tmp_path, monkeypatch, code, message):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError, match=message):
        write_atomically(path, "new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write"):
        write_atomically(tmp_path / "file" / "sample", b"")
