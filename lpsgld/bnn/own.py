"""What users bring along is a function with a name: "package.module:function" says where it is found again.

So a recipe stays data, also where it trains a network that is not ours. To follow a name runs the module's code.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Any

_PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


def is_name(text: str) -> bool:
    """Whether a text is written as such a name is."""
    return bool(re.fullmatch(f"{_PATH}:{_PATH}", text))


def find(what: str, name: str, error: type[Exception]) -> Callable[..., Any]:
    """The function of that name. Raises `error` where there is none; what its module raises comes through."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise
        raise error(
            f"{what} {name!r}: there is no module {missing.name!r} where Python looks for modules. Write "
            "package.module:function, and start where the module lies, or install it"
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise error(f"{what} {name!r}: there is no {part!r} in {module}. Write package.module:function")
        found = getattr(found, part)
    if not callable(found):
        raise error(f"{what} {name!r} is {type(found).__name__}, but must be a function")
    return found


def name_of(what: str, given: str | Callable[..., Any], error: type[Exception]) -> str:
    """The name by which `find` finds that function; a text is one already. Raises `error` if there is none."""
    if isinstance(given, str):
        return given
    name = f"{getattr(given, '__module__', '')}:{getattr(given, '__qualname__', '')}"
    if is_name(name) and find(what, name, error) is given:
        return name
    raise error(
        f"{what} is {str(given)[:80]!r}, which is not found again by a name: give a function (or a class) that stands "
        "at the top level of a module or a notebook"
    )


def called(what: str, name: str, error: type[Exception], given: Any) -> Any:
    """What the function of that name returns, called with `given` if it asks for an argument, else with nothing."""
    function = find(what, name, error)
    return function(given) if asks(function) else function()


def asks(function: Callable[..., Any]) -> bool:
    """Whether a function cannot be called without an argument."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some that are compiled do not tell
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters)
