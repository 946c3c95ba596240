import pytest

from lpsgld import lab
from lpsgld.lab import session


def test_before_start_there_is_no_session():
    assert not session.current().notebook
    with pytest.raises(RuntimeError, match=r'lab.run_folder needs to know the notebook: call lab.start\("NN_name"'):
        session.run_folder("width=8")


def test_start_says_what_the_notebook_is(tmp_path, monkeypatch):
    monkeypatch.setenv("LPSGLD_RUN_DIR", str(tmp_path))
    lab.start("05_variance_correction", seed=3, live=False, smoke=True)
    running = session.current()
    assert (running.notebook, running.seed, running.live) == ("05_variance_correction", 3, False)


def test_a_long_computation_finds_its_folder_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LPSGLD_RUN_DIR", str(tmp_path))
    lab.start("08_cifar", smoke=True)
    folder = session.run_folder("width=8", "epochs=2")
    assert folder == session.run_folder("width=8", "epochs=2")
    assert folder.parent == tmp_path / "08_cifar"
    assert folder != session.run_folder("width=8", "epochs=3")


def test_another_projects_folder_is_not_the_repository(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.chdir(tmp_path)
    assert session.repository() != tmp_path
