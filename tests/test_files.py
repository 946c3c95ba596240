"""A file is written whole or not at all, and a failure says what to do."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from lpsgld.files import FileError, locked, scratch_folder, user_path, write_atomically


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


def test_ctrl_c_while_writing_leaves_nothing_temporary(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []


def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    write = "import os, sys\nfrom lpsgld.files import write_atomically\n"
    write += "os.fsync = lambda _: os.kill(os.getpid(), 9)\nwrite_atomically(sys.argv[1], 'half')"
    killed = subprocess.Popen([sys.executable, "-c", write, str(tmp_path / "[a].json")])
    assert killed.wait() == -9
    assert os.listdir(tmp_path) == [f".[a].json.{killed.pid}.tmp"]
    living = f".[a].json.{os.getppid()}.tmp"
    others = [living, f".a.json.{killed.pid}.tmp", f".[a].json.{killed.pid}.bak.tmp", ".[a].json.99999999999999.tmp"]
    for name in others:
        (tmp_path / name).write_text("another's")
    (tmp_path / f".[a].json.{2**22 + 1}.tmp").mkdir()  # beyond the largest number of a process, and no file
    write_atomically(tmp_path / "[a].json", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, f".[a].json.{2**22 + 1}.tmp", "[a].json"])


def test_a_locked_folder_is_one_writer_s_and_free_afterwards(tmp_path):
    def other() -> None:
        try:
            with locked(tmp_path / "new", patience=0):
                found.append("free")
        except FileError as error:
            found.append(str(error))

    found = []
    with locked(tmp_path / "new"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    assert found == [
        f"another process is writing into {tmp_path / 'new'}: wait for it, or choose another folder",
        "free",
    ]


def test_a_folder_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=f"cannot write into {tmp_path / 'file'}"), locked(tmp_path / "file"):
        pass


def test_a_link_stays_one_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "elsewhere" / "file").read_text() == "new"


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/runs") == tmp_path / "runs"
    for path in ("~no-such-user-here/runs", "a\0b"):
        with pytest.raises(FileError, match="cannot be a path: .* Give the whole path"):
            user_path(path)


def test_a_scratch_folder_goes_and_so_does_what_a_killed_process_left_there(tmp_path):
    make = "import os, sys\nfrom lpsgld.files import scratch_folder\n"
    make += "with scratch_folder(sys.argv[1]) as made:\n    (made / 'half').touch()\n    os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", make, str(tmp_path)]).returncode == -9
    (abandoned,) = tmp_path.iterdir()
    assert sorted(os.listdir(abandoned)) == ["half", "lock"]
    strangers = [".lpsgld-notes", ".lpsgld-12345678.txt", "abandoned"]
    for name in strangers:
        (tmp_path / name).write_text("a stranger's")
    with scratch_folder(tmp_path) as living, scratch_folder(tmp_path) as another:
        (another / "file").touch()
        assert set(tmp_path.iterdir()) == {living, another, *(tmp_path / name for name in strangers)}
    assert sorted(os.listdir(tmp_path)) == sorted(strangers)


def test_no_scratch_folder_where_none_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot write into .*file"), scratch_folder(tmp_path / "file"):
        pass


def test_a_folder_a_device_or_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder"):
        with pytest.raises(FileError, match="a folder, a device or a pipe. Give the name of a file"):
            write_atomically(path, "data")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 2
