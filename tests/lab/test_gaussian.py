"""`lpsgld gaussian`: what it prints is what the exact law and the samples are, and mistakes are one line."""

import re

import pytest
from PIL import Image

from lpsgld.__main__ import main
from lpsgld.toy.exact import stationary
from lpsgld.toy.targets import Gaussian

QUICK = ["--alpha", "0.05", "--chains", "400", "--gradient-noise", "0.5", "--temperature", "0.5"]


@pytest.mark.parametrize(
    ("accumulator", "more", "target", "weight"),
    [
        ("full", [], Gaussian(), "fixed(8,3)"),
        ("naive", [], Gaussian(), "fixed(8,3)"),
        ("vc", ["--mean", "-1", "--std", "2", "--weight", "fixed(6,2)"], Gaussian(-1.0, 2.0), "fixed(6,2)"),
        ("full", ["--weight", "full", "--grad", "full"], Gaussian(), None),
    ],
)
def test_the_samples_follow_the_exact_law_that_stands_beside_them(tmp_path, capsys, accumulator, more, target, weight):
    out = tmp_path / "law.png"
    assert main(["gaussian", "--accumulator", accumulator, *QUICK, *more, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    grad = None if "--grad" in more else "fixed(8,3)"
    exact = stationary(target, 0.05, weight, accumulator, 0.5, grad, 0.5).std
    assert f"exact {exact:.4f}, target {target.std:.4f}" in said and f"histogram: {out}" in said
    std, error = map(float, re.search(r"deviation: ([\d.]+) ± ([\d.]+) \(50 states of 400 chains", said).groups())
    assert abs(std - exact) < 4 * error and 0 < error < 0.05 * exact  # four seeds: 1 of 4,000 would fail
    with Image.open(out) as picture:
        assert picture.size == (1920, 1080)


@pytest.mark.parametrize("kind", ["svg", "PDF"])
def test_the_histogram_may_be_of_another_kind(tmp_path, kind):
    out = tmp_path / f"law.{kind}"
    assert main(["gaussian", *QUICK, "--relaxation-times", "0.5", "--out", str(out)]) == 0
    assert out.read_bytes().startswith({"svg": b"<?xml", "PDF": b"%PDF"}[kind])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--alpha", "nan"], "alpha is nan"),
        (["--std", "0"], "std=0.0"),
        (["--chains", "1"], "at least 2"),
        (["--relaxation-times", "-1"], "--relaxation-times is -1.0"),
        (["--seed", "-1"], "from 0 to"),
        (["--weight", "fixed(8,)"], "fixed(8,)"),
        (["--weight", "block(8,0)"], "clamped fixed-point"),
        (["--grad", "e4m3"], "gradient format is e4m3"),
        (["--accumulator", "naive", "--weight", "full"], "weight format is full"),
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--out", "law.gif"], "choose from png, svg, pdf"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert main(["gaussian", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("lpsgld: ") and says in said.err and said.err.count("\n") == 1
    assert said.out == "" and not list(tmp_path.iterdir())
