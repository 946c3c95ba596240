import numpy as np
import pytest
import torch

from lpsgld import lab
from lpsgld.lab.exercises import _quiz

WIDGET = "application/vnd.jupyter.widget-view+json"
QUESTION = ("What happens to the spread?", ["It shrinks", "It <grows>"], "It <grows>")


def test_static_lists_the_options_and_folds_the_answer(shown):
    lab.predict(*QUESTION, why="Rounding adds variance.", live=False)
    ((data, _),) = shown
    assert WIDGET not in data
    assert "<li>It shrinks</li><li>It &lt;grows&gt;</li>" in data["text/html"]
    hidden = data["text/html"].split("<details>")[1]
    assert "It &lt;grows&gt;. Rounding adds variance." in hidden
    assert data["text/plain"].splitlines() == ["What happens to the spread?", "- It shrinks", "- It <grows>"]


def test_live_is_one_bundle_with_the_static_form_for_readers_without_widgets(shown):
    lab.predict(*QUESTION)
    ((data, _),) = shown
    assert {WIDGET, "text/html", "text/plain"} == set(data)
    assert data["text/plain"].startswith("What happens")


def test_the_session_says_whether_it_is_live(shown):
    lab.start("05_demo", live=False, smoke=True)
    lab.predict(*QUESTION)
    assert WIDGET not in shown[0][0]


def test_nothing_is_told_before_there_is_a_guess():
    _, choice, feedback = _quiz(*QUESTION, why="Because.").children
    assert choice.value is None and feedback.value == ""
    choice.value = "It shrinks"
    assert "You guessed: It shrinks. It &lt;grows&gt;. Because." in feedback.value
    choice.value = "It <grows>"
    assert "Your guess was right. It &lt;grows&gt;. Because." in feedback.value
    assert feedback.value.index("<details>") < feedback.value.index("Because.")


@pytest.mark.parametrize("options", [["It grows"], ["It grows", "It grows"], ["It shrinks", "It stays"]])
def test_the_answer_must_be_one_of_several_options(options):
    with pytest.raises(ValueError, match="must be one of two or more different options"):
        lab.predict("Well?", options, "It grows")


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance"),
    [
        (0.126, 0.125, 0.01),
        (3, 3, 0),
        (torch.tensor(1.0), 1.0, 0),
        ([1, 2], np.array([1.0, 2.1]), 0.2),
        ("naive", "naive", 0),
        (True, True, 0),
    ],
)
def test_a_right_answer(capsys, answer, expected, tolerance):
    lab.check_answer("Gap", answer, expected, tolerance, hint="2^-F")
    assert capsys.readouterr().out == "✓ Gap: right.\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(0.2, 0.125), (float("nan"), 0.125), ("an eighth", 0.125), ([0.125], 0.125), (1, True), ("vc", "naive"),
     (torch.tensor(0.2, requires_grad=True), 0.125), (object(), 0.125)],
)  # fmt: skip
def test_a_wrong_answer_gets_the_hint_and_stops_nothing(capsys, answer, expected):
    lab.check_answer("Gap", answer, expected, 0.01, hint="It is 2^-F.")
    assert capsys.readouterr().out == "✗ Gap: not yet. It is 2^-F.\n"


def test_no_answer_yet(capsys):
    lab.check_answer("Gap", None, 0.125)
    assert capsys.readouterr().out.startswith("○ Gap: not answered yet.")
