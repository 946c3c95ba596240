"""The book: a page for each executed notebook, an index, and the means to leaf through them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import lpsgld
from lpsgld.batch import notebook as notebooks
from lpsgld.batch.errors import BatchError
from lpsgld.files import FileError, scratch_folder
from lpsgld.publish import players, reference
from lpsgld.publish.page import ASSETS, PICTURES, Files, Page, make_page, render, stylesheet
from lpsgld.publish.pictures import Gallery
from lpsgld.publish.recordings import Recordings

MARK = "book.css"  # a folder with this file is a book, and may be replaced by the next one
SCRIPTS = ("book.js", "player.js")
_LEAD = ("05-figure-1", "00-story")  # the index shows the first of these figures that there is


def build_book(
    names: Sequence[str], run: Path, out: Path, directory: Path, recordings: Recordings | None = None
) -> Path:
    """Make the book of the notebooks `names`, executed in the folder `run`, in the folder `out`; its index is returned.

    directory: the notebooks' folder. Figures in dark colours are those of the run, else those of `figures/` beside it.
    recordings: views move in the book; those that need no notebook's results are recorded now, unless they are already,
    the others move if the run has recorded them. Without it, all stand still.
    Raises BatchError if a notebook cannot be taken (see `obstacles`), or if `out` holds something else.
    """
    if problems := obstacles(names, run, directory):
        raise BatchError(_explain(problems, run))
    _require_place(out)
    with scratch_folder(out.parent) as scratch:
        book = scratch / "book"
        files = Files(book / PICTURES, Gallery(directory.parent / "figures", run / "figures"))
        read = [(notebooks.read(directory / f"{n}.ipynb"), notebooks.load(run / f"{n}.ipynb")) for n in names]
        if recordings:
            recordings.make(view for _, executed in read for view in players.explored(executed).values())
        pages = [make_page(notebook, executed, names, files, recordings) for notebook, executed in read]
        _write_pages(book, pages, files)
        reference.write(book)
        _place(book, out)
    return out / "index.html"


def build_reference(out: Path) -> Path:
    """Make the reference alone in the folder `out`; its index is returned. Raises BatchError as `build_book` does."""
    _require_place(out)
    with scratch_folder(out.parent) as scratch:
        book = scratch / "book"
        book.mkdir()
        reference.write(book, overview="index.html")
        _write_look(book)
        _place(book, out)
    return out / "index.html"


def _require_place(out: Path) -> None:
    if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BatchError(f"{out} is there already and is not a book: move it away, or name another folder with --out")


def _place(book: Path, out: Path) -> None:
    """Move the book to its place; the one there goes. Another process may do the same: the last one's stays."""
    for attempt in range(10):
        try:
            if out.exists():
                out.replace(book.with_name(f"previous-{attempt}"))
            book.replace(out)
            return
        except OSError as error:
            failure = error
    raise FileError(f"cannot put the book into {out}: {failure.strerror}. Name another folder with --out") from failure


def obstacles(names: Sequence[str], run: Path, directory: Path) -> dict[str, str]:
    """Why notebooks cannot be taken from this run, by name: not there, failed, or changed since; empty if they can."""
    found = {}
    for name in names:
        if (run / f"{name}.failed.ipynb").is_file():
            found[name] = "failed"
        elif not (run / f"{name}.ipynb").is_file():
            found[name] = "is not there"
        elif _sources(run / f"{name}.ipynb") != _sources(directory / f"{name}.ipynb"):
            found[name] = "has changed since"
    return found


def _explain(problems: dict[str, str], run: Path) -> str:
    what = "; ".join(f"{name} {problem}" for name, problem in problems.items())
    again = " ".join(name[:2] for name in problems)
    return (
        f"no book from {run}: {what}. `lpsgld book --run` executes them first, at laptop size; `lpsgld run {again} "
        f"--profile P --out {run}` does so at another one; or name other notebooks, or another run with --from"
    )


def _sources(path: Path) -> list[str]:
    cells = notebooks.load(path).cells
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def _write_pages(book: Path, pages: Sequence[Page], files: Files) -> None:
    figures = [files.gallery.figures[name] for name in _LEAD if name in files.gallery.figures]
    lead = (files.show(figures[0]), figures[0].caption) if figures else None
    common = {"pages": pages, "version": lpsgld.__version__, "smoke": any(page.smoke for page in pages)}
    common["moves"] = any(page.moves for page in pages)
    for previous, page, following in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        html = render("page.html.j2", page=page, previous=previous, next=following, **common)
        (book / page.file).write_text(html, encoding="utf-8")
    (book / "index.html").write_text(render("index.html.j2", page=None, lead=lead, **common), encoding="utf-8")
    _write_look(book)


def _write_look(book: Path) -> None:
    (book / MARK).write_text(stylesheet(), encoding="utf-8")
    for name in SCRIPTS:
        shutil.copyfile(ASSETS / name, book / name)
