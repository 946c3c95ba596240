"""The parameters cell is read without running it, and values are checked against it."""

import pytest

from lpsgld.batch.errors import BatchError
from lpsgld.batch.parameters import Parameter, parse


def test_a_cell_is_read_in_order_with_types_defaults_and_comments():
    cell = """\
seed: int = 0  # root seed
lr: float = 1e-3  # step size
formats: list[str] = [  # word lengths
    "fixed(8,3)",
]
cap: int | None = None
temperature: float = -1.5  # signed
"""
    assert list(parse(cell).values()) == [
        Parameter("seed", "int", 0, "root seed"),
        Parameter("lr", "float", 1e-3, "step size"),
        Parameter("formats", "list[str]", ["fixed(8,3)"], "word lengths"),
        Parameter("cap", "int | None", None, ""),
        Parameter("temperature", "float", -1.5, "signed"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed = 0", "not a typed literal"),
        ("seed: int", "not a typed literal"),
        ("print(1)", "not a typed literal"),
        ("seed: int = 1 + len('a')", "computed"),
        ("seed: int = None", "None is not int"),
        ("flag: bool = 1", "1 is not bool"),
        ("sizes: dict = {}", "type dict is not one of"),
        ("seed: int = 0\nseed: int = 1", "sets seed twice"),
        ("%matplotlib inline", "not plain Python"),
        ("sizes: list[int] = {[]: 1}", "is computed: write `name: type = literal"),
    ],
)
def test_what_is_no_typed_literal_is_refused(line, message):
    with pytest.raises(BatchError, match=message):
        parse(line)


def test_a_value_of_another_type_is_refused_with_the_default():
    with pytest.raises(BatchError, match="parameter p is 'twelve', but must be a whole number; its default is 3"):
        Parameter("p", "int", 3, "").from_text("twelve")
    with pytest.raises(BatchError, match="parameter p is 1, but must be True or False, or None; its default is None"):
        Parameter("p", "bool | None", None, "").check(1)
    assert Parameter("p", "list[int]", [], "").from_text("[1, 2]") == [1, 2]
