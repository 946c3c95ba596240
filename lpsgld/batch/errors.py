"""The one error of the batch runner."""

from collections.abc import Iterator
from contextlib import contextmanager

from lpsgld.text import Mistake


class BatchError(Mistake, ValueError):
    """A request that cannot be run as given; the message says what to mend. Raised before anything runs."""


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Begin the message of a BatchError raised inside with `subject`."""
    try:
        yield
    except BatchError as error:
        raise BatchError(f"{subject}: {error}") from error
