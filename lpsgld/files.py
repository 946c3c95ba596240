"""Files that are there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from lpsgld.text import Mistake


class FileError(Mistake, OSError):
    """A file that cannot be written; the message names the folder, and what to do."""


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a whole file or nothing: to a temporary name beside it, to the disk, then renamed. Text is UTF-8.

    Folders are made. Raises FileError where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    data = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder may not even be there; the first error is the one to tell
            temporary.unlink()
        raise FileError(f"cannot write {path}: {_advice(error, path.parent, len(data))}") from error


def _advice(error: OSError, folder: Path, size: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full. Free {size / 1e6:.1f} MB or more there, or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{folder} is read-only for this user. Choose another folder, or change its permissions"
    return str(error)
