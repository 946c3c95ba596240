"""The command line: `lpsgld` or `python -m lpsgld`.

Each subcommand is a row of `commands`: its name, one line of help, the function that adds its arguments and the
function that runs it and returns the exit status. All import what they need inside: the library alone
(`pip install lpsgld`) has no papermill and no Jupyter, and Ctrl-C may come while torch is imported.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lpsgld import __version__
from lpsgld.files import user_path
from lpsgld.text import Mistake

FAILURE, MISTAKE, INTERRUPTED, UNREAD = 1, 2, 130, 141


class Command(NamedTuple):
    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    function: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. 0: success, 1: a notebook failed, 2: the request cannot be met, 130: interrupted.

    141: nobody reads the output to its end, as in `lpsgld list | head -1`.
    """
    try:
        with _output():
            _ensure_home()
            options = _parser().parse_args(arguments)
            return options.function(options)
    except Mistake as mistake:
        print(f"lpsgld: {mistake}", file=sys.stderr)
        return MISTAKE
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "lpsgld"):
            raise
        print(f'lpsgld: {package} is missing. The course brings it: pip install "lpsgld[course]"', file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("lpsgld: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return UNREAD
    except OSError as error:
        if error.filename is None:
            raise
        print(f"lpsgld: {error.filename}: {error.strerror}. Name another, or mend this one", file=sys.stderr)
        return MISTAKE


def _ensure_home() -> None:
    """Jupyter cannot be imported by a user without a home, as in some containers: they get Docker's."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.sep


@contextlib.contextmanager
def _output() -> Iterator[None]:
    """Let any text be printed, whatever the terminal's encoding, and have it written while its failure can be told."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # no stream at all, if it was closed
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        try:
            print(end="", flush=True)
        except OSError as error:
            # What is left cannot be written at the interpreter's end either, which would complain once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise Mistake(f"the output cannot be written: {error.strerror}. Send it to another file") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lpsgld", description="Low-precision SGLD: notebooks and experiments.")
    parser.add_argument("--version", action="version", version=f"lpsgld {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands():
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.add_arguments(subparser)
        subparser.set_defaults(function=command.function)
    return parser


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="name or number (default: the profile's)")
    parser.add_argument("--profile", default="laptop", help="smoke, laptop (default), gpu: notebooks/profiles/*.yaml")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NOTEBOOK.PARAMETER=VALUE",
        help="override the profile, for example 05_variance_correction.seed=1; may be repeated",
    )
    parser.add_argument("--out", type=user_path, metavar="DIR", help="executed notebooks (default: runs/PROFILE)")
    parser.add_argument("--record", action="store_true", help="record sliders that need what a notebook computes")


def _run(options: argparse.Namespace) -> int:
    from lpsgld.batch import notebook, plan

    directory = notebook.find_directory()
    overrides = plan.parse_settings(options.settings, directory)
    return _execute(directory, options.notebooks, options.profile, overrides, options.out, options.record)


def _execute(
    directory: Path,
    notebooks: Sequence[str],
    profile: str,
    overrides: dict | None = None,
    out: Path | None = None,
    record: bool = False,
) -> int:
    """Run notebooks, print the report and return the exit status. record: see `lab.explore`."""
    from lpsgld import batch, publish
    from lpsgld.batch.report import report

    # `kill` and a closed terminal end a run as Ctrl-C does: no kernel is left behind.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, signal.default_int_handler)
    if record:
        os.environ["LPSGLD_RECORD"] = "1"
    export = publish.Copies(publish.Recordings(publish.recordings.folder(directory)))
    results = batch.run_notebooks(notebooks, profile, overrides, out, directory, export)
    print("\n" + report(results, batch.run_directory(directory, profile, out)))
    statuses = {result.status for result in results}
    if "interrupted" in statuses:
        return INTERRUPTED
    return FAILURE if "failed" in statuses else 0


def _add_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="name or number (default: all)")


def _list(options: argparse.Namespace) -> int:
    from lpsgld.batch import notebook
    from lpsgld.batch.report import describe

    directory = notebook.find_directory()
    chosen = [notebook.resolve(text, directory) for text in options.notebooks] or notebook.names(directory)
    print("\n\n".join(describe(notebook.read(directory / f"{name}.ipynb")) for name in chosen))
    return 0


