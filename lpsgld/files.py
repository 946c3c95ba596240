"""Files that are there whole, or not at all, and folders that one process at a time writes into."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from lpsgld.text import Mistake

_SCRATCH = ".lpsgld-"  # begins the names of folders that `scratch_folder` makes


class FileError(Mistake, OSError):
    """A file that cannot be written; the message names the folder, and what to do."""


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a whole file or nothing: to a temporary name beside it, to the disk, then renamed. Text is UTF-8.

    Folders are made. A link stays one: what it leads to is written. What a process that was killed has left of the same
    file goes. Raises FileError where the disk is full or the folder cannot be written.
    """
    path = Path(os.path.realpath(path))
    data = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        raise FileError(f"cannot write {path}: it is a folder, a device or a pipe. Give the name of a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _remove_leftovers(path)
    except OSError as error:
        raise FileError(f"cannot write {path}: {_advice(error, path.parent, len(data))}") from error
    finally:  # also after Ctrl-C
        with contextlib.suppress(OSError):  # renamed, or the folder is not even there; the first error is told
            temporary.unlink()


def user_path(path: str | Path) -> Path:
    """The path, with a user's home for `~` or `~name`. Raises FileError where there is none, or no path at all."""
    try:
        if "\0" in str(path):
            raise ValueError("a path cannot hold the character NUL.")
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as error:  # no such user, or no home
        raise FileError(f"{str(path)!r} cannot be a path: {error} Give the whole path") from None


@contextlib.contextmanager
def locked(folder: str | Path, patience: float = 60.0) -> Iterator[None]:
    """Hold the folder's lock, the file `.lock` in it, which the system frees however this process ends.

    The folder is made. Raises FileError if another process holds the lock for `patience` seconds, or if the folder
    cannot be written.
    """
    folder = Path(folder)
    lock = filelock.FileLock(folder / ".lock", timeout=patience)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise FileError(f"another process is writing into {folder}: wait for it, or choose another folder") from None
    except OSError as error:
        raise FileError(f"cannot write into {folder}: {_advice(error, folder, 0)}") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def scratch_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder inside `folder` for files on their way; gone afterwards, as are those that killed processes left.

    Each such folder holds a lock that the system frees however its process ends: whose lock is free, is nobody's.
    `folder` is made. Raises FileError if it cannot be written.
    """
    folder = Path(folder)
    for abandoned in folder.glob(f"{_SCRATCH}????????"):
        with contextlib.suppress(OSError), filelock.FileLock(abandoned / "lock", timeout=0):
            shutil.rmtree(abandoned, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    except OSError as error:
        raise FileError(f"cannot write into {folder}: {_advice(error, folder, 0)}") from error
    made, lock = folder / f"{_SCRATCH}{new.name[-8:]}", filelock.FileLock(new / "lock")
    try:
        lock.acquire()
        yield new.rename(made)  # locked before anybody looks at it
    finally:
        for place in (new, made):
            shutil.rmtree(place, ignore_errors=True)
        lock.release()


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `path` whose process lives no more."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name[len(path.name) + 2 : -len(".tmp")]
        if pid.isdecimal() and not leftover.is_symlink() and not _may_live(int(pid)):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _may_live(pid: int) -> bool:
    """Whether a process may have this number now: only a system that knows of none says no."""
    try:
        if os.name == "posix":
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's, or no number of a process
        pass
    return True


def _advice(error: OSError, folder: Path, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full. Free {size / 1e6:.1f} MB or more there, or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{folder} is read-only for this user. Choose another folder, or change its permissions"
    return f"{error.strerror or error}. Choose another folder"
