"""Papermill runs of the notebooks: strict before anything runs, honest about what ran.

Here live the reading of what a notebook declares (`notebook`, `parameters`), the choice of what to run (`plan`),
its execution in a process of its own (`execution`, `processes`, `worker`), and what is told afterwards (`outcome`,
`report`). What notebooks compute or draw does not live here, nor how a page for readers is made of them: the caller
of a run brings that (`Export`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from lpsgld.batch import notebook, plan
from lpsgld.batch.errors import BatchError
from lpsgld.batch.execution import Export, Result, execute
from lpsgld.batch.plan import Job, Overrides

__all__ = ["BatchError", "Export", "Result", "run_directory", "run_notebooks"]


def run_notebooks(
    notebooks: Sequence[str] = (),
    profile: str = "laptop",
    overrides: Overrides | None = None,
    out: Path | None = None,
    notebook_dir: Path | None = None,
    export: Export | None = None,
) -> list[Result]:
    """Run the notebooks of a profile, or those named, in order; one Result each, also for those skipped.

    `overrides` maps a notebook's name to parameters that take precedence over the profile's. Executed notebooks go to
    `out` (see `run_directory`), and beside them the HTML copies that `export` makes; figures to `figures/` of the
    repository, but to `figures/` in the run's folder if that was chosen, or if sizes or parameters are not those meant
    for slides. A notebook whose device is missing, or whose prerequisite did not pass, is skipped. Ctrl-C ends the
    running notebook and skips the rest.

    Raises BatchError, before anything runs, for an unknown notebook, profile or parameter, a value of the wrong
    type, a notebook without exactly one parameters cell, or an output directory that cannot be made.
    """
    directory = (notebook_dir or notebook.find_directory()).resolve()
    jobs = plan.build(directory, profile, notebooks, overrides)
    target = run_directory(directory, profile, out)
    if os.pathsep in str(target):
        raise BatchError(
            f"{target} has a {os.pathsep!r} in it, which parts the folders where Jupyter looks: name another"
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BatchError(f"cannot make the output directory {target}: {error.strerror}") from error
    results: list[Result] = []
    for position, job in enumerate(jobs, start=1):
        print(f"[{position}/{len(jobs)}] {job.name} (time limit {job.timeout:g} s)", flush=True)
        reason = _obstacle(job, results)
        for_slides = out is None and not job.smoke and not job.overridden
        figures = (directory.parent if for_slides else target) / "figures"
        result = Result(job.name, "skipped", reason) if reason else _attempt(job, target, figures, export)
        print(f"      {result.status}: {reason or f'{result.seconds:.1f} s'}", flush=True)
        results.append(result)
    return results


def run_directory(directory: Path, profile: str, out: Path | None = None) -> Path:
    """Where a run leaves its files: `out`, or runs/PROFILE beside the notebooks' directory."""
    return (out or directory.parent / "runs" / profile).resolve()


def _attempt(job: Job, target: Path, figures: Path, export: Export | None) -> Result:
    try:
        return execute(job, target, figures, export)
    except KeyboardInterrupt:  # after the kernel's end, while its files are being written
        return Result(job.name, "interrupted", "interrupted", "writing its files")
    except OSError as error:  # a full disk, a read-only folder: the next notebook may be smaller
        return Result(job.name, "failed", str(error), "writing its files")


def _obstacle(job: Job, results: Sequence[Result]) -> str:
    """Why `job` cannot run now, or an empty text."""
    before = {result.name: result.status for result in results}
    if "interrupted" in before.values():
        return "the run was interrupted"
    for name in job.notebook.after:
        if before.get(name, "passed") != "passed":
            return f"it needs {name}, which {'was skipped' if before[name] == 'skipped' else before[name]}"
    if job.device == "cuda" and not torch.cuda.is_available():
        return "it needs an NVIDIA GPU that torch can use, and there is none"
    return ""
