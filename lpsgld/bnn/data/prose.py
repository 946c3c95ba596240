"""A text that is always there, for the task of the next character: the prose of this very course.

`prose.txt` holds what the notebooks say in words (CC BY 4.0, as they are), without formulas, tables and code, frozen
so that a run on it stays the same run. It is cut into stretches of 16 windows of 64 characters; every eighth stretch
is for testing. At each place of a window, the label is the character that follows.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lpsgld.bnn.data.arrays import Tensors

WINDOW = 64  # characters
_STRETCH = 16  # windows
_EVERY = 8  # stretches


def load() -> Tensors:
    """The windows, int64 [N, 64], and what follows at each place of them, int64 [N, 64]; characters from 0."""
    text = Path(__file__).with_name("prose.txt").read_text("utf-8")
    characters = tuple(sorted(set(text)))
    numbers = {character: number for number, character in enumerate(characters)}
    code = torch.tensor([numbers[character] for character in text])
    count = (len(code) - 1) // WINDOW
    inputs, labels = (code[shift : shift + count * WINDOW].view(count, WINDOW) for shift in (0, 1))
    testing = torch.arange(count) // _STRETCH % _EVERY == _EVERY - 1
    parts = inputs[~testing], labels[~testing], inputs[testing], labels[testing]
    return Tensors("prose", *parts, characters, characters, "character")
