"""The machine check says what is missing and what to do, and never raises."""

from importlib import metadata

import pytest
import torch

from lpsgld.lab import machine
from lpsgld.lab.machine import Finding


@pytest.fixture
def no_packages(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    for function in ("version", "metadata", "requires"):
        monkeypatch.setattr(machine.metadata, function, missing)


def test_this_machine_can_run_the_tests_so_it_has_the_packages_and_the_font():
    findings = {finding.what: finding for finding in machine.check()}
    assert {"Python", "packages", "number formats", "sliders", "font", "device", "memory"} <= findings.keys()
    for what in ("Python", "packages", "sliders", "font"):
        assert not findings[what].mend, findings[what]


def test_packages_are_held_against_their_bounds(monkeypatch):
    def packages(*requirements):
        monkeypatch.setattr(machine.metadata, "requires", lambda _: list(requirements))
        return machine.packages()

    good, old, absent = "numpy>=1.0", "numpy>=999", "surely-no-such-package>=1"
    (fine,) = packages(good, f'{absent}; extra == "test"')  # what only the tests need
    assert fine == Finding("packages", "all 1 are there, in versions that fit")
    outdated, missing = packages(good, old, absent)
    assert outdated.missing and ">=999 is needed" in outdated.found and "numpy>=999" in outdated.mend
    assert missing.missing and missing.what == "package surely-no-such-package" and missing.found == "not installed"
    (of_course,) = packages(good, f'{absent}; extra == "course"')
    assert of_course == missing, "the notebooks need the course"


def test_a_project_that_is_not_installed_is_told_so(no_packages):
    (finding,) = machine.packages()
    assert finding.missing and 'pip install -e ".[course]"' in finding.mend
    assert not machine.python().mend, "that is not Python's fault"


def test_a_python_that_is_too_old(monkeypatch):
    monkeypatch.setattr(machine.platform, "python_version", lambda: "3.8.1")
    assert machine.python().missing and ">=3.11" in machine.python().mend


def test_a_front_end_without_widgets(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "jupyter_path", lambda *_: [str(tmp_path)])
    assert machine.widgets().missing and "jupyterlab_widgets" in machine.widgets().mend
    (tmp_path / "@jupyter-widgets" / "jupyterlab-manager").mkdir(parents=True)
    assert not machine.widgets().mend


def test_a_missing_font():
    assert machine.fonts("No Such Font").missing


def test_a_compiler_and_a_gpu_are_not_needed(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for finding in (machine.formats_library(), machine.device()):
        assert finding.mend and not finding.missing


@pytest.mark.parametrize(("available", "missing"), [(2**30, True), (2**33, False)])
def test_too_little_memory(monkeypatch, available, missing):
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: type("Memory", (), {"available": available}))
    assert machine.memory().missing == missing


def test_a_folder_is_tried_where_it_will_be(tmp_path):
    assert not machine.folder("runs", tmp_path / "not" / "yet").mend
    assert list(tmp_path.iterdir()) == [], "the check leaves nothing behind"


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    finding = machine.folder("runs", tmp_path)
    assert finding.missing and "Permission denied" in finding.found


def test_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    assert machine.folder("runs", tmp_path).missing


def test_the_table_marks_fine_missing_and_not_needed(shown):
    machine.show([Finding("a", "b"), Finding("c", "d|e", "mend it"), Finding("f", "g", "a hint", needed=False)])
    data = shown[0][0]
    assert data["text/markdown"].splitlines()[2:] == [
        "| ✓ | a | b |  |",
        "| ✗ | c | d&#124;e | mend it |",
        "| ○ | f | g | a hint |",
    ]
    assert data["text/plain"].splitlines()[1] == "✗ · c · d|e · mend it"
