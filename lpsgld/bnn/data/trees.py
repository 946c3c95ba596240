"""Every file of a tree, be it a folder, a .zip or a .tar archive, or the reason why it cannot be read.

Links are followed in folders. Archives are read in place, in the order of their files, and to their end: one that is
cut or damaged is noticed, not read as a smaller one.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from lpsgld.bnn.data.arrays import DatasetError
from lpsgld.text import Mistake

MOST_BYTES = 2**28  # of one file

_PIECE = 2**16  # bytes
_MOST_ABOUT = 2**20  # bytes of a long name or of attributes in a .tar
_LINK = "is a link or no file: pack what it leads to (zip follows links, tar with --dereference)"
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_DAMAGE += (struct.error, EOFError, KeyError, ValueError)  # let through by these modules


@dataclass(frozen=True)
class File:
    """A file of a tree. parts: the names on its way, from the tree's root. obstacle: why it cannot be read, if so.

    `read` gives its bytes as long as the walk stands at it. Raises DatasetError if there are more than MOST_BYTES.
    """

    parts: tuple[str, ...]
    read: Callable[[], bytes]
    obstacle: str = ""

    def __str__(self) -> str:
        return printable("/".join(self.parts))


def walk(path: Path) -> Iterator[File]:
    """Every file of the tree, in an order that does not change. Raises DatasetError for a damaged archive."""
    with told(path):
        if path.is_dir():
            yield from _in_folder(path, str(path))
        elif archive := _tar(path):  # tried first: a .tar whose last member is a .zip looks like that one
            yield from _in_tar(path, archive)
        elif zipfile.is_zipfile(path):
            yield from _in_zip(path)
        else:
            raise DatasetError(
                f"{path} is neither a folder nor a readable .zip or .tar archive (.tar.xz, .tar.gz, .tar.bz2): "
                f"of another kind, or damaged"
            )


def printable(name: str) -> str:
    """The name, with what is no UTF-8 in it as backslash and digits."""
    return name.encode(errors="backslashreplace").decode()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What goes wrong while a file of the tree is read, as a DatasetError."""
    try:
        yield
    except Mistake:
        raise
    except OSError as error:
        if error.errno is None:  # of gzip and bz2
            raise DatasetError(f"{path} is damaged or truncated: {error}. Replace it") from None
        what = printable(str(error.filename or path))
        raise DatasetError(f"{what} cannot be read: {error.strerror}. Change its permissions, or replace it") from None
    except _DAMAGE as error:
        raise DatasetError(f"{path} is damaged or truncated: {error}. Replace it") from None
    except RuntimeError as error:  # encrypted, or packed in a way that this Python does not know
        raise DatasetError(f"{path} cannot be read: {error}. Pack it anew, with deflate and no password") from None


def _read(path: Path, parts: tuple[str, ...], opened: Callable[[], IO[bytes]]) -> bytes:
    with told(path), opened() as file:
        pieces = iter(partial(file.read, _PIECE), b"")  # for what is asked, memory is taken, be there as much or not
        data = b"".join(islice(pieces, MOST_BYTES // _PIECE + 1))
    if len(data) > MOST_BYTES:
        name = printable("/".join(parts))
        raise DatasetError(f"{path}: {name} has more than {MOST_BYTES:,} bytes, too many for one file. Remove it")
    return data


def _in_folder(path: Path, folder: str, parts: tuple[str, ...] = (), above: tuple[tuple, ...] = ()) -> Iterator[File]:
    """above: the folders on the way down to this one, by device and number."""
    try:
        about = os.stat(folder)
        above += ((about.st_dev, about.st_ino),)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if not parts:
            raise
        yield File(parts, bytes, f"cannot be read: {error.strerror}")
        return
    for entry in entries:
        names = (*parts, entry.name)
        try:
            about = entry.stat()
        except OSError as error:
            yield File(names, bytes, f"cannot be read, or is a link that leads nowhere: {error.strerror}")
            continue
        if (about.st_dev, about.st_ino) in above:
            yield File(names, bytes, "is a link to a folder above it")
        elif stat.S_ISDIR(about.st_mode):
            yield from _in_folder(path, entry.path, names, above)
        elif stat.S_ISREG(about.st_mode):
            yield File(names, partial(_read, path, names, partial(open, entry.path, "rb")))
        else:
            yield File(names, bytes, "is neither a file nor a folder")


class _Header(tarfile.TarInfo):
    """A header, unless it wants to be followed by a name or an attribute that fills the memory."""

    @classmethod
    def frombuf(cls, *block: Any) -> tarfile.TarInfo:
        header = super().frombuf(*block)
        if header.size < 0 or (not header.isreg() and header.size > _MOST_ABOUT):
            raise tarfile.ReadError(f"a header claims {header.size} bytes")
        return header


def _tar(path: Path) -> tarfile.TarFile | None:
    try:
        return tarfile.open(path, tarinfo=_Header)
    except (tarfile.ReadError, EOFError):
        return None


def _in_tar(path: Path, archive: tarfile.TarFile) -> Iterator[File]:
    with archive:
        for member in archive:  # in order: seeking back would decompress from the start again
            if not member.isdir():
                names = _parts(member.name)
                obstacle = "" if member.isreg() or member.islnk() else _LINK
                yield File(names, partial(_read, path, names, partial(archive.extractfile, member)), obstacle)
        # tarfile takes a header that it cannot read for the end, and a compressed file has its checksum at its own end
        archive.fileobj.seek(archive.offset)
        end = archive.fileobj.read(tarfile.BLOCKSIZE)
        rest = any(any(block) for block in iter(partial(archive.fileobj.read, _PIECE), b""))
    if any(end) or len(end) < tarfile.BLOCKSIZE:
        raise DatasetError(f"{path} is damaged or truncated: it does not go on to its end. Replace it")
    if rest:
        raise DatasetError(f"{path} goes on after its end, as if two archives had been joined. Keep one of them")


def _in_zip(path: Path) -> Iterator[File]:
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        if file.read(2) == b"PK" and archive.infolist() and min(info.header_offset for info in archive.infolist()):
            raise DatasetError(f"{path} begins with data that its list of files does not name. Pack it anew")
        for info in archive.infolist():
            if not info.filename.endswith(("/", "\\")):
                names = _parts(info.filename)
                obstacle = _LINK if stat.S_ISLNK(info.external_attr >> 16) else ""
                yield File(names, partial(_read, path, names, partial(archive.open, info)), obstacle)


def _parts(name: str) -> tuple[str, ...]:
    """The names on the way to a member of an archive, whose way of writing them is not the only one."""
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    if not parts or ".." in parts:
        raise ValueError(f"{printable(name)!r} is no name of a file in it")
    return parts
