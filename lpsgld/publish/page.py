"""One executed notebook as a page of the book: prose, code that opens, outputs, pictures in files of their own."""

from __future__ import annotations

import base64
import binascii
import contextlib
import copy
import re
from collections.abc import Container
from dataclasses import dataclass
from hashlib import sha256
from mimetypes import guess_extension, guess_type
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from bs4 import BeautifulSoup, Tag
from markupsafe import Markup
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from lpsgld.batch.errors import BatchError, about
from lpsgld.batch.notebook import Notebook
from lpsgld.publish import players, prose
from lpsgld.publish.pictures import Figure, Gallery, packed
from lpsgld.publish.recordings import Recordings

ASSETS = Path(__file__).with_name("assets")
PICTURES = "pictures"  # the folder beside the pages

# A picture before the widget that shows it: without a kernel, a reader would otherwise see a blank.
_PREFERENCE = [
    "text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain",
]  # fmt: skip
_ONLY_A_WIDGET = {"application/vnd.jupyter.widget-view+json", "text/plain"}

# A picture whose alternative text this is has none: nbconvert says so for us.
_NO_ALT = "No description has been provided for this image"


@dataclass(frozen=True)
class Page:
    """What the book shows of one notebook. `sections` are the identifiers and titles of its second-level headings."""

    file: str
    title: str
    question: str
    minutes: str
    body: str
    sections: tuple[tuple[str, str], ...]
    claims: int
    moves: bool
    smoke: bool


def make_page(
    notebook: Notebook,
    content: nbformat.NotebookNode,
    pages: Container[str],
    files: Files,
    recordings: Recordings | None = None,
    strict: bool = True,
) -> Page:
    """The page of an executed notebook; its pictures are added to `files`.

    pages: names of the notebooks that the book holds. recordings: of the views that move on the page; without, all
    stand still. Raises BatchError, naming the notebook, for a formula that is not TeX, a picture without an alternative
    text, or a picture that is not there; unless `strict`, all of them are shown as they are.
    """
    tolerant = contextlib.nullcontext() if strict else contextlib.suppress(BatchError)
    with about(f"notebook {notebook.name}"):
        moving = players.packed(content, recordings) if recordings else {}
        body = prose.typeset(BeautifulSoup(_export(content, moving), "html.parser"), strict)
        for place in body.select("[data-moves]"):
            players.mount(_first_still(place), moving[int(str(place["data-moves"]))])
        for picture in body.find_all("img"):
            with tolerant:
                _keep_picture(picture, notebook.path.parent, files)
        for link in body.find_all("a", href=True):
            _point_into_the_book(link, pages)
        for code in body.find_all("code"):  # "Next: `01_number_formats`"
            if code.string in pages and code.string != notebook.name and not code.find_parent(["a", "pre"]):
                code.wrap(body.new_tag("a", href=f"{code.string}.html"))
    streams = [o.text for cell in content.cells for o in cell.get("outputs", []) if o.output_type == "stream"]
    takes = re.search(r"\*\*Takes\*\* (\d+) minutes", content.cells[0].source if content.cells else "")
    return Page(
        file=f"{notebook.name}.html",
        title=notebook.title,
        question=notebook.question[:1].upper() + notebook.question[1:],
        minutes=takes[1] if takes else "",
        body=str(body),
        sections=tuple((h["id"], h.get_text().removesuffix("¶").strip()) for h in body.find_all("h2", id=True)),
        claims=sum(line.startswith("✓ ") for text in streams for line in text.splitlines()),
        moves=bool(moving),
        smoke=content.metadata.get("papermill", {}).get("parameters", {}).get("smoke") is True,
    )