def _add_figures_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("figures", nargs="*", metavar="ID", help="identifier, such as 05-law (default: all)")
    parser.add_argument("--list", action="store_true", help="show identifiers and captions, draw nothing")


def _figures(options: argparse.Namespace) -> int:
    """Run the notebooks that draw the figures, at the sizes meant for slides, or list them."""
    from lpsgld.batch import notebook
    from lpsgld.publish import catalogue

    directory = notebook.find_directory()
    chosen = catalogue.choose(options.figures, catalogue.catalogue(directory))
    if not options.list:
        os.environ["LPSGLD_REDRAW"] = "1"  # also pictures of measurements
        return _execute(directory, sorted(set(chosen.values())), "laptop")
    print(catalogue.describe(chosen, directory.parent / "figures"))
    return 0


def _add_film_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("figure", metavar="ID", help="identifier of a figure that has a slider, such as 00-story")


def _film(options: argparse.Namespace) -> int:
    from lpsgld.batch import notebook
    from lpsgld.batch.errors import BatchError
    from lpsgld.batch.report import shortened
    from lpsgld.files import write_atomically
    from lpsgld.lab import style
    from lpsgld.lab.figures.film import film
    from lpsgld.publish import players, recordings
    from lpsgld.text import one_of

    directory = notebook.find_directory()
    moving = players.of_figures(directory)
    view = recordings.find(moving[one_of("figure with a slider", options.figure, moving, BatchError)])
    for theme, ending in style.ENDINGS.items():
        path = directory.parent / "figures" / f"{options.figure}{ending}.gif"
        write_atomically(path, film(view, theme))
        print(f"{shortened(path)}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


def _add_book_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="name or number (default: all)")
    parser.add_argument(
        "--from", dest="run_folder", type=user_path, metavar="DIR", help="the run to print (default: runs/laptop)"
    )
    parser.add_argument("--out", type=user_path, default=Path("book"), metavar="DIR", help="the book (default: book)")
    parser.add_argument("--run", action="store_true", help="execute first, at laptop size, what the run lacks")


def _book(options: argparse.Namespace) -> int:
    from lpsgld import publish
    from lpsgld.batch import notebook, run_directory
    from lpsgld.batch.report import shortened

    directory = notebook.find_directory()
    names = sorted({notebook.resolve(text, directory) for text in options.notebooks}) or notebook.names(directory)
    run = run_directory(directory, "laptop", options.run_folder)
    if options.run and (lacking := list(publish.obstacles(names, run, directory))):
        if status := _execute(directory, lacking, "laptop", out=run, record=True):
            return status
    recordings = publish.Recordings(publish.recordings.folder(directory))
    index = publish.build_book(names, run, options.out.resolve(), directory, recordings)
    print(f"the book is made: open {shortened(index)} with a web browser")
    return 0


def _add_record_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="name or number (default: all)")


def _record(options: argparse.Namespace) -> int:
    from lpsgld import publish
    from lpsgld.batch import notebook

    directory = notebook.find_directory()
    names = sorted({notebook.resolve(text, directory) for text in options.notebooks}) or notebook.names(directory)
    recordings = publish.Recordings(publish.recordings.folder(directory))
    print(publish.recordings.report(recordings.make(publish.players.of_notebooks(directory, names))))
    return 0


def _add_reference_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=user_path, default=Path("reference"), metavar="DIR", help="(default: reference)")


def _reference(options: argparse.Namespace) -> int:
    from lpsgld import publish
    from lpsgld.batch.report import shortened

    index = publish.build_reference(options.out.resolve())
    print(f"the reference is made: open {shortened(index)} with a web browser")
    return 0


def _add_course_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "out", type=user_path, nargs="?", default=Path("course"), metavar="DIR", help="(default: course)"
    )


def _course(options: argparse.Namespace) -> int:
    from lpsgld.batch import notebook
    from lpsgld.lab.course import copy_course

    print(copy_course(notebook.find_directory(), options.out))
    return 0


