"""Which files of a folder or an archive belong to a data set: train/<class>/<file> and test/<class>/<file>."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lpsgld.bnn.data import trees
from lpsgld.bnn.data.arrays import DatasetError
from lpsgld.bnn.data.trees import File, printable

SPLITS = ("train", "test")

_HIDDEN = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")  # and what begins with a dot

Place = tuple[str, str, str]  # split, class, file name
Found = tuple[dict[Place, File], dict[str, int]]  # what is used, and how many files of each kind are not


class Kind(NamedTuple):
    """What is looked for. suffixes: of its files. others: whether such files may lie beside the classes, too, and are
    not used then. unlabelled: folders beside those of the classes, which are not used."""

    noun: str
    suffixes: tuple[str, ...]
    others: bool = False
    unlabelled: tuple[str, ...] = ()

    @property
    def layout(self) -> str:
        return f"expected are {self.noun}s in train/<class>/ and test/<class>/, the same classes in both"


def existing(path: Path, kind: Kind) -> Path:
    """The whole path of a folder or an archive. Raises DatasetError if there is none, or if it has no name in UTF-8."""
    path = path.absolute()
    if printable(str(path)) != str(path):
        raise DatasetError(f"{printable(str(path))} is no UTF-8, as the name of a dataset must be. Rename it")
    if not (os.path.isdir(path) or os.path.isfile(path)):
        raise DatasetError(f"{path}: there is no such folder or archive; {kind.layout}")
    return path


def found(path: Path, kind: Kind) -> Found:
    """What there is. Raises DatasetError where it is doubtful whether or how a file should be used."""
    files, unused = [], Counter()
    for file in trees.walk(path):
        suffix = os.path.splitext(file.parts[-1])[1].lower()
        if any(name.startswith(".") or name in _HIDDEN for name in file.parts):
            unused["hidden"] += 1
        elif file.obstacle or suffix in kind.suffixes:
            files.append(file)
        else:
            unused[printable(suffix) or "without suffix"] += 1
    top = _top(path, files, kind)
    used, misplaced = {}, []
    for file in files:
        place = file.parts[len(top) :]
        if file.parts[: len(top)] != top or place[0] not in SPLITS:
            unused["outside train/ and test/"] += 1
        elif file.obstacle:
            raise DatasetError(f"{path}: {file} {file.obstacle}. Remove or replace it")
        elif len(place) == 3 and place[1] in kind.unlabelled:
            unused["without a label"] += 1
        elif len(place) != 3 and kind.others:
            unused["outside the classes"] += 1
        elif len(place) != 3:
            misplaced.append(file)
        elif place in used:
            raise DatasetError(f"{path} holds {file} twice. Keep one of them")
        else:
            used[place] = file
    _require_classes(path, used, kind)
    if misplaced:
        others = f", nor do {len(misplaced) - 1} more {kind.noun}s" if len(misplaced) > 1 else ""
        where = " or ".join(f"{split}/<class>/" for split in SPLITS)
        raise DatasetError(f"{path}: {misplaced[0]} does not lie directly in {where}{others}. Move or remove them")
    return used, dict(sorted(unused.items()))


def _top(path: Path, files: list[File], kind: Kind) -> tuple[str, ...]:
    """The folder that train/ and test/ lie in: none, or the only one."""
    if {file.parts[0] for file in files if len(file.parts) == 3}.issuperset(SPLITS):
        return ()
    tops = sorted({file.parts[0] for file in files if len(file.parts) == 4 and file.parts[1] in SPLITS})
    if len(tops) > 1:
        names = ", ".join(map(printable, tops))
        raise DatasetError(f"{path} holds several trees of {kind.noun}s: {names}. Keep one of them")
    return tuple(tops)


def _require_classes(path: Path, used: Mapping[Place, File], kind: Kind) -> None:
    names = {split: {name for of, name, _ in used if of == split} for split in SPLITS}
    for split in SPLITS:
        if not names[split]:
            suffixes = ", ".join(kind.suffixes)
            raise DatasetError(f"{path} has no {kind.noun}s in {split}/<class>/; {kind.layout} ({suffixes})")
    if names["train"] != names["test"]:
        only = [sorted(map(printable, names[split] - names[other])) for split, other in (SPLITS, SPLITS[::-1])]
        train, test = (", ".join(alone) or "none" for alone in only)
        raise DatasetError(f"{path}: classes only in train: {train}; only in test: {test}; {kind.layout}")
    for name in map(printable, names["train"] - set(map(printable, names["train"]))):
        raise DatasetError(f"{path}: the name of the class {name} is no UTF-8. Rename its folders")
