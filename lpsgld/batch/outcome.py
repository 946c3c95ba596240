"""What an executed notebook tells: its first error, where it stood, the figures that it left."""

from dataclasses import dataclass
from pathlib import Path

import nbformat

from lpsgld.lab.figures.saving import ManifestError, read_manifest

WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


@dataclass(frozen=True)
class Problem:
    """The first line of an error, and where it is: a cell as `In [3]`, or a widget."""

    where: str
    error: str


def find_problem(content: nbformat.NotebookNode) -> Problem | None:
    """The first error in an executed notebook's outputs, else in the state of its Output widgets, else None.

    ipywidgets stores an error that a callback raises inside an Output there, and the cell itself succeeds.
    """
    for cell in content.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return Problem(_label(cell), _first_line(output))
    models = content.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {}).values()
    for model in models:
        for output in model["state"].get("outputs", []):
            if output["output_type"] == "error":
                return Problem("a widget's callback", _first_line(output))
    return None


def last_cell(content: nbformat.NotebookNode) -> str:
    """The cell in which a notebook that was cut off stood, by papermill's record, or `the start`."""
    status = [cell.metadata.get("papermill", {}).get("status", "pending") for cell in content.cells]
    begun = [cell for cell, state in zip(content.cells, status, strict=True) if state != "pending"]
    return _label(begun[-1]) if begun else "the start"


def count_figures(directory: Path, notebook: str, since: float) -> int:
    """How many of `notebook`'s figures in `directory` were written after the time `since` (Unix seconds).

    A manifest that cannot be read counts as none: the notebook that meets it says so itself.
    """
    try:
        rows = [row for row in read_manifest(directory, "notebook", "files").values() if row["notebook"] == notebook]
    except ManifestError:
        return 0
    files = [[directory / name for name in row["files"]] for row in rows]
    return sum(all(file.exists() and file.stat().st_mtime >= since for file in figure) for figure in files)


def _label(cell: nbformat.NotebookNode) -> str:
    count = cell.get("execution_count")
    opening = next(iter(cell.source.splitlines()), "")
    return f"In [{count if count else '*'}] `{opening}`"


def _first_line(output: dict) -> str:
    message = next(iter(output["evalue"].splitlines()), "")
    return f"{output['ename']}: {message}" if message else output["ename"]
