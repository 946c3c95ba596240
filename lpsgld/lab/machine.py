"""Does this machine have what the notebooks need? Each finding comes with its mend.

Nothing is installed or changed here, and nothing raises: a machine that lacks something is to be told so in a table.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from jupyter_core.paths import jupyter_path
from matplotlib import font_manager
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lpsgld.bnn.devices import device_name, pick_device
from lpsgld.lab import output, session
from lpsgld.text import markdown

_GIB = 1024**3
_MEMORY, _DISK = 2 * _GIB, 1 * _GIB  # what the notebooks need at laptop size, with room to spare
_INSTALL = 'in the folder of the project: `make run`, or `pip install -e ".[course]"`; then restart the kernel'


class Finding(NamedTuple):
    """What was looked at and what was found. `mend` says what to do, empty where nothing is missing.

    needed: whether the notebooks fail without it; a mend of something that is not needed is a hint.
    """

    what: str
    found: str
    mend: str = ""
    needed: bool = True

    @property
    def missing(self) -> bool:
        return self.needed and bool(self.mend)


def check() -> list[Finding]:
    """Python, packages, formats, widgets, fonts, device, memory and folders of this machine."""
    runs = folder("runs", session.folder("LPSGLD_RUN_DIR", "runs"))
    figures = folder("figures", session.folder("LPSGLD_FIGURES", "figures"))
    return [python(), *packages(), formats_library(), widgets(), fonts(), device(), memory(), runs, figures]


def show(findings: list[Finding]) -> None:
    """Display the findings as a table: ✓ fine, ✗ missing, ○ not needed for the notebooks as they come."""
    rows = [("✗" if f.missing else "○" if f.mend else "✓", f.what, f.found, f.mend) for f in findings]
    table = markdown(rows, ("", "looked at", "found", "what to do"))
    plain = "\n".join(" · ".join(filter(None, row)) for row in rows)
    output.show({"text/markdown": table, "text/plain": plain})


def python() -> Finding:
    """The version of Python against the one that the project asks for."""
    found = platform.python_version()
    try:
        wanted = metadata.metadata("lpsgld").get("Requires-Python") or ""
    except metadata.PackageNotFoundError:
        wanted = ""  # `packages` says so
    good = SpecifierSet(wanted).contains(found, prereleases=True)
    return Finding("Python", found, "" if good else f"install Python {wanted}, and make the environment again with it")


def packages() -> list[Finding]:
    """One finding if all packages that the course needs are within their bounds, else one for each that is not."""
    try:
        requirements = map(Requirement, metadata.requires("lpsgld") or [])
    except metadata.PackageNotFoundError:
        return [Finding("packages", "lpsgld is not installed", _INSTALL)]
    wanted = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": "course"})]
    bad = [finding for finding in map(_package, wanted) if finding.mend]
    return bad or [Finding("packages", f"all {len(wanted)} are there, in versions that fit")]


def _package(wanted: Requirement) -> Finding:
    name = f"package {wanted.name}"
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", _INSTALL)
    if wanted.specifier.contains(found, prereleases=True):
        return Finding(name, found)
    return Finding(name, f"{found}, but {wanted.specifier} is needed", f'`pip install "{wanted}"`, restart the kernel')


def formats_library() -> Finding:
    """qtorch, imported for its descriptors alone: its C++ extension is for the tests, which compile it."""
    extension = "with" if "qtorch.quant" in sys.modules else "without"
    compiler = shutil.which("g++") or shutil.which("clang++")
    hint = "nothing for the notebooks; the tests compile it and want a C++ compiler (Debian: `apt-get install g++`)"
    found = f"qtorch {metadata.version('qtorch')}, {extension} its C++ extension"
    return Finding("number formats", found, "" if compiler else hint, needed=False)


def widgets() -> Finding:
    """Whether JupyterLab in this environment has the front end of the sliders."""
    found = f"ipywidgets {metadata.version('ipywidgets')}"
    if any(Path(path, "@jupyter-widgets", "jupyterlab-manager").is_dir() for path in jupyter_path("labextensions")):
        return Finding("sliders", f"{found}, and its part of JupyterLab")
    mend = "`pip install --force-reinstall jupyterlab_widgets` where JupyterLab runs, then reload the page"
    return Finding("sliders", f"{found}, but JupyterLab lacks its part", mend)


def fonts(family: str = "DejaVu Sans") -> Finding:
    """The font of all figures, which comes with matplotlib."""
    if family in font_manager.get_font_names():
        return Finding("font", family)
    return Finding("font", f"no {family}", "`pip install --force-reinstall matplotlib`, restart the kernel")


def device() -> Finding:
    """Where networks would be trained."""
    where = pick_device("auto")
    if where.type == "cuda":
        room = torch.cuda.get_device_properties(where).total_memory / _GIB
        return Finding("device", f"{device_name(where)}, {room:.0f} GiB")
    hint = "nothing: all notebooks run so. The paper's own sizes in notebook 08 want an NVIDIA GPU"
    return Finding("device", f"{device_name(where)}, no GPU", hint, needed=False)


def memory() -> Finding:
    """Memory that is free now against what the largest notebook takes."""
    available = psutil.virtual_memory().available
    mend = f"close other programs or kernels: {_MEMORY / _GIB:.0f} GiB are needed"
    return Finding("memory", f"{available / _GIB:.1f} GiB free", "" if available >= _MEMORY else mend)


def folder(name: str, path: Path) -> Finding:
    """Whether a file can be written there, and the room that the disk has left."""
    what, there = f"folder `{name}`", next(p for p in (path, *path.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(what, f"cannot be written ({reason})", "change its permissions, or clone the project elsewhere")
    mend = f"free some: the runs of all notebooks take up to {_DISK / _GIB:.0f} GiB"
    return Finding(what, f"can be written, {free / _GIB:.0f} GiB free", "" if free >= _DISK else mend)
