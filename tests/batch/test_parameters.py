"""The parameters cell is read without running it, and values are checked against it."""

import pytest

from lpsgld.batch.errors import BatchError
from lpsgld.batch.parameters import Parameter, accepts, parse


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
    ],
)
def test_what_is_no_typed_literal_is_refused(line, message):
    with pytest.raises(BatchError, match=message):
        parse(line)


@pytest.mark.parametrize(
    ("annotation", "value", "accepted"),
    [
        ("int", 3, True),
        ("int", True, False),
        ("int", 3.0, False),
        ("float", 3, True),
        ("float", "1e-3", False),
        ("bool", True, True),
        ("bool", 0, False),
        ("str", "8", True),
        ("str", 8, False),
        ("str | None", None, True),
        ("str", None, False),
        ("list[float]", [1, 2.5], True),
        ("list[float]", [1, "2"], False),
        ("list[int] | None", None, True),
    ],
)
def test_values_are_checked_strictly(annotation, value, accepted):
    assert accepts(annotation, value) is accepted


def test_text_from_the_command_line_is_read_as_the_declared_type():
    def read(annotation, text):
        return Parameter("p", annotation, None, "").from_text(text)

    assert read("str", "12") == "12"
    assert read("int", "12") == 12
    assert read("float", "1e-3") == 1e-3
    assert read("bool", "false") is False
    assert read("bool", "True") is True
    assert read("str | None", "none") is None
    assert read("list[int]", "[1, 2]") == [1, 2]
    with pytest.raises(BatchError, match="parameter p is int, got str 'twelve'"):
        read("int", "twelve")
    with pytest.raises(BatchError, match="parameter p is bool, got int 1"):
        read("bool", "1")


def test_a_number_that_yaml_took_for_text_gets_a_hint():
    with pytest.raises(BatchError, match="YAML reads 1e-3 as text: write 0.001"):
        Parameter("lr", "float", 0.1, "").check("1e-3")
