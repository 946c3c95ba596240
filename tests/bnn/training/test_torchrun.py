"""Two chains in two processes, started by torchrun."""

import subprocess
import sys

import pytest

from lpsgld.bnn.judging import ensemble
from lpsgld.bnn.training import loop, runs, torchrun
from lpsgld.bnn.training.runs import RunError

SCRIPT = """
import sys
from lpsgld.bnn.data import datasets
from lpsgld.bnn.training import torchrun
from lpsgld.bnn.training.recipes import Recipe
assert torchrun.under_torchrun()
digits = datasets.load("digits").subset(500, 200) if sys.argv[3] == "subset" else None
torchrun.train_own_chain(Recipe.from_json(sys.argv[1]), sys.argv[2], dataset=digits, progress=False, device="cpu")
"""


def launched(tmp_path, recipe, out, data="subset") -> subprocess.CompletedProcess:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "script.py"), recipe.to_json(), str(out), data]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_two_processes_train_two_chains(tmp_path, digits, small):
    done = launched(tmp_path, small.override(epochs=3, samples=2), tmp_path / "run", data="own")
    assert done.returncode == 0, done.stderr
    both = runs.open_all(tmp_path / "run")
    assert [run.chain for run in both] == [0, 1] and all(run.finished for run in both)
    assert both[0].history[-1]["train_loss"] != both[1].history[-1]["train_loss"]
    assert ensemble.evaluate(both, progress=False, device="cpu").summary()["samples"] == 4


def test_a_chain_that_fails_does_not_stop_the_other(tmp_path, digits, small):
    (tmp_path / "run" / "chain-1").mkdir(parents=True)
    (tmp_path / "run" / "chain-1" / "stranger.txt").write_text("")
    done = launched(tmp_path, small.override(epochs=3, samples=2), tmp_path / "run")
    assert done.returncode != 0 and "no run folder, but holds stranger.txt" in done.stderr
    assert runs.Run.open(tmp_path / "run" / "chain-0").finished


def test_chains_do_not_go_into_a_single_run(finished):
    with pytest.raises(RunError, match="holds a single run"):
        torchrun.train_own_chain(finished.recipe, finished.path)
    assert not torchrun.under_torchrun()


@pytest.mark.parametrize(
    ("rank", "size", "said"),
    [(None, "1", "'RANK'"), ("a", "1", "'a'"), ("0", "0", "RANK is 0 of 0"), ("5", "1", "RANK is 5 of 1")],
)
def test_an_environment_that_is_not_torchruns_is_told(tmp_path, small, monkeypatch, rank, size, said):
    """Rank 5 of 1 would wait for ever."""
    names = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost"}
    for name, value in (names | {"MASTER_PORT": "29599"}).items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert torchrun.under_torchrun()
    with pytest.raises(RunError, match=f"chains cannot meet: .*{said}.*Start it with torchrun"):
        torchrun.train_own_chain(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_chain_equals_the_same_chain_trained_alone(tmp_path, digits, small, finished):
    """Chain 0 is the plain run: the number of chains changes nothing."""
    alone = loop.train(small, tmp_path / "alone", dataset=digits, chain=0, progress=False, device="cpu")
    assert [p.read_bytes() for p in alone.samples] == [p.read_bytes() for p in finished.samples]
