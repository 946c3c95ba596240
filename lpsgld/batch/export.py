"""An executed notebook as one HTML file, with its pictures inside and in place of its widgets."""

import copy
import html
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

# A picture before the widget that shows it: without a kernel, and without a network for the widgets'
# scripts, a reader would otherwise see a blank.
PREFERENCE = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "text/latex",
    "image/png",
    "image/jpeg",
    "text/plain",
)

_ONLY_A_WIDGET = {"application/vnd.jupyter.widget-view+json", "text/plain"}


def to_html(content: nbformat.NotebookNode, title: str, directory: Path) -> str:
    """The notebook as HTML; `directory` is where its relative picture links start."""
    content = without_widgets(content)
    for cell in content.cells:
        for output in cell.get("outputs", []):
            _describe(output)
    exporter = HTMLExporter(embed_images=True)
    exporter.config.NbConvertBase.display_data_priority = list(PREFERENCE)
    page, _ = exporter.from_notebook_node(content, {"metadata": {"name": title, "path": str(directory)}})
    return page


def without_widgets(content: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of the notebook that needs no widget's script: their pictures stay, progress bars go."""
    content = copy.deepcopy(content)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if set(output.get("data", {})) != _ONLY_A_WIDGET]
    return content


def _describe(output: nbformat.NotebookNode) -> None:
    """Give a picture its alternative text, which nbconvert's template leaves out."""
    look = output.get("metadata", {}).get("image/png", {})
    if "image/png" in output.get("data", {}) and "alt" in look:
        texts = {"src": f"data:image/png;base64,{output.data['image/png'].strip()}"} | look
        attributes = " ".join(f'{name}="{html.escape(str(text))}"' for name, text in texts.items())
        output.data["text/html"] = f'<img {attributes} style="max-width: 100%; height: auto">'
