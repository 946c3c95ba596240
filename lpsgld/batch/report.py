"""The end of a run in words: the table, what went wrong and where it is kept, what to open next."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lpsgld.batch.execution import Result
from lpsgld.batch.notebook import Notebook
from lpsgld.text import columns

HEADER = ("notebook", "status", "seconds", "peak MiB", "figures")


def report(results: Sequence[Result], run_directory: Path) -> str:
    """The whole report on `results`, ready to print. MiB: the most resident memory of kernel and children."""
    counts = Counter(result.status for result in results)
    paragraphs = [
        table(results),
        *(_trouble(result) for result in results if result.status != "passed"),
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        _next_steps(results, run_directory),
    ]
    return "\n\n".join(filter(None, paragraphs))


def table(results: Sequence[Result]) -> str:
    """One line a notebook, under a header; a notebook that did not run has dashes for its numbers."""
    return "\n".join(columns(map(_row, results), HEADER, right_from=2))


def describe(notebook: Notebook) -> str:
    """What a notebook declares: title, question, requirements, and its parameters as one line each."""
    rows = [(p.name, p.type, f"= {p.default!r}", p.comment) for p in notebook.parameters.values()]
    lines = [f"{notebook.name}: {notebook.title}".rstrip(": "), *filter(None, [notebook.question])]
    if notebook.after:
        lines.append(f"after {', '.join(notebook.after)}")
    if notebook.device != "cpu":
        lines.append(f"needs {notebook.device}")
    return "\n    ".join([*lines, *columns(rows)])


def _row(result: Result) -> tuple[str, str, str, str, str]:
    if result.status == "skipped":
        return result.name, result.status, "-", "-", "-"
    return result.name, result.status, f"{result.seconds:.1f}", f"{result.peak_mib:.0f}", str(result.figures)


def _trouble(result: Result) -> str:
    if result.status == "skipped":
        return f"{result.name} was skipped: {result.reason}"
    lines = [f"{result.name} {result.status} at {result.where}:", f"    {result.reason}"]
    if result.executed:
        lines.append(f"  kept as {shortened(result.executed)}")
    return "\n".join(lines)


def _next_steps(results: Sequence[Result], run_directory: Path) -> str:
    pages = [result.html for result in results if result.status == "passed" and result.html]
    if not pages:
        return ""
    names = ", ".join(page.name for page in pages)
    return (
        f"Open next: {names} in {shortened(run_directory)} with a web browser, no kernel needed;\n"
        "for the sliders `make lab` (or `jupyter lab`), and there the same notebook in notebooks/."
    )


def shortened(path: Path) -> Path:
    """`path` from the current directory on, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
