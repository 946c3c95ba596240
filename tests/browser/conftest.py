"""One JupyterLab and one browser for all tests of this folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.harness import Reader, Server, browse, serve


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("jupyterlab")) as running:
        yield running


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with browse(chromium) as running:
        yield running


@pytest.fixture
def reader(browser: Browser, server: Server) -> Iterator[Callable[[str], Reader]]:
    """Opens a notebook of the server's folder; its window is closed after the test."""
    opened = []

    def open_notebook(name: str) -> Reader:
        opened.append(Reader.open(browser, server, name))
        return opened[-1]

    yield open_notebook
    for one in opened:
        one.page.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where to put screenshots: a folder of the test's own, or the one named by LPSGLD_SCREENSHOTS, to keep them."""
    folder = Path(os.environ.get("LPSGLD_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
