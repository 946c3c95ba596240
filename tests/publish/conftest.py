"""The made-up notebooks of the batch runner's tests serve here, too."""

from tests.batch.conftest import folder

__all__ = ["folder"]