class Files:
    """The pictures of a book: written once each, into its folder `pictures`, under names that follow their content.

    Without a folder, they are in the page itself.
    """

    def __init__(self, folder: Path | None, gallery: Gallery) -> None:
        self.folder = folder
        self.gallery = gallery
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, content: bytes, ending: str = ".png", name: str = "") -> str:
        """Write a picture, and return its address from a page. A PNG becomes WebP: the same pixels in a third of the
        bytes. Raises BatchError for one that is none."""
        if ending == ".png":
            content, ending = packed(content), ".webp"
        if not self.folder:
            kind, _ = guess_type(f"picture{ending}", strict=False)  # not strict: WebP is not registered everywhere
            return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
        name = (name or sha256(content).hexdigest()[:16]) + ending
        (self.folder / name).write_bytes(content)
        return f"{PICTURES}/{name}"

    def show(self, figure: Figure) -> Markup:
        """HTML of a saved figure in both themes."""
        image = Markup('<img class="{}" loading="{}" width="1920" height="1080" src="{}" alt="{}">')
        light, dark = (self.add(path.read_bytes(), name=path.stem) for path in figure.picture)
        shown = image.format("light", "eager", light, figure.alt)  # paper, too, needs this one
        return shown + image.format("dark", "lazy", dark, figure.alt)


def render(template: str, **values: Any) -> str:
    """A template of `assets/`, filled in."""
    loader = jinja2.FileSystemLoader(ASSETS)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(**values)


def script(name: str) -> Markup:
    """A script of `assets/`."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def stylesheet() -> Markup:
    """The look of pages, players and code."""
    style = "".join((ASSETS / name).read_text(encoding="utf-8") for name in ("book.css", "player.css"))
    return Markup(style + _colours_of_code())


def _colours_of_code() -> str:
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("friendly", "monokai"))
    return (
        f"\n/* code */\n{light}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{\n{dark}\n}} }}\n"
        f"@media screen {{ :root[data-theme=dark] {{\n{dark}\n}} }}\n"
    )


def _export(content: nbformat.NotebookNode, moving: Container[int]) -> str:
    """The notebook as HTML; the outputs of a cell that moves stand together in an element with the cell's number."""
    content = _without_widgets(content)
    for number, cell in enumerate(content.cells):
        if number in moving:
            cell.metadata["moves"] = str(number)
    exporter = HTMLExporter(extra_template_basedirs=[str(ASSETS)], template_name="notebook")
    exporter.config.NbConvertBase.display_data_priority = _PREFERENCE
    return exporter.from_notebook_node(content)[0]


def _without_widgets(content: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of the notebook that needs no widget's script: their pictures stay, progress bars go."""
    content = copy.deepcopy(content)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if set(output.get("data", {})) != _ONLY_A_WIDGET]
    return content


def _first_still(place: Tag) -> Tag:
    """The element without the other pictures of its view and the lines below them: whoever runs no script sees one."""
    for picture in place.select(".picture")[1:]:
        if (caption := picture.find_next_sibling()) and caption.find("em"):
            caption.decompose()
        picture.decompose()
    return place


def _keep_picture(picture: Tag, directory: Path, files: Files) -> None:
    """Let the picture be a file of the book, or a saved figure in both themes if it is the picture of one."""
    source, alt = str(picture.get("src", "")), str(picture.get("alt", "")).strip()
    if source.startswith(("http:", "https:", "//")):  # a badge: offline, its text says as much
        picture.replace_with(alt)
        return
    if source.startswith("data:"):
        kind, _, data = source.partition(";base64,")
        try:
            content = base64.b64decode("".join(data.split()), validate=True)
        except binascii.Error as error:
            raise BatchError(f"the picture {alt!r} is not base64: {error}") from error
        if figure := files.gallery.showing(content):
            picture.replace_with(BeautifulSoup(files.show(figure), "html.parser"))
            return
        picture["src"] = files.add(content, guess_extension(kind.removeprefix("data:")) or ".png")
    else:
        path = directory / source
        if not path.is_file():
            raise BatchError(f"the picture {source} is not in {directory}")
        picture["src"] = files.add(path.read_bytes(), path.suffix)
    if not alt or alt == _NO_ALT:
        raise BatchError(
            f"the picture {source[:60]!r} has no alternative text: show pictures with lab.explore or lab.save_figure, "
            "and write ![what is seen](file) in Markdown"
        )


def _point_into_the_book(link: Tag, pages: Container[str]) -> None:
    """A link to another notebook leads to its page; one that leads out of the book to a local file is only text."""
    address, _, fragment = str(link["href"]).partition("#")
    name = address.removeprefix("./").removesuffix(".ipynb")
    if name in pages and name != address:
        link["href"] = f"{name}.html" + (f"#{fragment}" if fragment else "")
    elif address and ":" not in address:
        link.unwrap()
