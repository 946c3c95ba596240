"""The floor plan holds: no arrow upwards, no circle, no crowded room, and each room says what lives there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lpsgld

PACKAGE = Path(lpsgld.__file__).parent

# A module imports only from its own room, or from one named before it. "lpsgld" is the package's own file,
# which gathers the public names; what comes before it does without.
ORDER = """
    text files kernels loops metrics
    formats rounding variance samplers storage diagnostics toy
    bnn.devices bnn.own bnn.data bnn.network bnn.training bnn.judging bnn.costs bnn.studies bnn.cli
    lpsgld
    lab batch publish
    __main__
""".split()


def name_of(path: Path) -> str:
    """A module's name below `lpsgld`; that of a package is the folder's, that of the root "lpsgld"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "lpsgld"


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = [path.parent for path in MODULES.values() if path.name == "__init__.py"]


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of ours that a source imports, wherever in it that stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import relative to its module: write it out"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name.removeprefix("lpsgld.") in MODULES else str(node.module) for name in found]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("lpsgld.") for name in found if name.split(".")[0] == "lpsgld")


IMPORTS = {name: set(imported(ast.parse(path.read_text("utf-8")))) for name, path in MODULES.items()}


def floor(name: str) -> int:
    """The place in ORDER of a module's room."""
    return next(ORDER.index(room) for room in ORDER if name == room or name.startswith(f"{room}."))


def test_imports_are_seen_wherever_they_stand():
    source = "def f():\n  from lpsgld.bnn import cli\nif TYPE_CHECKING:\n  import lpsgld.toy.exact.chain\n"
    source += "import torch\nfrom lpsgld import SGLD\nfrom lpsgld.storage import pack, unpack\n"
    assert set(imported(ast.parse(source))) == {"bnn.cli", "toy.exact.chain", "lpsgld", "storage"}
    assert sum(map(len, IMPORTS.values())) > 200


@pytest.mark.parametrize("name", [name for name in MODULES if name != "bnn"])
def test_no_arrow_points_upwards(name):
    upwards = {other for other in IMPORTS[name] if floor(other) > floor(name)}
    assert not upwards, f"lpsgld.{name} imports {upwards}, which come after it in ORDER"


def test_no_circle():
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_no_room_is_crowded_and_each_says_what_lives_there(room):
    modules = [path.name for path in room.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 10, f"{len(modules)} modules in one room: {sorted(modules)}"
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8")))
