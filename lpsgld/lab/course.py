"""A reader's own copy of the course: what is run, saved and drawn there changes no file that it was made from."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from lpsgld.files import FileError, scratch_folder
from lpsgld.lab.session import COURSE

# the line of a notebook's file, and the empty one after it, in which its head shows a figure
_COVER = re.compile(rb'^ *"!\[[^"]*\]\(\.\./figures/[^"]*\)\\n",\n *"\\n",\n', flags=re.M)
_PARTS = ("*.ipynb", "slides.md", "profiles/*.yaml", "recorded/**/*.json")


def without_cover(content: bytes) -> bytes:
    """What is in a notebook's file, without the figure at its head, for those who look at the file where it is: what is
    run, copied or printed shows its own, which move, and not before the reader has guessed what they show."""
    return _COVER.sub(b"", content)


def copy_course(notebooks: Path, out: Path) -> str:
    """Copy notebooks, with the profiles and recorded results that they ask for, to `out`/notebooks; what to say of it.

    Whatever runs there leaves its figures and runs in `out`. A copy that is there stays as it is, whatever its reader
    made of it. Raises FileError if `out` is anything else than a copy or an empty folder, or cannot be written.
    """
    files = sorted(file for part in _PARTS for file in notebooks.glob(part))
    made_of = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    mark = out / COURSE
    if mark.is_file():
        if mark.read_text("utf-8") == made_of:
            return f"{out} is your copy of the course, and stays as it is"
        return f"{out} is a copy of an older course, and stays as it is. For the new one, move it away, or name another"
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileError(f"{out} is no copy of the course, and not empty: name a folder that is not there yet")
    with scratch_folder(out.parent) as scratch:
        try:
            for file in files:
                target = scratch / "copy" / "notebooks" / file.relative_to(notebooks)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(without_cover(file.read_bytes()))
            (scratch / "copy" / COURSE).write_text(made_of, "utf-8")
            os.replace(scratch / "copy", out)
        except OSError as error:
            raise FileError(f"cannot make the copy {out}: {error.strerror}. Name another folder") from error
    return f"your copy of the course: {out / 'notebooks'}"
