"""A made-up checkout for the tests of book and deck: notebooks, their executed copies and figures in two themes."""

import base64
import io
import json
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image, ImageDraw

PARAMETERS = "seed: int = 0  # root seed"
FIRST = """# 01 · One

**The question:** what is one?

**Takes** 7 minutes. See [two](02_two.ipynb), [its section](./02_two.ipynb#1-·-A-section), [elsewhere](https://example.org/)
and [a file](../LICENSE)."""
SOLUTION = "<details><summary>Solution</summary>$1 + 1 = 2$ is **not** Markdown here.</details>"
LAST = "**Next:** `02_two`."
SECOND = """# 02 · Two

**The question:** what is two?

[![badge](https://example.org/badge.svg)](https://example.org/)

## 1 · A section

$$\\int_0^1 x^2\\,dx = \\tfrac13$$"""


def png(color: str, text: str, size: tuple[int, int] = (192, 108)) -> bytes:
    """A picture of one colour with a text, so that no two are the same."""
    image = Image.new("RGB", size, color)
    ImageDraw.Draw(image).text((10, 10), text, fill="gray")
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def write_figure(folder: Path, identifier: str, frames: int = 1) -> None:
    """A figure in light and dark, in that many frames, with its row of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"{identifier}-frame-{step}" for step in range(1, frames)), identifier]
    for name in names:
        (folder / f"{name}.png").write_bytes(png("white", name))
        (folder / f"{name}-dark.png").write_bytes(png("black", name))
    row = {"title": "The title", "caption": "The caption.", "alt": "What the figure shows", "notebook": "01_one"}
    if frames > 1:
        row["frames"] = [f"{name}.png" for name in names]
    (folder / "manifest.json").write_text(json.dumps({"figures": {identifier: row}}), encoding="utf-8")


def write_book_sources(root: Path) -> None:
    """Two notebooks in `root`/notebooks, executed in `root`/runs/laptop, and one figure in `root`/figures."""
    write_figure(root / "figures", "01-figure")
    notebooks, run = root / "notebooks", root / "runs" / "laptop"
    notebooks.mkdir()
    run.mkdir(parents=True)
    shown = [
        _picture((root / "figures" / "01-figure.png").read_bytes(), "What the figure shows"),
        _picture(png("red", "slider"), "What the slider shows"),
        new_output("stream", name="stdout", text="✓ one: measured 1\n✓ two: measured 2\n✗ three: not yet.\n"),
        new_output("display_data", {"text/markdown": "| a | b |\n|---|---|\n| $x$ | 1 |", "text/plain": "a b"}),
    ]
    cells = [FIRST, PARAMETERS, "show()", SOLUTION, LAST], [SECOND, PARAMETERS]
    for name, texts in zip(("01_one", "02_two"), cells, strict=True):
        content = new_notebook(cells=[_cell(text, number) for number, text in enumerate(texts)])
        nbformat.write(content, notebooks / f"{name}.ipynb")
        if name == "01_one":
            content.cells[2].outputs = shown
        nbformat.write(content, run / f"{name}.ipynb")


def _cell(text: str, number: int) -> nbformat.NotebookNode:
    if text == PARAMETERS:
        return new_code_cell(text, metadata={"tags": ["parameters"]}, id=f"cell-{number}")
    if text == "show()":
        return new_code_cell(text, id=f"cell-{number}")
    return new_markdown_cell(text, id=f"cell-{number}")


def _picture(content: bytes, alt: str) -> nbformat.NotebookNode:
    data = {"image/png": base64.b64encode(content).decode("ascii"), "text/plain": alt}
    return new_output("display_data", data, metadata={"image/png": {"alt": alt}})
