"""A JupyterLab server of its own and what a reader does in it: open a notebook, run it, press keys, look.

Nothing here asserts how fast it is; a wait that is too long ends in an error that says what was missing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from lpsgld.batch.notebook import load

BROWSER_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
START_SECONDS, RUN_SECONDS, DRAW_SECONDS = 60, 600, 30  # generous: they only end a wait for what never comes

# Messages on the console that say nothing about our notebooks.
BENIGN = (
    r"ResizeObserver loop",  # Chromium: a layout took two frames
    r"favicon",  # the server has none under a token
)


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: its address, token, and the folder that it serves."""

    address: str
    token: str
    folder: Path

    def url(self, notebook: str) -> str:
        return f"{self.address}/lab/tree/{notebook}?reset&token={self.token}"


@contextmanager
def serve(base: Path) -> Iterator[Server]:
    """JupyterLab on a free port of 127.0.0.1, with private settings; it serves `base`/notebooks until the end."""
    folder, settings = base / "notebooks", base / "settings"
    folder.mkdir(parents=True)
    _write_settings(settings)
    private = {
        name: str(base / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_WORKSPACES_DIR",
                     "IPYTHONDIR", "LPSGLD_RUN_DIR")
    }  # fmt: skip
    port, token = _free_port(), secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    environment = os.environ | private | {"JUPYTERLAB_SETTINGS_DIR": str(settings)}
    with (base / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", token, folder)
            _wait_until_up(server, process, base / "server.log")
            yield server
        finally:
            _stop(process)


@contextmanager
def browse(executable: str) -> Iterator[Browser]:
    """The system's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(BROWSER_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def copy_notebook(source: Path, folder: Path, **parameters: object) -> int:
    """Copy a notebook with these parameters injected after its `parameters` cell; count its calls of explore."""
    notebook = load(source)
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, f"{source.name} has {len(tagged)} cells tagged parameters, one is needed"
    lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(lines))
    # without a kernel's name, JupyterLab would ask for one
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / source.name)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return len(re.findall(r"^\s*lab\.explore\(", code, flags=re.MULTILINE))


@dataclass
class Reader:
    """Somebody with an open notebook."""

    page: Page
    errors: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, browser: Browser, server: Server, notebook: str) -> Reader:
        """Open the notebook in a new window and wait until its kernel is connected and idle."""
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.set_default_timeout(DRAW_SECONDS * 1000)
        reader = cls(page)
        page.on("console", reader._listen)
        page.on("pageerror", lambda error: reader.errors.append(str(error)))
        page.goto(server.url(notebook))
        page.wait_for_function(f"() => {{ {_SESSION} return idle; }}", timeout=START_SECONDS * 1000)
        return reader

    def run_all(self) -> None:
        """Run all cells, and wait until each has a number or one has failed; AssertionError with its traceback."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        done = (
            f"() => {{ {_SESSION} {_CELLS} return failed.length > 0 || (idle && cells.every(c => c.executionCount)); }}"
        )
        self.page.wait_for_function(done, timeout=RUN_SECONDS * 1000, polling=200)
        assert not self.failures(), "a cell failed: " + "\n".join(self.failures())

    def leave(self) -> None:
        """Save the notebook, end its kernel and close the window."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def failures(self) -> list[str]:
        """The error outputs of all cells."""
        return self.page.evaluate(f"() => {{ {_SESSION} {_CELLS} return failed; }}")

    def panels(self) -> list[Panel]:
        """The views with sliders, in order."""
        found = self.page.locator(".jp-OutputArea .widget-vbox:has(> img.widget-image)")
        return [Panel(self.page, box) for box in found.all()]

    def pictures(self) -> int:
        """How many pictures the outputs with a slider panel show."""
        return self.page.locator(".jp-OutputArea-child:has(img.widget-image) img").count()

    def _listen(self, message) -> None:
        if message.type == "error" and not any(re.search(known, message.text) for known in BENIGN):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")


@dataclass(frozen=True)
class Panel:
    """One view on the page: its sliders, buttons and picture."""

    page: Page
    box: Locator

    def labels(self) -> list[str]:
        return self.box.locator(".widget-hslider > .widget-label").all_inner_texts()

    def press(self, label: str, key: str) -> None:
        """Focus the handle of the slider with that label, as with the tab key, and press a key."""
        handle = self._slider(label).locator(".noUi-handle")
        handle.focus()
        handle.press(key)

    def away_and_back(self, label: str) -> tuple[str, str]:
        """The key that moves the slider from where it stands, and the key that moves it back."""
        handle = self._slider(label).locator(".noUi-handle")
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        return ("ArrowLeft", "ArrowRight") if at_end else ("ArrowRight", "ArrowLeft")

    def toggles(self) -> list[Locator]:
        return self.box.locator(".widget-toggle-buttons").all()

    def button(self, label: str) -> Locator | None:
        """The button with that label, or None if this view has none."""
        found = self.box.locator("button.widget-button").filter(has_text=re.compile(f"^{label}$"))
        return found.first if found.count() else None

    def pixels(self) -> str:
        """A hash of the picture's pixels; empty while none is loaded."""
        return self.box.locator("> img.widget-image").evaluate(_HASH)

    def wait_for(self, *, other_than: str | None = None, same_as: str | None = None) -> str:
        """The hash of the picture, as soon as it is loaded, and another one, or the same one again."""
        end = time.monotonic() + DRAW_SECONDS
        while time.monotonic() < end:
            pixels = self.pixels()
            if pixels and pixels != other_than and same_as in (None, pixels):
                return pixels
            time.sleep(0.02)
        raise AssertionError("the first picture did not come back" if same_as else "no (other) picture came")

    def _slider(self, label: str) -> Locator:
        exact = self.page.locator(".widget-label", has_text=re.compile(f"^{re.escape(label)}$"))
        return self.box.locator(".widget-hslider").filter(has=exact)


_SESSION = """
    const widget = window.jupyterapp?.shell.currentWidget;
    const kernel = widget?.sessionContext?.session?.kernel;
    const idle = kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
"""
_CELLS = """
    const cells = [...widget.content.model.cells].filter(
        cell => cell.type === 'code' && cell.sharedModel.getSource().trim());
    const failed = cells.flatMap(cell => cell.outputs.toJSON()).filter(output => output.output_type === 'error')
        .map(output => output.ename + ': ' + output.evalue);
"""
_HASH = """async image => {
    const loaded = await image.decode().then(() => true, () => false);  // false: replaced meanwhile
    if (!loaded || !image.complete || !image.naturalWidth) return '';
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', pixels));
    return [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('');
}"""


def _write_settings(folder: Path) -> None:
    """No news, no look for updates, and all cells on the page whether they are in sight or not."""
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_up(server: Server, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.address}/api/status?token={server.token}", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen) -> None:
    process.terminate()  # the server then stops its kernels
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
