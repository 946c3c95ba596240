"""Names and values as people type them, tables as they read them."""

from dataclasses import dataclass

import numpy as np
import pytest

from lpsgld.text import accepts, check_fields, columns, from_text, markdown, one_of, parse_json, typed

# ---- names ---------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_allowed_gets_the_list_and_the_nearest():
    assert one_of("field", "lr", ["lr", "width"]) == "lr"
    with pytest.raises(ArithmeticError, match='no field .with.: choose from lr, width or more. Did you mean "width"'):
        one_of("field", "with", ["lr", "width"], ArithmeticError, " or more")
    with pytest.raises(ValueError, match="choose from lr, width$"):
        one_of("field", "seed", ["lr", "width"])
    with pytest.raises(ValueError, match="there is no figure '01-law': there are none$"):
        one_of("figure", "01-law", [])


# ---- values --------------------------------------------------------------------------------------------------------


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
        ("tuple[int, ...]", [1, 2], True),
        ("tuple[int, ...]", (1, "2"), False),
    ],
)
def test_values_are_checked_strictly(annotation, value, accepted):
    assert accepts(annotation, value) is accepted


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        ("str", "12", "12"),
        ("int", "12", 12),
        ("float", "1e-3", 1e-3),
        ("bool", "false", False),
        ("bool", "True", True),
        ("str | None", "none", None),
        ("str | None", "12", "12"),
        ("list[int]", "[1, 2]", [1, 2]),
        ("int", "twelve", "twelve"),
    ],
)
def test_text_is_read_as_the_type_that_is_wanted(annotation, text, value):
    read = from_text(annotation, text)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        ("float", "1e-3", r"lr is '1e-3', but must be a number \(this is text, for YAML too: write 0.001\), or so"),
        ("int", 2.5, "lr is 2.5, but must be a whole number, or so"),
        ("list[str]", "a", "lr is 'a', but must be a list, each element of it text, or so"),
        ("bool | None", 1, "lr is 1, but must be True or False, or None, or so"),
    ],
)
def test_a_value_of_another_type_is_refused(annotation, value, message):
    with pytest.raises(ArithmeticError, match=message):
        typed("lr", annotation, value, ArithmeticError, ", or so")


def test_the_fields_of_a_record_take_their_types():
    @dataclass(frozen=True)
    class Record:
        lr: "float"
        bits: "tuple[int, ...]"

        def __post_init__(self):
            check_fields(self, ArithmeticError)

    record = Record(1, [2, 3])
    assert record == Record(1.0, (2, 3)) and type(record.lr) is float
    with pytest.raises(ArithmeticError, match="bits is 3, but must be a list"):
        Record(1, 3)


# ---- tables --------------------------------------------------------------------------------------------------------


def test_columns_are_aligned_and_numbers_to_the_right():
    rows = [("a", "1.5"), ("long", "12")]
    assert columns(rows, right_from=1) == ["a     1.5", "long   12"]
    assert columns(rows, ("name", "x")) == ["name  x", "----  ---", "a     1.5", "long  12"]
    assert columns([]) == []


def test_a_markdown_table_keeps_a_bar_within_its_cell():
    table = markdown([("|θ|", "2")], ("what", "n"), right_from=1)
    assert table == "| what | n |\n|---|--:|\n| &#124;θ&#124; | 2 |"


def test_json_is_read_in_every_encoding_of_unicode():
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json('{"Δ": [1, null]}'.encode(encoding)) == {"Δ": [1, None]}
    assert parse_json("\ufeff[]") == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"lr": 1, "seed": 2, "lr": 3}', "'lr' is given twice"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe\x00", "codec can't decode"),
        ("{", "Expecting property name"),
        ("9" * 5000, "4300 digits"),
    ],
)
def test_what_is_no_json_is_a_value_error(given, said):
    with pytest.raises(ValueError, match=said):
        parse_json(given)


def test_numbers_of_numpy_become_pythons():
    for annotation, given in [("int", np.int32(3)), ("float", np.float32(3)), ("tuple[int, ...]", (np.int64(3),))]:
        value = typed("x", annotation, given)
        (number,) = value if isinstance(value, tuple) else (value,)
        assert number == 3 and type(number) is (float if annotation == "float" else int)
    assert not accepts("int", np.bool_(True)) and not accepts("int", np.float64(3))


def test_a_value_that_is_too_large_is_told_in_one_short_line():
    with pytest.raises(ValueError, match="but no float is as large") as told:
        typed("lr", "float", 10**400)
    assert len(str(told.value)) < 250
    with pytest.raises(ValueError, match="300002 characters"):
        typed("lr", "float", "x" * 300_000)
