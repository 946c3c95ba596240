"""Execute one job: a fresh process and kernel, a time limit, and no error that goes unseen."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import nbformat

import lpsgld
from lpsgld.batch import worker
from lpsgld.batch.errors import BatchError
from lpsgld.batch.notebook import Notebook, load
from lpsgld.batch.outcome import Problem, count_figures, find_problem, last_cell
from lpsgld.batch.plan import Job
from lpsgld.batch.processes import Ending, supervise
from lpsgld.files import locked, scratch_folder
from lpsgld.lab.course import without_cover

EXECUTED, PAGE, FAILURE = "executed.ipynb", "executed.html", "failure.txt"

# a notebook, its executed copy and the folder of its figures -> one HTML page that needs no other file
Export = Callable[[Notebook, nbformat.NotebookNode, Path], str]

Status = Literal["passed", "failed", "skipped", "interrupted"]


@dataclass(frozen=True)
class Result:
    """What became of one notebook.

    `reason` says why it did not pass, `where` in which cell; `executed` and `html` are the copies that were kept.
    `peak_mib` is the most resident memory of the kernel and what it started; `figures` counts those written.
    """

    name: str
    status: Status
    reason: str = ""
    where: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0
    figures: int = 0
    executed: Path | None = None
    html: Path | None = None


def execute(job: Job, run_directory: Path, figures: Path, export: Export | None = None) -> Result:
    """Execute `job` and keep its executed notebook in `run_directory`, with its HTML copy if there is an `export`, and
    its figures in `figures`.

    NAME.ipynb is replaced only by a copy that passed; one that did not becomes NAME.failed.ipynb.
    """
    started = time.time()
    with scratch_folder(run_directory) as scratch:
        ending = supervise(_command(job, scratch), _environment(scratch, run_directory, figures), job.timeout)
        content = _load_executed(scratch)
        problem = _problem(job, ending, content, scratch)
        if content and export:
            page_problem = _write_html(job, content, figures, scratch, export)
            problem = problem or page_problem
        with locked(run_directory):  # another run may keep its copies of this notebook
            executed, html = _keep(job.name, scratch, run_directory, passed=problem is None)
    return Result(
        name=job.name,
        status="interrupted" if ending.how == "interrupted" else "failed" if problem else "passed",
        reason=problem.error if problem else "",
        where=problem.where if problem else "",
        seconds=ending.seconds,
        peak_mib=ending.peak_mib,
        figures=count_figures(figures, job.name, started),
        executed=executed,
        html=html,
    )


def _command(job: Job, scratch: Path) -> list[str]:
    request = {
        "name": job.name,
        "notebook": str(job.notebook.path),
        "output": str(scratch / EXECUTED),
        "parameters": job.parameters,
        "directory": str(job.notebook.path.parent),
        "failure": str(scratch / FAILURE),
    }
    job_file = scratch / "job.json"
    job_file.write_text(json.dumps(request), encoding="utf-8")
    # -P keeps the modules of this package from hiding those of the standard library.
    return [sys.executable, "-P", worker.__file__, str(job_file)]


def _environment(scratch: Path, run_directory: Path, figures: Path) -> dict[str, str]:
    """This process's environment, with a kernel `python3` that is this very Python and sees this very package."""
    kernel = scratch / "kernels" / "python3"
    kernel.mkdir(parents=True)
    arguments = [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL", "-f", "{connection_file}"]
    kernel_json = {"argv": arguments, "display_name": "Python 3 (ipykernel)", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(kernel_json), encoding="utf-8")
    package_parent = str(Path(lpsgld.__file__).resolve().parents[1])
    return os.environ | {
        "JUPYTER_PATH": _prepended(str(scratch), "JUPYTER_PATH"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "PYTHONPATH": _prepended(package_parent, "PYTHONPATH"),
        "LPSGLD_RUN_DIR": str(run_directory),
        "LPSGLD_FIGURES": str(figures),
    }


def _prepended(path: str, variable: str) -> str:
    return os.pathsep.join(filter(None, [path, os.environ.get(variable)]))


def _load_executed(scratch: Path) -> nbformat.NotebookNode | None:
    executed = scratch / EXECUTED
    try:
        content = load(executed)
    except BatchError:  # killed before it wrote, or while it did
        return None
    executed.write_bytes(without_cover(executed.read_bytes()))
    return content


def _problem(job: Job, ending: Ending, content: nbformat.NotebookNode | None, scratch: Path) -> Problem | None:
    where = last_cell(content) if content else "the start"
    failure = scratch / FAILURE
    if ending.how == "timeout":
        return Problem(where, f"time limit of {job.timeout:g} s reached")
    if ending.how == "interrupted":
        return Problem(where, "interrupted")
    if content and (problem := find_problem(content)):
        return problem
    if failure.exists():
        return Problem(where, failure.read_text(encoding="utf-8").splitlines()[0])
    if ending.returncode != 0 or content is None:
        return Problem(where, f"its process ended with status {ending.returncode}")
    return None


def _write_html(
    job: Job, content: nbformat.NotebookNode, figures: Path, scratch: Path, export: Export
) -> Problem | None:
    try:
        page = export(job.notebook, content, figures)
    except Exception as error:  # whatever a converter raises, the executed notebook is still to be kept
        return Problem("the HTML copy", f"{type(error).__name__}: {error}")
    (scratch / PAGE).write_text(page, encoding="utf-8")
    return None


def _keep(name: str, scratch: Path, run_directory: Path, passed: bool) -> tuple[Path | None, Path | None]:
    kept: list[Path | None] = []
    for made, suffix in ((EXECUTED, "ipynb"), (PAGE, "html")):
        target = run_directory / f"{name}.{suffix}"
        failed = run_directory / f"{name}.failed.{suffix}"
        failed.unlink(missing_ok=True)
        if (scratch / made).exists():
            kept.append((scratch / made).replace(target if passed else failed))
        else:
            kept.append(None)
    return kept[0], kept[1]
