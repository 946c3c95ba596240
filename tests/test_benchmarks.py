"""The benchmark command runs and prints its table; how fast anything is, is not tested here."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import rivals
from benchmarks.profile import part
from benchmarks.timing import Row, interleaved, table
from lpsgld.bnn.costs import timing


def command(*arguments, module="benchmarks"):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_command_prints_a_row_for_every_comparison(qtorch_quant):
    """With qtorch's extension compiled before, by the fixture."""
    sizes = "--values 1000 --width 2 --batch 2 --repetitions 1 --threads 1 --limit 4 --device cpu".split()
    result = command(*sizes)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert len(names) == 8 + 4 + 12 + 2 + 3
    for name in (
        "quantize block(8,0) stochastic",
        "vc_quantize fixed(8,8) v < v0",
        "step, vc, block(8,0)",
        "step with momentum, full, fixed(8,8)",
        "epoch, train_fixed, 4 images, width 2",
    ):
        assert name in names


@pytest.mark.slow
def test_an_unknown_section_is_refused():
    result = command("speed")
    assert result.returncode == 2 and "choose from rounding, optimizer, rivals, network, epoch" in result.stderr


def test_libraries_that_are_not_installed_are_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "posteriors", None)
    monkeypatch.setitem(sys.modules, "jax", None)
    assert list(rivals.rows(width=1, repetitions=1)) == []
    rivals.installed.cache_clear()
    assert "no comparison with posteriors" in (told := capsys.readouterr().err) and "comparison with jax: " in told


def test_cases_take_turns_and_the_fastest_round_counts(monkeypatch):
    order, clock = [], iter([0, 0, 10, 13, 20, 24, 30, 32, 40, 47])  # no end is read in the round that warms up
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    best = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repetitions=2)
    assert order == ["a", "b"] * 3 and best == {"a": 2, "b": 4}


def test_the_table_shows_ratios_and_leaves_out_what_there_is_not():
    full = Row("step", 1, ours=0.002, other=0.01, versus="qtorch", goal="5", floor=0.001, bytes=0.0005)
    bare = Row("epoch", 2, ours=3.0, other=None, versus="eager")
    lines = table([full, bare]).splitlines()
    assert lines[2] == "| step | 1 | 2.0 | 10.0 | qtorch | 5.00 | 5 | 1.0 | 2.0 | 0.50 | 4.0 |"
    assert lines[3] == "| epoch | 2 | 3000.0 |  | eager |  |  |  |  |  |  |"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["train_bfp", "train_fixed"])
def test_the_profile_names_the_parts_of_a_step(recipe):
    result = command(
        *f"--recipe {recipe} --width 2 --steps 1 --device cpu --dataset digits".split(), module="benchmarks.profile"
    )
    assert result.returncode == 0, result.stderr
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")]
    shares = {name.removeprefix("| "): float(share.removesuffix("% |")) for name, _, share in rows[1:-1]}
    assert abs(sum(shares.values()) - 100) < 0.5
    parts = {"convolution", "BatchNorm", "optimizer", "data and augmentation", "other"}
    assert set(shares) == (parts | {"quantization"} if recipe == "train_bfp" else parts)


def test_a_trace_finds_the_part_around_an_operation():
    inside = SimpleNamespace(name="aten::add", cpu_parent=SimpleNamespace(name="_AnyWay", cpu_parent=None))
    assert part(inside) == "quantization"
    assert part(SimpleNamespace(name="aten::add", cpu_parent=None)) == "other"
