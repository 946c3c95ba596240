"""The HTML copy that a run leaves of a notebook, as a file. How it looks is tested in tests/browser/test_publish.py."""

import copy
import mimetypes
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lpsgld.batch import notebook as notebooks
from lpsgld.publish import Copies, Recordings
from tests.publish.made_up import write_book_sources, write_figure

WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1", "version_major": 2, "version_minor": 0}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
ALT = {"alt": 'a "dot" & more', "width": 960}


def executed() -> nbformat.NotebookNode:
    """A progress bar, a view with its picture, a printed text, and an error at the end."""
    bar = new_output("display_data", WIDGET | {"text/plain": "digits:   0%| | 0/7"})
    slider = new_output(
        "display_data", WIDGET | {"text/plain": "VBox()", "image/png": PIXEL}, metadata={"image/png": ALT}
    )
    text = new_output("stream", name="stdout", text="measured")
    error = new_output("error", ename="ValueError", evalue="no luck", traceback=["\x1b[31mValueError\x1b[0m: no luck"])
    cells = [new_markdown_cell("Half: $\\tfrac12$"), new_code_cell("x", outputs=[bar, slider, text, error])]
    return new_notebook(cells=cells, metadata={"widgets": {"state": {}}})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    write_book_sources(tmp_path)
    return tmp_path


def test_the_kind_of_a_picture_is_told_where_the_system_registers_no_webp(checkout, monkeypatch):
    monkeypatch.setattr(mimetypes, "_db", mimetypes.MimeTypes())  # what Python knows by itself
    assert mimetypes.guess_type("picture.webp") == (None, None) or sys.version_info >= (3, 13)
    sources = [str(image["src"]) for image in page_of(checkout, executed()).find_all("img")]
    assert sources and all(source.startswith("data:image/webp;base64,") for source in sources)


def page_of(checkout: Path, content: nbformat.NotebookNode) -> BeautifulSoup:
    """The copy of `content`, as if it were the executed first notebook of the made-up book."""
    notebook = notebooks.read(checkout / "notebooks" / "01_one.ipynb")
    html = Copies(Recordings(checkout / "views"))(notebook, content, checkout / "figures")
    return BeautifulSoup(html, "html.parser")


def test_a_copy_shows_pictures_texts_and_errors_and_no_widget(checkout):
    content = executed()
    before = copy.deepcopy(content)
    page = page_of(checkout, content)
    (picture,) = page.find_all("img")
    assert picture["alt"] == ALT["alt"] and picture["src"].startswith("data:image/webp;base64,")
    text = page.get_text()
    assert "measured" in text and "ValueError: no luck" in text and page.title.get_text() == "01 · One"
    assert "0/7" not in text and "VBox()" not in text
    assert content == before, "the notebook itself is left alone"


def test_a_copy_needs_no_other_file_and_no_network(checkout):
    content = nbformat.read(checkout / "runs" / "laptop" / "01_one.ipynb", as_version=4)
    page = page_of(checkout, content)
    assert not page.find_all(["script", "img", "iframe"], src=lambda src: src and not src.startswith("data:"))
    assert [link["href"] for link in page.find_all("link")] == ["data:,"]
    assert not page.find_all("a", href=lambda href: not href.startswith(("#", "https:")))
    assert page.article.math and "$" not in page.article.get_text()
    assert {image["class"][0] for image in page.article.find_all("img")} == {"light", "dark", "card"}


@pytest.mark.parametrize("text", [r"not TeX: $\unknown{x}$", "![](nowhere.png)", "![seen](nowhere.png)", "![](data:x)"])
def test_what_the_book_refuses_is_shown_as_it_is(checkout, text):
    content = executed()
    content.cells.append(new_markdown_cell(text))
    page = page_of(checkout, content)
    assert page.math and page.find("img", alt=ALT["alt"])
    assert r"not TeX: $\unknown{x}$" in page.get_text() or len(page.find_all("img")) == 2


def test_a_broken_folder_of_figures_spoils_no_copy(checkout):
    write_figure(checkout / "figures", "02-other")
    (checkout / "figures" / "02-other-dark.png").unlink()
    assert page_of(checkout, executed()).find("img", alt=ALT["alt"])
