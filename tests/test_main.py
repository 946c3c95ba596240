"""The command line: exit statuses, and one clear line for an error that the user can mend."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lpsgld import batch
from lpsgld.__main__ import main


@pytest.fixture(autouse=True)
def checkout(tmp_path, monkeypatch):
    """The current directory, with one notebook and one profile."""
    profiles = tmp_path / "notebooks" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "laptop.yaml").write_text("timeout: 60\n01_first: {}\n")
    cells = [
        new_markdown_cell("# First steps\n\nWhat is a step?"),
        new_code_cell("seed: int = 0  # root seed", metadata={"tags": ["parameters"]}),
        new_code_cell('lab.save_figure(draw, "01-law", alt="A law", caption="Where it lands.")'),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_first.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def executed(monkeypatch):
    """The jobs that would have been executed; each ends with the status in `executed.status`."""

    class Executed(list):
        status = "passed"

        def __call__(self, job, run_directory, figures, export):
            self.append((job, run_directory))
            return batch.Result(job.name, self.status)

    recorder = Executed()
    monkeypatch.setattr(batch, "execute", recorder)
    return recorder


def test_run_executes_the_laptop_profile_and_prints_the_table(executed, checkout, capsys):
    assert main(["run"]) == 0
    ((job, run_directory),) = executed
    assert (job.name, run_directory) == ("01_first", checkout / "runs" / "laptop")
    output = capsys.readouterr().out
    assert "[1/1] 01_first (time limit 60 s)" in output
    assert "notebook  status  seconds  peak MiB  figures" in output


def test_run_takes_settings_and_an_output_directory(executed, checkout):
    assert main(["run", "01", "--set", "01_first.seed=5", "--out", "elsewhere"]) == 0
    ((job, run_directory),) = executed
    assert (job.parameters, run_directory) == ({"seed": 5}, checkout / "elsewhere")


@pytest.mark.parametrize(("status", "expected"), [("passed", 0), ("skipped", 0), ("failed", 1), ("interrupted", 130)])
def test_the_exit_status_tells_the_outcome(executed, status, expected):
    executed.status = status
    assert main(["run"]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "02_second"], "there is no notebook '02_second'"),
        (["run", "--profile", "lapdog"], 'Did you mean "laptop"?'),
        (["run", "--set", "01.sead=1"], 'Did you mean "seed"?'),
        (["run", "--set", "01.seed=one"], "parameter seed is 'one', but must be a whole number"),
        (["list", "02_second"], "there is no notebook '02_second'"),
        (["figures", "01-law", "01-low"], 'Did you mean "01-law"?'),
        (["figures", "--list", "nothing"], "there is no figure 'nothing': choose from 01-law"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_before_anything_runs(executed, capsys, arguments, message):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("lpsgld: ") and message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not executed


def test_list_shows_questions_and_parameters(capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "01_first: First steps",
        "    What is a step?",
        "    seed  int  = 0  root seed",
    ]


@pytest.mark.parametrize("identifiers", [[], ["01-law"]])
def test_figures_runs_the_notebooks_that_draw_them_at_slide_sizes(executed, checkout, capsys, identifiers):
    (checkout / "notebooks" / "profiles" / "laptop.yaml").write_text("timeout: 60\n01_first: {}\n02_other: {}\n")
    cells = [new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), checkout / "notebooks" / "02_other.ipynb")
    assert main(["figures", *identifiers]) == 0
    assert [(job.name, where) for job, where in executed] == [("01_first", checkout / "runs" / "laptop")]
    assert "1 passed" in capsys.readouterr().out


def test_figures_that_cannot_be_drawn_make_the_command_fail(executed):
    executed.status = "failed"
    assert main(["figures"]) == 1


def test_figures_are_listed_without_a_run(executed, checkout, capsys):
    assert main(["figures", "--list"]) == 0
    assert capsys.readouterr().out.startswith("01-law: not drawn yet (01_first)\n")
    (checkout / "figures").mkdir()
    (checkout / "figures" / "manifest.json").write_text("[]")
    assert main(["figures", "--list"]) == 2
    assert "is not a manifest of figures" in capsys.readouterr().err
    assert not executed


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "usage: lpsgld" in capsys.readouterr().err


@pytest.mark.slow
def test_help_is_available_from_the_module(checkout):
    command = [sys.executable, "-m", "lpsgld", "run", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--profile" in result.stdout
    assert "NOTEBOOK.PARAMETER=VALUE" in result.stdout


def test_training_from_the_command_line_ends_in_scores(tmp_path, capsys):
    out = str(tmp_path / "run")
    sizes = ["--set", "model=logistic", "--set", "epochs=2", "--set", "samples=2", "--set", "lr=0.1"]
    assert main(["train", "train_fixed", "--dataset", "digits", *sizes, "--out", out, "--quiet"]) == 0
    assert f"next: lpsgld evaluate {out}" in capsys.readouterr().out
    assert main(["evaluate", out, "--quiet"]) == 0
    assert "ensemble of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "train_bpf", "--out", "x"], 'Did you mean "train_bfp"?'),
        (["train", "train_bfp", "--out", "x", "--set", "epoch=3"], 'Did you mean "epochs"?'),
        (["train", "train_bfp", "--out", "x", "--dataset", "folder:nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "holds no training run"),
        (["recipes", "train_fxed"], 'Did you mean "train_fixed"?'),
    ],
)
def test_mistakes_with_networks_are_one_line(arguments, says, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


# ---- the command as a process of its own: what is around it -------------------------------------------------------

HERE = str(Path(__file__).resolve().parents[1])


def command(*arguments: str, **options) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": HERE} | options.pop("env", {})
    options = {"stderr": subprocess.PIPE, "timeout": 120} | options
    return subprocess.run([sys.executable, "-m", "lpsgld", *arguments], env=environment, text=True, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "statuses"), [(["list"], {141}), (["recipes"], {141}), (["--help"], {0, 141})])
def test_a_reader_that_goes_away_is_no_error(arguments, statuses):
    """Help is printed by argparse, which takes no notice in the later releases of Python 3.11."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = command(*arguments, stdout=writing)
    os.close(writing)
    assert ended.returncode in statuses and ended.stderr == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["list"], ["recipes"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        ended = command(*arguments, stdout=full)
    assert ended.returncode == 2
    assert (
        ended.stderr.startswith("lpsgld: the output cannot be written: No space left") and ended.stderr.count("\n") == 1
    )


@pytest.mark.slow
def test_without_an_output_there_is_nothing_to_say():
    ended = command("list", preexec_fn=lambda: os.close(1))
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["list"], ["recipes"], ["figures", "--list"]], ids=" ".join)
def test_a_user_without_a_home_has_one(checkout, arguments):
    (checkout / "sitecustomize.py").write_text("import pwd\ndef unknown(*_): raise KeyError\npwd.getpwuid = unknown\n")
    path = os.pathsep.join([str(checkout), HERE])
    code = f"import os\ndel os.environ['HOME']\nfrom lpsgld.__main__ import main\nraise SystemExit(main({arguments}))"
    environment = os.environ | {"PYTHONPATH": path}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_greek_letters_shows_their_numbers(checkout, encoding):
    cells = [new_markdown_cell("# How θ moves"), new_code_cell("", metadata={"tags": ["parameters"]})]
    nbformat.write(new_notebook(cells=cells), checkout / "notebooks" / "01_first.ipynb")
    ended = command("list", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": encoding})
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "01_first: How \\u03b8 moves\n")


def test_ctrl_c_during_the_imports_is_one_line(checkout):
    """The module that is imported first, of those that take long, says when."""
    (checkout / "torch.py").write_text("print('now', flush=True)\nimport time\ntime.sleep(60)")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(checkout), HERE])}
    arguments = [sys.executable, "-m", "lpsgld", "recipes"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, env=environment, text=True, **pipes) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "lpsgld: interrupted\n")


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"lpsgld {version('lpsgld')}\n"