def _add_slides_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=user_path, metavar="FILE", help="Markdown (default: notebooks/slides.md)")
    parser.add_argument("--figures", type=user_path, metavar="DIR", help="the figures' folder (default: figures)")
    parser.add_argument(
        "--from", dest="run_folder", type=user_path, metavar="DIR", help="a run's sliders (default: runs/laptop)"
    )
    parser.add_argument(
        "--out", type=user_path, default=Path("slides.html"), metavar="FILE", help="(default: slides.html)"
    )


def _slides(options: argparse.Namespace) -> int:
    from lpsgld import publish
    from lpsgld.batch import notebook, run_directory
    from lpsgld.batch.report import shortened

    directory = notebook.find_directory()
    figures = options.figures or directory.parent / "figures"
    recordings = publish.Recordings(publish.recordings.folder(directory))
    run = run_directory(directory, "laptop", options.run_folder)
    names = notebook.names(directory)
    whole = [name for name in names if not publish.obstacles([name], run, directory)]
    own = publish.players.of_run(run, whole)
    moving = publish.Moving(publish.players.of_figures(directory), recordings, own)
    deck = publish.build_deck(options.source or directory / "slides.md", figures, options.out.resolve(), moving)
    print(f"the slides are made: open {shortened(deck)} with a web browser, and press h for the keys")
    return 0


def _add_gaussian_arguments(parser: argparse.ArgumentParser) -> None:
    def add(name: str, default: Any, metavar: str, help: str) -> None:
        parser.add_argument(
            f"--{name}", type=type(default), default=default, metavar=metavar, help=f"{help} (default: {default})"
        )

    parser.epilog = "The defaults are those of the paper's Figure 1, whose other step size is 0.0001."
    parser.add_argument("--accumulator", choices=("full", "naive", "vc"), default="vc", help="(default: vc)")
    add("alpha", 1e-3, "A", "step size")
    add("weight", "fixed(8,3)", "FORMAT", 'of the weights, fixed(W,F) or "full"')
    add("grad", "fixed(8,3)", "FORMAT", "of the gradients")
    add("gradient-noise", 0.1, "SD", "its standard deviation")
    add("temperature", 1.0, "T", "of the target")
    add("mean", 0.0, "M", "of the target")
    add("std", 1.0, "SD", "standard deviation of the target")
    add("chains", 2000, "N", "at once")
    add("relaxation-times", 5.0, "N", "of SD²/A steps each, that are dropped and then kept")
    add("seed", 0, "N", "of the random numbers")
    parser.add_argument(
        "--out",
        type=user_path,
        metavar="FILE",
        help="the histogram, png, svg or pdf (default: gaussian-ACCUMULATOR.png)",
    )


def _gaussian(options: argparse.Namespace) -> int:
    from lpsgld.lab import gaussian

    return gaussian.command(options)


def commands() -> tuple[Command, ...]:
    """All subcommands, in the order of the help."""
    from lpsgld.bnn import cli

    return (
        Command("run", "execute notebooks in order, with papermill", _add_run_arguments, _run),
        Command("list", "show the notebooks, their questions and their parameters", _add_list_arguments, _list),
        Command(
            "figures", "draw figures for slides again, by running their notebooks", _add_figures_arguments, _figures
        ),
        Command("film", "let a figure move by itself, as a GIF", _add_film_arguments, _film),
        Command("course", "make a copy of the notebooks, to work in", _add_course_arguments, _course),
        Command("record", "draw all positions of the sliders, for book and slides", _add_record_arguments, _record),
        Command("book", "print executed notebooks as an HTML book", _add_book_arguments, _book),
        Command("reference", "print what docstrings say of the public names", _add_reference_arguments, _reference),
        Command("slides", "make the deck of slides, one HTML file", _add_slides_arguments, _slides),
        Command("gaussian", "sample a Gaussian, beside the exact law", _add_gaussian_arguments, _gaussian),
        Command("train", "train a recipe and keep samples", cli.add_train_arguments, cli.train_command),
        Command("evaluate", "score a run's ensemble", cli.add_evaluate_arguments, cli.evaluate_command),
        Command("reproduce", "train and record the paper's table", cli.add_reproduce_arguments, cli.reproduce_command),
        Command("recipes", "show the recipes", cli.add_recipes_arguments, cli.recipes_command),
    )


if __name__ == "__main__":
    sys.exit(main())
