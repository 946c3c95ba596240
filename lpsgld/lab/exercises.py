"""Questions to the learner: a guess before the picture moves, and exercises whose answers are checked."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np

from lpsgld.lab import output, session


def predict(question: str, options: Sequence[str], answer: str, *, why: str = "", live: bool | None = None) -> None:
    """Ask for a guess; the answer, and why, opens on request: live, once there is a guess.

    live: by default what the notebook's `start` was told, else True. Raises ValueError if the answer is not an
    option, or if there are not two different options.
    """
    if len(set(options)) != len(options) or len(options) < 2 or answer not in options:
        raise ValueError(f"the answer {answer!r} must be one of two or more different options: {list(options)}")
    items = "".join(f"<li>{html.escape(option)}</li>" for option in options)
    static = f"<p><b>{html.escape(question)}</b></p><ul>{items}</ul>{_answer('', answer, why)}"
    data = {"text/html": static, "text/plain": "\n".join([question, *(f"- {option}" for option in options)])}
    if session.current().live if live is None else live:
        quiz = _quiz(question, options, answer, why)
        output.show_widget(quiz, quiz._repr_mimebundle_() | data)
    else:
        output.show(data)


def check_answer(name: str, answer: Any, expected: Any, tolerance: float = 0.0, hint: str = "") -> None:
    """Print whether an exercise's answer is right: a number or an array within the tolerance, or else equal.

    None is "not answered yet"; a wrong answer shows the hint. Neither stops the notebook.
    """
    if answer is None:
        print(f"○ {name}: not answered yet. Replace None by your answer and run this cell again.")
    elif _right(answer, expected, tolerance):
        print(f"✓ {name}: right.")
    else:
        print(f"✗ {name}: not yet. {hint}".rstrip())


def _quiz(question: str, options: Sequence[str], answer: str, why: str) -> widgets.VBox:
    choice = widgets.RadioButtons(options=list(options), value=None, layout=widgets.Layout(width="100%"))
    feedback = widgets.HTML()

    def answered(change: Any) -> None:
        guess = change["new"]
        verdict = "Your guess was right. " if guess == answer else f"You guessed: {guess}. "
        noted = "<p>Your guess is noted. See for yourself below, then open the answer.</p>"
        feedback.value = f'<div role="status" aria-live="polite">{noted}{_answer(verdict, answer, why)}</div>'

    choice.observe(answered, names="value")
    return widgets.VBox([widgets.HTML(f"<b>{html.escape(question)}</b>"), choice, feedback])


def _answer(verdict: str, answer: str, why: str) -> str:
    text = html.escape(f"{verdict}{answer.rstrip('.')}. {why}".strip())
    return f"<details><summary>Answer</summary><p>{text}</p></details>"


def _right(answer: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, (str, bool)):
        return type(answer) is type(expected) and answer == expected
    try:
        given, wanted = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError, RuntimeError):  # torch refuses tensors that need a gradient
        return False
    return given.shape == wanted.shape and bool(np.all(np.abs(given - wanted) <= tolerance))
