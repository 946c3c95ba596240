"""Texts by class: train/<class>/<file>.txt and test/<class>/<file>.txt, in a folder or in an archive, as words.

Words are what `words` finds. The vocabulary are the most frequent words of the training texts; every other word is one
and the same, the unknown one. All texts get one length: of a longer one, its end is kept, where a review says what it
comes to; before a shorter one stands padding, so that the last word is a text's own.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lpsgld.bnn.data import splits, trees
from lpsgld.bnn.data.arrays import DatasetError, Tensors
from lpsgld.bnn.data.splits import SPLITS, Kind

LENGTH = 200  # words of a text
WORDS = 10_000  # of the vocabulary, at most
PADDING, UNKNOWN = "<padding>", "<unknown>"  # the first two of it, which no text can hold

_KIND = Kind("text", (".txt",), others=True, unlabelled=("unsup",))  # as the archive of film reviews has it
_BREAK = re.compile(r"<br\s*/?>")
_WORD = re.compile(r"\w+(?:'\w+)*|[!?]")


def load(path: Path) -> Tensors:
    """The texts of a folder, a .zip or a .tar archive (compressed or not): int64 [N, LENGTH], and their classes.

    How many files were used, and how many of which kind were not, is shown. Raises DatasetError with what was found,
    and for a text that is no UTF-8.
    """
    path = splits.existing(path, _KIND)
    used, unused = splits.found(path, _KIND)
    places = {file.parts: place for place, file in used.items()}
    files = (file for file in trees.walk(path) if file.parts in places)
    found, shared = {}, {}  # a word is one object, however often it stands there
    for file in tqdm(files, f"read {path.name}", len(places), unit="text", leave=False, delay=1):
        try:
            text = words(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{path}: {file} cannot be decoded as UTF-8 ({error.reason} at byte {error.start}). Save it in UTF-8, "
                "or remove it"
            ) from None
        found[places[file.parts]] = [shared.setdefault(word, word) for word in text]
    classes = tuple(sorted({name for _, name, _ in found}))
    vocabulary = most_frequent(text for (split, *_), text in found.items() if split == "train")
    parts = []
    for split in SPLITS:
        own = sorted(place for place in found if place[0] == split)
        parts.append(encoded([found[place] for place in own], vocabulary))
        parts.append(torch.tensor([classes.index(name) for _, name, _ in own]))
    data = Tensors(f"aclimdb:{path}", *parts, classes, vocabulary, "text")
    told = f"{len(parts[0])} training and {len(parts[2])} test texts in {len(classes)} classes"
    rest = ", ".join(f"{number} {kind}" for kind, number in unused.items()) or "none"
    tqdm.write(f"{data.name}: {told}, {len(vocabulary)} words; files not used: {rest}", file=sys.stderr)
    return data


def words(text: str) -> list[str]:
    """The words of a text in small letters, with apostrophes inside of them; ! and ? are words, other signs are not."""
    return _WORD.findall(_BREAK.sub(" ", text.lower()).replace("\u2019", "'"))


def most_frequent(texts: Iterable[list[str]], most: int = WORDS) -> tuple[str, ...]:
    """The vocabulary: padding, the unknown word, then the most frequent ones; equally frequent ones by the alphabet."""
    counts = Counter(word for text in texts for word in text)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return (PADDING, UNKNOWN, *ordered[: most - 2])


def encoded(texts: list[list[str]], vocabulary: tuple[str, ...], length: int = LENGTH) -> Tensor:
    """The words as numbers of the vocabulary, int64 [N, length]: the end of each text, with padding before it."""
    numbers = {word: number for number, word in enumerate(vocabulary)}
    rows = torch.full((len(texts), length), numbers[PADDING])
    for row, text in zip(rows, texts, strict=True):
        if kept := text[-length:]:
            row[-len(kept) :] = torch.tensor([numbers.get(word, numbers[UNKNOWN]) for word in kept])
    return rows
