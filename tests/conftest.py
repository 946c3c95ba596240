"""What every test shares: the compiler's tools on PATH, one thread, and the skips that depend on the machine."""

import os
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest

# One thread, here and in the kernels that tests start: two workers with two threads each wait for one another, and what
# takes seconds alone takes minutes. Set before torch is imported, which reads it then.
os.environ["OMP_NUM_THREADS"] = "1"

import torch  # noqa: E402

from lpsgld import kernels  # noqa: E402

# qtorch compiles its extension with ninja, which pip puts beside this interpreter.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
SLOW_FIXTURES = {"browser", "server", "smoke"}


def find_chromium() -> str | None:
    """Path of the system's Chromium (or Chrome), or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the loops before any worker starts: whoever compiles says so on stderr, where tests look for errors."""
    if not hasattr(config, "workerinput"):
        kernels.counts(torch.zeros(1))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what waits for a browser, a JupyterLab, all notebooks or all corners of a view as slow.

    The longest files come first, so that two workers end together.
    """
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())) or item.name.startswith("test_all_corners"):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.parent.name not in ("browser", "notebooks"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `cuda` or `browser` where the machine lacks it, and say so."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU that torch can use")
    if item.get_closest_marker("browser") and find_chromium() is None:
        reason = "no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("LPSGLD_REQUIRE_BROWSER"):
            pytest.fail(f"{reason}, and LPSGLD_REQUIRE_BROWSER is set")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; for tests marked `browser`."""
    path = find_chromium()
    assert path, "ask for this fixture only in a test marked `browser`"
    return path


@pytest.fixture(scope="session")
def qtorch_quant() -> ModuleType:
    """The module `qtorch.quant`, the reference implementation. Its first import compiles C++ for about 20 s."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says while it compiles is not about our code
        import qtorch.quant
    return qtorch.quant
