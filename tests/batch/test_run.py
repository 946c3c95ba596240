"""Notebooks really executed: what passes, what fails, what is skipped, and what is left behind."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import torch

from lpsgld import batch
from lpsgld.batch import processes
from lpsgld.batch.outcome import count_figures
from lpsgld.publish import Copies, Recordings

pytestmark = pytest.mark.slow  # each starts a kernel

PNG = base64.b64encode(b"not really a picture").decode()

SHOW_ENVIRONMENT = """\
import json, os, sys
print(json.dumps([sys.executable, os.getcwd(), os.environ["LPSGLD_RUN_DIR"], seed, smoke]))"""

# Two figures of its own, one from an earlier run, and one of another notebook.
WRITE_FIGURES = """\
from pathlib import Path
figures = Path(os.environ["LPSGLD_RUN_DIR"]) / "figures"
figures.mkdir()
names = {"01-a": "01_good", "01-b": "01_good", "01-old": "01_good", "99-x": "99_other"}
rows = {identifier: {"notebook": name, "files": [f"{identifier}.png"]} for identifier, name in names.items()}
for identifier in rows:
    (figures / f"{identifier}.png").write_bytes(b"")
os.utime(figures / "01-old.png", (0, 0))
(figures / "manifest.json").write_text(json.dumps({"figures": rows}))"""

# One bundle with a widget and its picture, as the views display it.
SHOW_WIDGET = f"""\
import ipywidgets
from IPython.display import display
display(ipywidgets.IntSlider()._repr_mimebundle_() | {{"image/png": "{PNG}"}}, raw=True)"""

FAIL_IN_A_CALLBACK = """\
import ipywidgets
out, slider = ipywidgets.Output(), ipywidgets.IntSlider()
def redraw(change):
    with out:
        raise RuntimeError("the picture broke")
slider.observe(redraw, "value")
slider.value = 3"""

# A kernel that has a child of its own and, on Linux, a daemon, and tells all their names before it hangs.
HANG = """\
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
daemon = "setsid sleep 600 > /dev/null 2>&1 & echo $!" if sys.platform == "linux" else "true"
daemon = subprocess.run(daemon, shell=True, stdout=subprocess.PIPE, text=True).stdout
with open(os.path.join(os.environ["LPSGLD_RUN_DIR"], "pids"), "w") as file:
    file.write(f"{os.getpid()} {os.getppid()} {child.pid} {daemon} .")
