"""The HTML copies that a run leaves of its notebooks: each is a page as the book has them, but in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nbformat

import lpsgld
from lpsgld.batch.notebook import Notebook
from lpsgld.publish.page import Files, make_page, render, script, stylesheet
from lpsgld.publish.pictures import Gallery
from lpsgld.publish.recordings import Recordings
from lpsgld.text import Mistake


@dataclass(frozen=True)
class Copies:
    """Makes the copy of a notebook, for `batch.run_notebooks`: views move in it as far as they are recorded."""

    recordings: Recordings

    def __call__(self, notebook: Notebook, executed: nbformat.NotebookNode, figures: Path) -> str:
        """The page. A notebook that failed has one, too; what the book refuses is shown as it is."""
        try:
            gallery = Gallery(figures)
        except Mistake:  # some figure of the folder is broken: that is for the notebook to tell which draws it
            gallery = Gallery()
        page = make_page(notebook, executed, (), Files(None, gallery), self.recordings, strict=False)
        return render(
            "copy.html.j2",
            page=page,
            pages=[page],
            smoke=page.smoke,
            version=lpsgld.__version__,
            style=stylesheet(),
            scripts=[script("book.js"), script("player.js")] if page.moves else [script("book.js")],
        )
