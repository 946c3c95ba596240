"""The parameters of a notebook: typed literals with a comment each, in one cell.

    seed: int = 0  # root seed

Such a cell is read here without being executed, and values are checked against it.
"""

import ast
import io
import tokenize
from dataclasses import dataclass

from lpsgld.batch.errors import BatchError

SCALARS = {"int": int, "float": float, "bool": bool, "str": str}
TYPES = {f"{kind}{end}" for name in SCALARS for kind in (name, f"list[{name}]") for end in ("", " | None")}
WORDS = {"true": "True", "false": "False", "none": "None", "null": "None"}

Value = int | float | bool | str | list | None


@dataclass(frozen=True)
class Parameter:
    """One typed literal of a parameters cell; `type` is the annotation as written, such as `list[int]`."""

    name: str
    type: str
    default: Value
    comment: str

    def check(self, value: Value) -> Value:
        """Return `value` if it has the declared type (an int passes for a float), else raise BatchError."""
        if accepts(self.type, value):
            return value
        hint = ""
        if self.type.startswith("float") and isinstance(value, str) and _is_number(value):
            hint = f" (YAML reads {value} as text: write {float(value)!r})"
        given = f"{type(value).__name__} {value!r}{hint}"
        raise BatchError(f"parameter {self.name} is {self.type}, got {given}; its default is {self.default!r}")

    def from_text(self, text: str) -> Value:
        """Read `text`, typed on a command line, as this parameter's type, else raise BatchError."""
        optional = self.type.endswith("| None") and text.lower() in ("none", "null")
        if self.type.startswith("str") and not optional:
            return text
        try:
            value = ast.literal_eval(WORDS.get(text.lower(), text))
        except (ValueError, SyntaxError):
            value = text
        return self.check(value)


def accepts(annotation: str, value: Value) -> bool:
    """Whether `value` has the type written as `annotation`, one of TYPES."""
    if annotation.endswith(" | None"):
        return value is None or accepts(annotation.removesuffix(" | None"), value)
    if annotation.startswith("list["):
        item_type = annotation.removeprefix("list[").removesuffix("]")
        return isinstance(value, list) and all(accepts(item_type, item) for item in value)
    # By type() and not isinstance(): a bool is an int in Python, but not in a profile.
    return type(value) is SCALARS[annotation] or (annotation == "float" and type(value) is int)


def parse(source: str) -> dict[str, Parameter]:
    """Read a parameters cell, in its order. Raises BatchError with the line that is not a typed literal."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise BatchError(f"the parameters cell is not plain Python: {error.msg}, line {error.lineno}") from error
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in statements:
        parameter = _parameter(statement, comments)
        if parameter.name in found:
            raise BatchError(f"the parameters cell sets {parameter.name} twice")
        found[parameter.name] = parameter
    return found


def _parameter(statement: ast.stmt, comments: dict[int, str]) -> Parameter:
    text = ast.unparse(statement).splitlines()[0]
    form = "write `name: type = literal  # comment`"
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
        raise BatchError(f"`{text}` in the parameters cell is not a typed literal: {form}")
    annotation = ast.unparse(statement.annotation)
    if annotation not in TYPES:
        allowed = f"{', '.join(SCALARS)}, list[...], ... | None"
        raise BatchError(f"`{text}`: type {annotation} is not one of {allowed}")
    try:
        default = ast.literal_eval(statement.value)
    except ValueError as error:
        raise BatchError(f"`{text}` in the parameters cell is computed: {form}") from error
    if not accepts(annotation, default):
        raise BatchError(f"`{text}`: {default!r} is not {annotation}")
    comment = comments.get(statement.end_lineno or 0) or comments.get(statement.lineno, "")
    return Parameter(statement.target.id, annotation, default, comment)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