time.sleep(600)"""


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def pids_of(run_directory: Path) -> list[int]:
    """The kernel of HANG, the worker that started it, and what it has started; waits for them."""
    file = run_directory / "pids"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text().endswith(".")):
        assert time.monotonic() < deadline, "the kernel never started"
        time.sleep(0.05)
    return [int(text) for text in file.read_text().split()[:-1]]


class Finished:
    """A run that has ended: its results by name, and its directory."""

    def __init__(self, results: list[batch.Result], directory: Path) -> None:
        self.results = {result.name: result for result in results}
        self.directory = directory

    def executed(self, name: str) -> nbformat.NotebookNode:
        return nbformat.read(self.results[name].executed, as_version=4)


@pytest.fixture(scope="module")
def finished(make_folder, tmp_path_factory) -> Finished:
    """One run of one notebook of each kind."""
    folder = make_folder()
    folder.notebook("01_good", SHOW_ENVIRONMENT, WRITE_FIGURES, SHOW_WIDGET)
    folder.notebook("02_bad", "x = 1", "y = 1\nraise ValueError('no luck\\nat all')", "z = 1")
    folder.notebook("03_needs_bad", "1", after=["02_bad"])
    folder.notebook("04_needs_skipped", "1", after=["03_needs_bad"])
    folder.notebook("05_gpu", "1", device="cuda")
    folder.notebook("06_callback", FAIL_IN_A_CALLBACK)
    folder.notebook("07_dies", "x = 1", "import os\nos._exit(3)")
    folder.notebook("08_hangs", HANG)
    names = sorted(path.stem for path in folder.path.glob("*.ipynb"))
    folder.profile("smoke", **{name: {"smoke": True, "timeout": 15 if name == "08_hangs" else 60} for name in names})
    out = tmp_path_factory.mktemp("run")
    (out / "01_good.failed.ipynb").write_text("from an earlier run")
    (out / "02_bad.ipynb").write_text("from an earlier run")
    # The first kernel on Jupyter's path must not be the one that runs.
    foreign = tmp_path_factory.mktemp("jupyter")
    (foreign / "kernels" / "python3").mkdir(parents=True)
    specification = {"argv": ["false"], "display_name": "foreign", "language": "python"}
    (foreign / "kernels" / "python3" / "kernel.json").write_text(json.dumps(specification))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(foreign))
        patch.setattr(torch.cuda, "is_available", lambda: False)
        settings, export = {"01_good": {"seed": 7}}, Copies(Recordings(out / "views"))
        results = batch.run_notebooks((), "smoke", settings, out, folder.path, export)
    assert [result.name for result in results] == names
    return Finished(results, out)


def test_statuses(finished):
    assert {name: result.status for name, result in finished.results.items()} == {
        "01_good": "passed",
        "02_bad": "failed",
        "03_needs_bad": "skipped",
        "04_needs_skipped": "skipped",
        "05_gpu": "skipped",
        "06_callback": "failed",
        "07_dies": "failed",
        "08_hangs": "failed",
    }


def test_the_kernel_is_this_python_beside_the_notebook_with_the_parameters(finished):
    (cell,) = [cell for cell in finished.executed("01_good").cells if cell.source == SHOW_ENVIRONMENT]
    python, directory, run_directory, seed, smoke = json.loads(cell.outputs[0].text)
    assert Path(python) == Path(sys.executable)
    assert Path(directory).name == "notebooks"
    assert Path(run_directory) == finished.directory
    assert (seed, smoke) == (7, True)


def test_a_pass_has_its_figures_and_no_reason(finished):
    good = finished.results["01_good"]
    assert good.figures == 2
    assert (good.reason, good.where) == ("", "")


def test_a_failing_cell_is_named_and_its_notebook_kept(finished):
    bad = finished.results["02_bad"]
    assert (bad.where, bad.reason) == ("In [4] `y = 1`", "ValueError: no luck")
    assert bad.executed == finished.directory / "02_bad.failed.ipynb"
    sources = [cell.source for cell in finished.executed("02_bad").cells if cell.get("execution_count")]
    assert sources[-1].startswith("y = 1")
    assert (finished.directory / "02_bad.ipynb").read_text() == "from an earlier run"


def test_a_pass_removes_the_failure_before_it(finished):
    assert finished.results["01_good"].executed == finished.directory / "01_good.ipynb"
    assert not (finished.directory / "01_good.failed.ipynb").exists()


def test_skipped_notebooks_say_why(finished):
    assert finished.results["03_needs_bad"].reason == "it needs 02_bad, which failed"
    assert finished.results["04_needs_skipped"].reason == "it needs 03_needs_bad, which was skipped"
    assert finished.results["05_gpu"].reason.startswith("it needs an NVIDIA GPU")
    assert not list(finished.directory.glob("0[345]_*"))


def test_an_error_inside_a_widgets_callback_fails_the_notebook(finished):
    result = finished.results["06_callback"]
    assert (result.where, result.reason) == ("a widget's callback", "RuntimeError: the picture broke")


def test_a_dead_kernel_fails_the_notebook_and_is_located(finished):
    result = finished.results["07_dies"]
    assert result.where.endswith("`import os`")
    assert result.reason == "DeadKernelError: Kernel died"


def test_the_time_limit_kills_the_kernel_and_its_children(finished):
    result = finished.results["08_hangs"]
    assert (result.where, result.reason) == ("In [*] `import os, subprocess, sys, time`", "time limit of 15 s reached")
    assert result.seconds >= 15
    assert result.executed == finished.directory / "08_hangs.failed.ipynb"
    assert not any(map(alive, pids_of(finished.directory)))


def test_html_shows_the_picture_and_needs_no_widget_script(finished):
    page = finished.results["01_good"].html.read_text(encoding="utf-8")
    assert f"data:image/png;base64,{PNG}" in page
    assert "<title>About 01_good</title>" in page
    assert "widget-state+json" not in page
    assert "html-manager" not in page
    assert "no luck" in finished.results["02_bad"].html.read_text(encoding="utf-8")


def test_nothing_temporary_is_left(finished):
    assert [path.name for path in finished.directory.glob(".*")] == [".lock"]


def test_an_output_directory_that_cannot_be_made_is_refused(folder, tmp_path):
    folder.notebook("01_good")
    folder.profile("smoke", **{"01_good": {}})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(batch.BatchError, match="cannot make the output directory"):
        batch.run_notebooks(profile="smoke", out=tmp_path / "file" / "run", notebook_dir=folder.path)


def test_a_name_that_would_part_folders_is_refused(folder, tmp_path):
    folder.notebook("01_good")
    folder.profile("smoke", **{"01_good": {}})
    with pytest.raises(batch.BatchError, match=f"has a '{os.pathsep}' in it.*: name another"):
        batch.run_notebooks(profile="smoke", out=tmp_path / f"a{os.pathsep}b", notebook_dir=folder.path)
    assert not list(tmp_path.glob("a*"))


@pytest.mark.parametrize("name", ["o {x} %s", "{seed}", "θ ~ s3", "-"])
def test_any_name_of_a_folder_will_do(make_folder, tmp_path, name):
    """Papermill takes braces for its own, and some beginnings for addresses."""
    folder = make_folder()
    folder.path = folder.path.rename(tmp_path / "{seed} %s")
    folder.profiles = folder.path / "profiles"
    folder.notebook("01_good", "print(seed)")
    folder.profile("smoke", **{"01_good": {"seed": 3}})
    (result,) = batch.run_notebooks(profile="smoke", out=tmp_path / name, notebook_dir=folder.path)
    assert (result.status, result.reason, result.executed) == ("passed", "", tmp_path / name / "01_good.ipynb")
    assert nbformat.read(result.executed, as_version=4).cells[-1].outputs[0].text == "3\n"


def test_outputs_that_widgets_capture_never_hide_the_reply(folder, tmp_path):
    """nbclient alone waits for ever at one in some 35 of such cells (four runs: at the 2nd, 15th, 33rd, 62nd)."""
    capture = "import ipywidgets, random, time\nwith ipywidgets.Output():\n    print(1, flush=True)\n"
    folder.notebook("01_captures", *[capture + "time.sleep(2e-3 * random.random())"] * 200)
    folder.profile("smoke", **{"01_captures": {"timeout": 120}})
    (result,) = batch.run_notebooks(profile="smoke", out=tmp_path / "run", notebook_dir=folder.path)
    assert (result.status, result.reason) == ("passed", "")


def test_two_runs_into_one_folder_keep_a_whole_notebook(folder, tmp_path):
    folder.notebook("01_good", "print('whole')")
    folder.profile("smoke", **{"01_good": {}})
    command = [sys.executable, "-m", "lpsgld", "run", "--profile", "smoke", "--out", "run"]
    environment = os.environ | {"PYTHONPATH": str(Path(batch.__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) for _ in range(2)]
    for run in runs:
        _, error = run.communicate(timeout=120)
        assert (run.returncode, error) == (0, "")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "01_good.html", "01_good.ipynb"]
    assert nbformat.read(tmp_path / "run" / "01_good.ipynb", as_version=4).cells[-1].outputs[0].text == "whole\n"


@pytest.mark.parametrize(("error", "status"), [(OSError("disk full"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_what_happens_while_files_are_written_is_a_result_too(folder, tmp_path, monkeypatch, error, status):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(batch, "execute", fail)
    folder.notebook("01_good", "1")
    folder.profile("smoke", **{"01_good": {}})
    (result,) = batch.run_notebooks(profile="smoke", out=tmp_path / "run", notebook_dir=folder.path)
    assert (result.status, result.where) == (status, "writing its files")
    assert result.reason in ("disk full", "interrupted")


def test_a_notebook_whose_html_copy_fails_is_kept(folder, tmp_path):
    def fail(*arguments):
        raise RuntimeError("no template")

    folder.notebook("01_good", "1")
    folder.profile("smoke", **{"01_good": {}})
    (result,) = batch.run_notebooks(profile="smoke", out=tmp_path / "run", notebook_dir=folder.path, export=fail)
    assert (result.status, result.where, result.reason) == ("failed", "the HTML copy", "RuntimeError: no template")
    assert (result.executed.exists(), result.html) == (True, None)


def test_ctrl_c_leaves_no_kernel_and_still_prints_the_table(folder, tmp_path):
    folder.notebook("01_hangs", HANG)
    folder.notebook("02_next", "1")
    folder.profile("smoke", **{"01_hangs": {}, "02_next": {}})
    run_directory = tmp_path / "run"
    command = [sys.executable, "-m", "lpsgld", "run", "--profile", "smoke", "--out", str(run_directory)]
    environment = os.environ | {"PYTHONPATH": str(Path(batch.__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as runner:
        pids = pids_of(run_directory)
        runner.send_signal(signal.SIGINT)
        output, _ = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert "01_hangs  interrupted" in output
    assert "02_next was skipped: the run was interrupted" in output
    assert not any(map(alive, pids))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT], ids=lambda number: number.name)
def test_a_runner_that_is_killed_takes_all_along_and_the_next_one_clears_up(folder, tmp_path, number):
    """Also what it could not end itself: `kill -9` leaves it no time."""
    folder.notebook("01_hangs", HANG)
    folder.notebook("02_next", "1")
    folder.profile("smoke", **{"01_hangs": {}, "02_next": {}})
    run_directory = tmp_path / "run"
    command = [sys.executable, "-m", "lpsgld", "run", "--profile", "smoke", "--out", str(run_directory)]
    environment = os.environ | {"PYTHONPATH": str(Path(batch.__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as runner:
        pids = pids_of(run_directory)
        runner.send_signal(number)
        runner.communicate(timeout=60)
    assert runner.returncode == (130 if number == signal.SIGHUP else -number)
    deadline = time.monotonic() + 60
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "something lives on without a time limit"
        time.sleep(0.05)
    (result,) = batch.run_notebooks(["02"], "smoke", out=run_directory, notebook_dir=folder.path)
    assert result.status == "passed"
    assert [path.name for path in run_directory.glob(".*")] == [".lock"]


def test_a_worker_that_is_killed_takes_its_kernel_along(folder, tmp_path):
    kill = "time.sleep(2)  # until the runner has looked\nos.kill(os.getppid(), 9)\ntime.sleep(600)"
    folder.notebook("01_hangs", HANG.replace("time.sleep(600)", kill))
    folder.profile("smoke", **{"01_hangs": {}})
    (result,) = batch.run_notebooks(profile="smoke", out=tmp_path / "run", notebook_dir=folder.path)
    assert (result.status, result.reason) == ("failed", "its process ended with status -9")
    assert not any(map(alive, pids_of(tmp_path / "run")))


@pytest.mark.parametrize("children", [0, 1, 2])
def test_memory_counts_descendants_and_not_the_command_itself(monkeypatch, children):
    """Each process is said to hold one MiB."""
    monkeypatch.setattr(processes, "_resident_bytes", lambda process: 2**20)
    spawn = "import subprocess, sys, time\nsleep = [sys.executable, '-c', 'import time; time.sleep(2)']\n"
    spawn += f"for child in [subprocess.Popen(sleep) for _ in range({children})]: child.wait()\ntime.sleep(0.5)"
    ending = processes.supervise([sys.executable, "-c", spawn], os.environ, 60)
    assert (ending.how, ending.returncode, ending.peak_mib) == ("done", 0, children)


@pytest.mark.parametrize(
    ("smoke", "overrides", "out", "where"),
    [
        (False, {}, None, "figures"),
        (True, {}, None, "runs/small/figures"),
        (False, {"01_where": {"seed": 1}}, None, "runs/small/figures"),
        (False, {}, "elsewhere", "elsewhere/figures"),
    ],
    ids=["for slides", "smoke", "other parameters", "another folder"],
)
def test_only_a_profiles_own_run_writes_into_the_figures_for_slides(folder, tmp_path, smoke, overrides, out, where):
    """Otherwise an experiment would replace the pictures that lectures use."""
    source = "from lpsgld import lab\nlab.start('01_where', seed=seed, live=live, smoke=smoke)\n"
    folder.notebook("01_where", source + "print(lab.session.current().figures)")
    folder.profile("small", **{"01_where": {"live": False, "smoke": smoke}})
    chosen = tmp_path / out if out else None
    (result,) = batch.run_notebooks(profile="small", overrides=overrides, out=chosen, notebook_dir=folder.path)
    assert result.status == "passed", result.reason
    (*_, cell) = nbformat.read(result.executed, as_version=4).cells
    assert Path(cell.outputs[0].text.strip()) == tmp_path / where


def test_no_manifest_or_a_broken_one_means_no_figures(tmp_path):
    assert count_figures(tmp_path, "01_good", since=0.0) == 0
    (tmp_path / "manifest.json").write_text("[")
    assert count_figures(tmp_path, "01_good", since=0.0) == 0
