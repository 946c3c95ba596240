"""Recorded views on disk: each is drawn once, and again only when something has changed on which it depends.

A recording's file bears the view's name and a digest of what it depends on: its controls, the sources of its module
and of all that it imports from here, the style of figures, and the versions of what computes and draws.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from lpsgld.batch.errors import BatchError
from lpsgld.files import write_atomically
from lpsgld.lab import style
from lpsgld.lab.sliders import recording
from lpsgld.lab.sliders.view import View
from lpsgld.text import columns

PACKAGES = ("matplotlib", "numba", "numpy", "scipy", "torch")  # what computes and draws
PROCESSES = 2

_drawn: Any = None  # how many pictures all processes have drawn, in a process that records


class Recorded(NamedTuple):
    """One view: its name, how many pictures, how large their file is in bytes, and how long they took, if drawn now."""

    name: str
    pictures: int
    size: int
    seconds: float | None


class Recordings:
    """A folder of recordings. A view is named as Python finds it: "lpsgld.lab.views.start_here.story"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the recording of this view is, as the view is today, or will be."""
        return self.folder / f"{name}-{digest(name)}"

    def has(self, name: str) -> bool:
        """Whether the view is recorded as it is today."""
        return self.path(name).is_file()

    def make(self, names: Iterable[str], processes: int = PROCESSES) -> list[Recorded]:
        """Record those of these views that are not recorded yet, with a progress bar; what there is now of each.

        processes: at most so many at once, one a core; with 1, this process. Raises BatchError for a view that cannot
        be drawn, FileError where the folder cannot be written.
        """
        names = list(dict.fromkeys(names))
        sizes = {name: _count(find(name)) for name in names}
        missing = {name: self.path(name) for name in names if not self.has(name)}
        largest_first = sorted(missing, key=sizes.get, reverse=True)
        seconds = _record_all([(name, missing[name]) for name in largest_first], sizes, processes) if missing else {}
        for name, path in missing.items():
            for other in self.folder.glob(f"{name}-*"):
                if other != path:
                    other.unlink(missing_ok=True)
        return [Recorded(name, sizes[name], self.path(name).stat().st_size, seconds.get(name)) for name in names]

    def load(self, name: str) -> bytes:
        """The recording of a view, as `recording.pack` made it; BatchError if there is none."""
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise BatchError(f"the view {name} is not recorded: run `lpsgld record`") from error


def folder(directory: Path) -> Path:
    """Where the recordings of the notebooks in `directory` are kept: runs/views beside it."""
    return directory.parent / "runs" / "views"


def find(name: str) -> View:
    """The view of this name. Raises BatchError if there is none."""
    module, _, attribute = name.rpartition(".")
    try:
        view = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError:
        view = None
    if not isinstance(view, View):
        raise BatchError(f"there is no view {name}")
    return view


@functools.cache
def digest(name: str) -> str:
    """Sixteen letters that change with anything on which the recording of this view depends."""
    view = find(name)
    controls = [(c.name, c.label, c.kind, [c.text(value) for value in c.values]) for c in view.controls]
    said = [view.title, controls, sorted(style.sheet("dark").items()), [(each, version(each)) for each in PACKAGES]]
    found = hashlib.sha256(repr(said).encode())
    for module, path in sorted(sources(name.rpartition(".")[0], recording.__name__).items()):
        found.update(f"\n{module}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def sources(*modules: str) -> dict[str, Path]:
    """The files of these modules and of all that they import, wherever in them, from the packages that they are of."""
    own = {module.partition(".")[0] for module in modules}
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module.partition(".")[0] not in own or not (path := _file(module)):
            continue
        found[module] = path
        waiting += _imported(path)
    return found


def report(recorded: Sequence[Recorded]) -> str:
    """A table: pictures, seconds and size of each view, and of all."""
    rows = [(r.name.removeprefix("lpsgld.lab.views."), r) for r in recorded]
    lines = columns(
        [
            (name, str(r.pictures), "as it was" if r.seconds is None else f"{r.seconds:.1f}", f"{r.size / 1e3:.0f}")
            for name, r in rows
        ],
        header=("view", "pictures", "seconds", "kB"),
        right_from=1,
    )
    pictures, size = sum(r.pictures for r in recorded), sum(r.size for r in recorded)
    return "\n".join([*lines, f"{len(rows)} views, {pictures} pictures, {size / 1e6:.1f} MB"])


@functools.cache
def _imported(path: Path) -> list[str]:
    """The modules that a source imports, wherever in it that stands."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = (f"{node.module}.{alias.name}" for alias in node.names)
            found += [part if _file(part) else str(node.module) for part in parts]
    return found


@functools.cache
def _file(module: str) -> Path | None:
    """The source of a module; None for what is none, such as a function."""
    if module.partition(".")[0] != module and not _file(module.rpartition(".")[0]):
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a name inside a module that is no package
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _count(view: View) -> int:
    """How many pictures a view has."""
    return math.prod(len(control.values) for control in view.controls) * len(recording.seeds(view))


def _record_all(jobs: list[tuple[str, Path]], sizes: dict[str, int], processes: int) -> dict[str, float]:
    """Record these views, in this order, and return how long each took."""
    processes = min(processes, len(jobs), os.cpu_count() or 1)
    with tqdm(
        total=sum(sizes[name] for name, _ in jobs), desc="recording views", unit=" pictures", disable=None
    ) as bar:
        if processes == 1:
            return {name: _record(name, path, bar.update) for name, path in jobs}
        context = multiprocessing.get_context("spawn")
        drawn, shown = context.Value("l", 0), 0
        with ProcessPoolExecutor(processes, context, _prepare, (drawn,)) as pool:
            started = {name: pool.submit(_record, name, path) for name, path in jobs}
            waiting: set[Future[float]] = set(started.values())
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                    bar.update(drawn.value - shown)
                    shown = drawn.value
                    for future in done:
                        future.result()
            except BaseException:  # also Ctrl-C: what has not begun need not
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            return {name: future.result() for name, future in started.items()}


def _prepare(drawn: Any) -> None:
    """Begin a process that records: one core, the shared count, and an end without words at Ctrl-C."""
    global _drawn
    _drawn = drawn
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _one_more() -> None:
    with _drawn.get_lock():
        _drawn.value += 1


def _record(name: str, path: Path, tell: Callable[[], Any] = _one_more) -> float:
    """Record one view and return the seconds that it took."""
    began = time.perf_counter()
    view = find(name)
    try:
        packed = recording.pack(view, recording.frames(view), tell)
    except Exception as error:
        raise BatchError(f"the view {name} cannot be recorded: {type(error).__name__}: {error}") from error
    write_atomically(path, packed)
    return time.perf_counter() - began
