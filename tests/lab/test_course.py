"""The reader's copy of the course."""

import tomllib
from pathlib import Path

import pytest

from lpsgld import lab
from lpsgld.__main__ import main
from lpsgld.files import FileError
from lpsgld.lab import session
from lpsgld.lab.course import _PARTS, copy_course, without_cover

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != ".ipynb_checkpoints")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_copy_holds_all_that_notebooks_need_and_what_is_done_there_stays_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["course", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out == f"your copy of the course: {tmp_path / 'mine' / 'notebooks'}\n"
    copied = files(tmp_path / "mine" / "notebooks")
    assert copied == {name: without_cover(content) for name, content in files(NOTEBOOKS).items()}
    assert not any(b"../figures/" in content for content in copied.values()), "the copy has no figures yet"

    monkeypatch.chdir(tmp_path / "mine" / "notebooks")
    monkeypatch.delenv("LPSGLD_FIGURES", raising=False)
    monkeypatch.delenv("LPSGLD_RUN_DIR", raising=False)
    lab.start("05_variance_correction")
    assert session.current().figures == tmp_path / "mine" / "figures"
    assert session.run_folder("x").is_relative_to(tmp_path / "mine" / "runs")
    assert session.recorded_folder() == tmp_path / "mine" / "notebooks" / "recorded"


def test_a_copy_that_is_there_stays_and_an_old_one_is_told(tmp_path):
    source, out = tmp_path / "notebooks", tmp_path / "mine"
    source.mkdir()
    (source / "00_one.ipynb").write_text("{}")
    copy_course(source, out)
    (out / "notebooks" / "00_one.ipynb").write_text("my own work")
    assert copy_course(source, out) == f"{out} is your copy of the course, and stays as it is"
    (source / "01_two.ipynb").write_text("{}")
    assert "older course, and stays as it is" in copy_course(source, out)
    assert files(out / "notebooks") == {"00_one.ipynb": b"my own work"}
    assert {path.name for path in tmp_path.iterdir()} == {"notebooks", "mine"}, "nothing on its way is left"


def test_what_is_no_copy_is_not_written_into(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileError, match="is no copy of the course, and not empty: name a folder that is not there"):
        copy_course(NOTEBOOKS, tmp_path)
    with pytest.raises(FileError, match="no copy of the course"):
        copy_course(NOTEBOOKS, tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_installed_package_brings_the_whole_course():
    brought = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["data-files"]
    files = {Path(place) / path.name for place, globs in brought.items() for each in globs for path in ROOT.glob(each)}
    needed = {path for part in _PARTS for path in NOTEBOOKS.glob(part)}
    assert files == {Path("share/lpsgld/notebooks") / path.relative_to(NOTEBOOKS) for path in needed}
