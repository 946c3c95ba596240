"""One JupyterLab and one browser for all tests of this folder."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

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


@dataclass
class Window:
    """A window without a network: what it asked for in vain, and what it said on the console."""

    page: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def open(self, path: Path) -> Page:
        self.page.goto(path.as_uri())
        return self.page

    def check(self) -> None:
        assert not self.asked, f"asked the network: {self.asked}"
        assert not self.said, f"on the console: {self.said}"


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, color_scheme="light", offline=True, has_touch=True
    )
    opened = Window(context.new_page())

    def guard(route) -> None:
        url = route.request.url
        if url.startswith(("file:", "data:")):
            route.continue_()
        else:
            opened.asked.append(url)
            route.abort()

    context.route("**/*", guard)
    opened.page.on("console", lambda message: opened.said.append(message.text))
    opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
    yield opened
    context.close()
