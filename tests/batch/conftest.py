"""Small made-up notebooks for the tests of the batch runner."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = "seed: int = 0  # root seed\nlive: bool = True  # sliders\nsmoke: bool = False  # small sizes"


class Folder:
    """A folder `notebooks` with profiles, to be filled by a test."""

    def __init__(self, root: Path) -> None:
        self.path = root / "notebooks"
        self.profiles = self.path / "profiles"
        self.profiles.mkdir(parents=True)

    def notebook(self, name: str, *cells: str, parameters: str | None = PARAMETERS, **metadata: object) -> Path:
        """Write a notebook of code cells; `metadata` is what it declares to the runner."""
        content = new_notebook(cells=[new_markdown_cell(f"# About {name}\n\n**The question:** what is in {name}?")])
        if parameters is not None:
            content.cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
        content.cells.extend(map(new_code_cell, cells))
        if metadata:
            content.metadata["lpsgld"] = metadata
        path = self.path / f"{name}.ipynb"
        nbformat.write(content, path)
        return path

    def profile(self, name: str, timeout: object = 60, **sections: dict) -> None:
        """Write a profile."""
        text = yaml.safe_dump({"timeout": timeout} | sections)
        (self.profiles / f"{name}.yaml").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Folder]:
    return lambda: Folder(tmp_path_factory.mktemp("checkout"))
