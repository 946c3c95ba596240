"""Recorded views in pages: which cell or figure shows which view, and what a page needs to move it.

A page moves a view if it holds an element of class `player` with its recording, and the script and the style sheet of
players, once.
"""

from __future__ import annotations

import ast
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag

from lpsgld.batch import notebook
from lpsgld.batch.errors import BatchError
from lpsgld.lab.sliders import recording
from lpsgld.publish.recordings import Recordings, find

_VIEWS = "lpsgld.lab.views"


def explored(content: nbformat.NotebookNode) -> dict[int, str]:
    """The views that a notebook explores just as they are imported, each under the number of its cell."""
    return {number: view for number, name, view, _ in _calls(content) if name == "explore"}


def saved(content: nbformat.NotebookNode) -> dict[str, str]:
    """The views of which a notebook saves a figure, by the figure's identifier."""
    return {texts[0]: view for _, name, view, texts in _calls(content) if name == "save_figure" and texts}


def of_notebooks(directory: Path, names: Sequence[str]) -> list[str]:
    """All views that these notebooks of the folder explore and that need nothing which a notebook computes."""
    contents = (notebook.load(directory / f"{name}.ipynb") for name in names)
    return list(dict.fromkeys(view for content in contents for view in explored(content).values()))


def of_figures(directory: Path) -> dict[str, str]:
    """The view of each figure that the notebooks in this folder save of one, by the figure's identifier."""
    contents = (notebook.load(directory / f"{name}.ipynb") for name in notebook.names(directory))
    return {identifier: view for content in contents for identifier, view in saved(content).items()}


def packed(content: nbformat.NotebookNode, recordings: Recordings) -> dict[int, bytes]:
    """The recordings that there are for an executed notebook, each under the number of its cell: those of views that it
    imports, and those that it holds itself, of views that need what it computes (see `lab.explore`)."""
    found = {number: recordings.load(name) for number, name in explored(content).items() if recordings.has(name)}
    return found | {number: own for number, cell in enumerate(content.cells) if (own := _held(cell))}


def held(executed: nbformat.NotebookNode) -> dict[str, bytes]:
    """The recordings of the figures that an executed notebook saves of views of its own, by the figure's identifier:
    `lab.explore(view)` holds the recording (see there), `lab.save_figure(view, "09-figure", ...)` names the figure."""
    recordings, figures = {}, {}
    for cell in executed.cells:
        for node in _nodes(cell):
            match node:
                case ast.Call(func=ast.Attribute(attr="explore"), args=[ast.Name(id=view)]):
                    recordings[view] = _held(cell)
                case ast.Call(
                    func=ast.Attribute(attr="save_figure"), args=[ast.Name(id=view), ast.Constant(value=name)]
                ):
                    figures[name] = view
    return {name: found for name, view in figures.items() if (found := recordings.get(view))}


def of_run(run: Path, names: Sequence[str]) -> dict[str, bytes]:
    """What these executed notebooks of a run's folder hold, see `held`."""
    executed = (notebook.load(run / f"{name}.ipynb") for name in names)
    return {identifier: packed for content in executed for identifier, packed in held(content).items()}


def mount(place: Tag, packed: bytes, slide: bool = False) -> None:
    """Make a player of this element, which holds the view's stills. slide: it begins as the view's figure is drawn, not
    with its defaults."""
    place["class"] = [*place.get("class", []), "player"]
    if slide:
        place["data-start"] = "slide"
    # of a type that no browser knows: none runs it
    script = BeautifulSoup('<script type="application/x-deflate"></script>', "html.parser").script
    script.string = b64encode(packed).decode("ascii")
    place.append(script)


@dataclass(frozen=True)
class Moving:
    """Figures that move: the view of each, by its identifier, and the recordings; `own`: those of views that a run's
    notebooks made, see `held`."""

    views: Mapping[str, str]
    recordings: Recordings | None = None
    own: Mapping[str, bytes] = field(default_factory=dict)

    def record(self, identifiers: Collection[str]) -> None:
        """Record the views of these figures that are not recorded yet."""
        if self.recordings:
            self.recordings.make(view for identifier, view in self.views.items() if identifier in identifiers)

    def mount(self, place: Tag, identifier: str) -> None:
        """Let the stills in this element move, if they are a figure that does, from the settings of the figure on."""
        packed = self.own.get(identifier)
        if self.recordings and (name := self.views.get(identifier)):
            packed = self.recordings.load(name)
        if packed:
            mount(place, packed, slide=True)


def _calls(content: nbformat.NotebookNode) -> Iterator[tuple[int, str, str, list[str]]]:
    """The calls `lab.NAME(views.VIEW, "text", ...)`: number of the cell, NAME, the view's whole name, the texts."""
    modules: dict[str, str] = {}
    for number, cell in enumerate(content.cells):
        for node in _nodes(cell):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_VIEWS):
                modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="lab"), attr=called),
                    args=[ast.Attribute(value=ast.Name(id=module), attr=attribute), *others],
                    keywords=[],
                ) if module in modules and _is_view(view := f"{modules[module]}.{attribute}"):
                    yield number, called, view, [o.value for o in others if isinstance(o, ast.Constant)]


def _held(cell: nbformat.NotebookNode) -> bytes | None:
    """The recording that an executed cell holds beside its picture."""
    texts = (output.get("data", {}).get(recording.MIME) for output in cell.get("outputs", []))
    return next((b64decode(text) for text in texts if text), None)


def _nodes(cell: nbformat.NotebookNode) -> Iterator[ast.AST]:
    """What a code cell consists of; nothing, if it is not Python alone."""
    try:
        yield from ast.walk(ast.parse(cell.source if cell.cell_type == "code" else ""))
    except SyntaxError:
        return


def _is_view(name: str) -> bool:
    try:
        find(name)
    except BatchError:
        return False
    return True
