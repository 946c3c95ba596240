"""Which notebook draws which figure, and what the figure says: for `lpsgld figures`."""

import re
from collections.abc import Sequence
from pathlib import Path

from lpsgld.batch import notebook
from lpsgld.batch.errors import BatchError, about
from lpsgld.lab.figures.saving import read_manifest
from lpsgld.text import one_of

# the identifier is the first text of its form in the call
_CALL = re.compile(r'\bsave_figure\(.+?"(\d\d(?:-[a-z0-9]+)+)"', re.DOTALL)


def catalogue(directory: Path) -> dict[str, str]:
    """The notebook of each figure, by the figure's identifier, as the notebooks in `directory` are written."""
    drawn = {}
    for name in notebook.names(directory):
        with about(f"notebook {name}"):
            content = notebook.load(directory / f"{name}.ipynb")
        sources = "\n".join(cell.source for cell in content.cells if cell.cell_type == "code")
        drawn |= dict.fromkeys(sorted(_CALL.findall(sources)), name)
    return drawn


def choose(identifiers: Sequence[str], known: dict[str, str]) -> dict[str, str]:
    """The catalogue's entries with these identifiers, or all of them. Raises BatchError with the nearest known one."""
    return {text: known[one_of("figure", text, known, BatchError)] for text in identifiers} or known


def describe(figures: dict[str, str], folder: Path) -> str:
    """Identifier, title and caption of each figure, as the manifest in `folder` has them."""
    rows = read_manifest(folder, "title", "caption")
    undrawn = {"title": "not drawn yet", "caption": "Draw it to see its caption."}
    entries = ((identifier, name, rows.get(identifier, undrawn)) for identifier, name in figures.items())
    return "\n".join(f"{which}: {row['title']} ({name})\n    {row['caption']}" for which, name, row in entries)
