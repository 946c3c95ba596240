import math

import numpy as np
import pytest
import torch

from lpsgld import lab
from lpsgld.lab import session

NAN = math.nan


def test_a_claim_that_holds_prints_one_line(capsys):
    lab.claim("VC keeps the variance", 1.0005, expected=1, tolerance=0.01)
    lab.claim("Drawn at random", 1.004, expected=1, error=0.001)
    lab.claim("The naive law is wider", torch.tensor(1.25), between=(1.2, 1.3))
    lab.claim("The order is right", holds=np.bool_(True))
    lab.claim("It has grown", 3, holds=True)
    assert capsys.readouterr().out.splitlines() == [
        "✓ VC keeps the variance: measured 1.0005, expected 1 ± 0.01",
        "✓ Drawn at random: measured 1.004, expected 1 ± 0.005, five standard errors",
        "✓ The naive law is wider: measured 1.25, expected from 1.2 to 1.3",
        "✓ The order is right",
        "✓ It has grown: measured 3",
    ]


@pytest.mark.parametrize(
    ("measured", "condition"),
    [
        (1.011, {"expected": 1.0, "tolerance": 0.01}),
        (1.006, {"expected": 1.0, "error": 0.001}),
        (1.0, {"expected": 1.0, "error": NAN}),
        (NAN, {"expected": 1.0, "tolerance": 0.01}),
        (NAN, {"expected": 1.0, "tolerance": math.inf}),
        (1.0, {"expected": NAN, "tolerance": 1.0}),
        (1.31, {"between": (1.2, 1.3)}),
        (NAN, {"between": (-math.inf, math.inf)}),
        (None, {"holds": False}),
        (None, {"holds": NAN}),
        (NAN, {"holds": True}),
    ],
)
def test_a_claim_that_does_not_hold_stops_with_the_numbers(capsys, measured, condition):
    with pytest.raises(lab.ClaimFailed, match="✗ It is so") as failure:
        lab.claim("It is so", measured, **condition)
    assert measured is None or f"measured {measured:.6g}" in str(failure.value)
    assert isinstance(failure.value, AssertionError)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        {"measured": 1.0},
        {"measured": 1.0, "expected": 1.0},
        {"measured": 1.0, "tolerance": 1.0},
        {"measured": 1.0, "expected": 1.0, "tolerance": 1.0, "between": (0, 1)},
        {"measured": 1.0, "holds": True, "tolerance": 1.0},
        {"measured": 1.0, "expected": 1.0, "tolerance": 1.0, "error": 1.0},
        {"measured": 1.0, "error": 1.0},
        {"measured": 1.0, "between": (0, 1), "error": 1.0},
        {"expected": 1.0, "tolerance": 1.0},
        {"between": (0, 1)},
        {},
    ],
)
def test_a_claim_of_no_form_is_a_mistake(arguments):
    with pytest.raises(TypeError, match=r"needs expected= with tolerance= or error=, or between=\(low, high\)"):
        lab.claim("It is so", **arguments)


LEFT, RIGHT = ('<td style="text-align: left">', '<td style="text-align: right">')


def test_the_summary_lists_what_held_once_each(shown, capsys):
    lab.start("05_demo", smoke=True)
    lab.summary()
    assert shown.pop()[0] == {"text/plain": "No claim has been checked yet."}
    lab.claim("The spread |θ|", 1.5, between=(1, 2))
    lab.claim("The spread |θ|", 1.6, between=(1, 2))
    lab.claim("Order", holds=True)
    with pytest.raises(lab.ClaimFailed):
        lab.claim("Never", holds=False)
    lab.summary()
    table = shown.pop()[0]
    assert table["text/html"].splitlines() == [
        "<details><summary>All 2 claims so far have held; what was measured</summary>",
        "<table>",
        f"<tr>{LEFT}claim</td>{RIGHT}measured</td>{LEFT}</td></tr>",
        f"<tr>{LEFT}The spread |θ|</td>{RIGHT}1.6</td>{LEFT}expected from 1 to 2</td></tr>",
        f"<tr>{LEFT}Order</td>{RIGHT}✓</td>{LEFT}</td></tr>",
        "</table></details>",
    ]
    assert table["text/plain"].startswith("✓ The spread |θ|: measured 1.6")


def test_start_forgets_the_claims_of_the_notebook_before(capsys):
    lab.start("05_demo", smoke=True)
    lab.claim("Order", holds=True)
    lab.start("05_demo", smoke=True)
    assert session.current().claims == {}


def test_summary_needs_a_start():
    with pytest.raises(RuntimeError, match=r"lab.summary needs to know the notebook: call lab.start\("):
        lab.summary()
