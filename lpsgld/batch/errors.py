"""The one error of the batch runner, and how its messages name things."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class BatchError(ValueError):
    """A request that cannot be run as given; the message says what to mend. Raised before anything runs."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Begin the message of a BatchError raised inside with `subject`."""
    try:
        yield
    except BatchError as error:
        raise BatchError(f"{subject}: {error}") from error


def known_name(kind: str, name: str, names: Iterable[str]) -> str:
    """Return `name` if it is one of `names`, else raise BatchError with the nearest one and the whole list."""
    names = list(names)
    if name in names:
        return name
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise BatchError(f"unknown {kind} {name!r}{hint} (there is: {', '.join(names) or 'none'})")
