"""The notebook that is running: its name, its seed, whether sliders move, where its figures go.

`start` is the first call of every notebook; the other modules ask `current()`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

COURSE = ".lpsgld-course"  # the file that marks a reader's copy


@dataclass(frozen=True)
class Session:
    """What `start` was told; without a notebook before that.

    claims: the sentences that have held so far, each with the number measured, if there is one, and what it had to be.
    explored: the names of the views that have been shown.
    """

    notebook: str = ""
    seed: int = 0
    live: bool = True
    figures: Path = Path("figures")
    claims: dict[str, tuple[float | None, str]] = field(default_factory=dict)
    explored: set[str] = field(default_factory=set)


_session = Session()


def start(notebook: str, *, seed: int = 0, live: bool = True, smoke: bool = False) -> None:
    """Begin the notebook with this name (such as "05_variance_correction"); its parameters are passed on.

    Figures go to `figures/` of the repository, or where the environment variable LPSGLD_FIGURES says; those of a smoke
    run to `figures/` in the run's own folder: the one named by LPSGLD_RUN_DIR, or `runs/smoke`.

    Raises ValueError if the name does not begin with the notebook's number.
    """
    global _session
    if not re.fullmatch(r"\d\d_\w+", notebook):
        raise ValueError(f"notebook {notebook!r}: give the file's name without ending, as 05_variance_correction")
    figures = folder("LPSGLD_RUN_DIR", "runs/smoke") / "figures" if smoke else folder("LPSGLD_FIGURES", "figures")
    _session = Session(notebook, seed, live, figures)


def current() -> Session:
    """The running notebook's session."""
    return _session


def required(caller: str) -> Session:
    """The running notebook's session. Raises RuntimeError, naming the caller, before `start`."""
    if not _session.notebook:
        raise RuntimeError(f'lab.{caller} needs to know the notebook: call lab.start("NN_name", seed=seed) first')
    return _session


def run_folder(*settings: str) -> Path:
    """Where this notebook keeps a long computation: a folder of its own for each choice of settings.

    It lies in the batch run's folder (LPSGLD_RUN_DIR) or in `runs/` of the repository; the same settings find it again,
    other settings never meet it. Raises RuntimeError before `lab.start`.
    """
    notebook = required("run_folder").notebook
    digest = hashlib.sha256("\n".join(settings).encode()).hexdigest()[:12]
    return folder("LPSGLD_RUN_DIR", "runs") / notebook / digest


def recorded_folder() -> Path:
    """Where results of long runs are kept for the notebooks to show: notebooks/recorded of the repository."""
    return (repository() or Path.cwd()) / "notebooks" / "recorded"


def folder(variable: str, inside: str) -> Path:
    """The folder that an environment variable names, else the one inside the repository, or the current folder."""
    return Path(os.environ.get(variable) or (repository() or Path.cwd()) / inside)


def repository() -> Path | None:
    """The folder of the project's clone, or of a reader's copy of the course (`lpsgld course`): the one that holds the
    current folder, else this package; or None."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]):
        if (folder / COURSE).is_file():
            return folder
        description = folder / "pyproject.toml"
        if description.is_file():
            project = tomllib.loads(description.read_text("utf-8")).get("project", {})
            if project.get("name") == "lpsgld":
                return folder
    return None
