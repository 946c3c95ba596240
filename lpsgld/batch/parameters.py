"""The parameters of a notebook: typed literals with a comment each, in one cell.

    seed: int = 0  # root seed

Such a cell is read here without being executed, and values are checked against it.
"""

import ast
import io
import tokenize
from dataclasses import dataclass

from lpsgld.batch.errors import BatchError
from lpsgld.text import SCALARS, accepts, from_text, typed

TYPES = {f"{kind}{end}" for name in SCALARS for kind in (name, f"list[{name}]") for end in ("", " | None")}

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
        return typed(f"parameter {self.name}", self.type, value, BatchError, f"; its default is {self.default!r}")

    def from_text(self, text: str) -> Value:
        """Read `text`, typed on a command line, as this parameter's type, else raise BatchError."""
        return self.check(from_text(self.type, text))


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
    except (ValueError, TypeError) as error:  # TypeError: a list as a key
        raise BatchError(f"`{text}` in the parameters cell is computed: {form}") from error
    if not accepts(annotation, default):
        raise BatchError(f"`{text}`: {default!r} is not {annotation}")
    comment = comments.get(statement.end_lineno or 0) or comments.get(statement.lineno, "")
    return Parameter(statement.target.id, annotation, default, comment)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
