"""What a notebook keeps of its widgets where there is no kernel."""

import nbformat
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lpsgld.batch.export import to_html, without_widgets

WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1", "version_major": 2, "version_minor": 0}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
ALT = {"alt": 'a "dot" & more', "width": 960}


def notebook() -> nbformat.NotebookNode:
    bar = new_output("display_data", WIDGET | {"text/plain": "digits:   0%| | 0/7"})
    slider = new_output(
        "display_data", WIDGET | {"text/plain": "VBox()", "image/png": PIXEL}, metadata={"image/png": ALT}
    )
    text = new_output("stream", name="stdout", text="measured")
    content = new_notebook(cells=[new_code_cell("x", outputs=[bar, slider, text])])
    content.metadata["widgets"] = {"state": {}}
    return content


def test_pictures_and_texts_stay_and_progress_bars_go():
    content = notebook()
    kept = without_widgets(content)
    assert [output.output_type for output in kept.cells[0].outputs] == ["display_data", "stream"]
    assert "widgets" not in kept.metadata
    assert len(content.cells[0].outputs) == 3, "the notebook itself is left alone"


def test_the_html_copy_shows_the_picture_and_no_bar_at_zero(tmp_path):
    page = to_html(notebook(), "A title", tmp_path)
    assert PIXEL in page and "measured" in page
    (picture,) = BeautifulSoup(page, "html.parser").find_all("img")
    assert (picture["alt"], picture["width"]) == (ALT["alt"], "960") and picture["src"].endswith(PIXEL)
    assert "0/7" not in page and "VBox()" not in page
