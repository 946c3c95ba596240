"""The benchmark command runs and prints its table; how fast anything is, is not tested here."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.timing import Row, interleaved, table


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_prints_a_row_for_every_comparison(qtorch_quant):
    """With qtorch's extension compiled before, by the fixture."""
    sizes = "--values 1000 --width 2 --batch 2 --repetitions 1 --threads 1".split()
    result = command(*sizes)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert len(names) == 8 + 4 + 6 + 2
    for name in ("quantize block(8,0) stochastic", "vc_quantize fixed(8,8) v < v0", "step, vc, block(8,0)"):
        assert name in names


def test_an_unknown_section_is_refused():
    result = command("speed")
    assert result.returncode == 2 and "choose from rounding, optimizer, network" in result.stderr


def test_cases_take_turns_and_the_fastest_round_counts():
    order = []
    best = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repetitions=2)
    assert order == ["a", "b"] * 3 and 0 < min(best.values()) < 1


@pytest.mark.parametrize(("floor", "distance"), [(None, "|  |  |"), (0.001, "| 1.0 | 2.0 |")])
def test_the_table_shows_ratios(floor, distance):
    line = table([Row("step", 1, ours=0.002, other=0.01, versus="qtorch", goal="5", floor=floor)]).splitlines()[-1]
    assert line.startswith("| step | 1 | 2.0 | 10.0 | qtorch | 5.00 | 5 |") and line.endswith(distance)
