"""Claims that can fail: no interval of a claim is wider than the sentence that it supports.

How that is decided:

- *Numbers that are stated*, expected ± tolerance or between, leave at most a tenth of the middle on either side; around
  0, at most 0.01. What is exact is claimed exactly.
- *Numbers that are drawn*, claimed with `error=`, leave five standard errors, which are as wide as they are; but not so
  wide that the interval, at the sizes of a smoke run, holds half or one and a half times what is expected.
- *One side only* (larger, smaller, of this sign) is a comparison, `holds=a < b`, that shows what it measured.

Here the notebooks' sources are read; `test_notebooks.py` checks the same rule on what a smoke run has printed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
STATED, DRAWN, AROUND_ZERO = 0.1, 0.5, 0.01


def sharp(low: float, high: float, drawn: bool = False) -> bool:
    """Whether the interval obeys the rule above."""
    middle, half = (low + high) / 2, (high - low) / 2
    if abs(middle) <= 1e-12:
        return drawn or half <= AROUND_ZERO
    return half <= (DRAWN if drawn else STATED) * abs(middle) * (1 + 1e-9)


def vague(source: str) -> Iterator[str]:
    """The claims of a cell whose interval, as far as it is written in numbers, is too wide, and those of no content."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "lab.claim":
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            numbers = {name: value for name, node in given.items() if (value := number(node)) is not None}
            if {"expected", "tolerance"} <= numbers.keys():
                middle, half = numbers["expected"], numbers["tolerance"]
                bad = not sharp(middle - half, middle + half)
            elif "between" in numbers:
                bad = not sharp(*numbers["between"])
            else:
                bad = "holds" in given and not any(isinstance(node, CONTENT) for node in ast.walk(given["holds"]))
            if bad:
                yield ast.unparse(call)


CONTENT = (ast.Compare, ast.Call, ast.Name)


def number(node: ast.expr):
    """The value of an expression of literals such as -2.5, 1 / 6, (1, 2) or 2.0**-3; None of any other."""
    try:
        return eval(compile(ast.Expression(node), "claim", "eval"), {"__builtins__": {}})
    except NameError:
        return None


_PRINTED = re.compile(
    r"✓ (.*): measured \S+, expected (?:(\S+) ± ([^\s,]+)(, five standard errors)?|from (\S+) to (\S+))"
)


def printed(line: str) -> tuple[str, float, float, bool] | None:
    """Text, low, high and whether five standard errors, of a line that a claim has printed."""
    if not (found := _PRINTED.fullmatch(line)):
        return None
    text, middle, half, drawn, low, high = found.groups()
    if middle is None:
        return text, float(low), float(high), False
    return text, float(middle) - float(half), float(middle) + float(half), bool(drawn)


@pytest.mark.parametrize(
    "claim",
    [
        'lab.claim("the naive law is wider", ratio, between=(1.05, 6.0))',
        'lab.claim("a share", share, between=(0, 0.5))',
        'lab.claim("codes among the weights", codes, between=(2, 256))',
        'lab.claim("either sign", less, between=(-0.005, 0.03))',
        'lab.claim("about 1", ratio, expected=1.0, tolerance=0.2)',
        'lab.claim("nothing", ratio, expected=0, tolerance=0.5)',
        'lab.claim("so be it", holds=True)',
    ],
)
def test_a_vague_claim_is_found(claim):
    assert list(vague(claim)) == [ast.unparse(ast.parse(claim))]
    assert not list(vague('lab.claim("sharp", ratio, between=(2.2, 2.3)); lab.claim("larger", a - b, holds=a > b)'))


def test_a_printed_claim_is_read():
    assert printed("✓ so: measured 1.1, expected 1 ± 0.2, five standard errors") == ("so", 0.8, 1.2, True)
    assert printed("✓ x: y: measured 1.25, expected from 1.2 to 1.3") == ("x: y", 1.2, 1.3, False)
    assert printed("✓ it holds: measured 3") is None
    assert sharp(0.8, 1.2, True) and not sharp(0.8, 1.2) and not sharp(0.4, 1.6, True) and not sharp(-0.1, 0.1)


UNDER_WAY: set[str] = set()  # numbers of notebooks whose claims are being rewritten


@pytest.mark.parametrize("path", [path for path in PATHS if path.stem[:2] not in UNDER_WAY], ids=lambda path: path.stem)
def test_no_claim_is_wider_than_its_sentence(path):
    cells = nbformat.read(path, as_version=4).cells
    found = [text for cell in cells if cell.cell_type == "code" for text in vague(cell.source)]
    assert not found, "\n".join(found)
