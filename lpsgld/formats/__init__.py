"""Number formats: which numbers can W bits hold? One module a family; how a number moves onto a grid is told outside.

A format is one frozen object that knows its grid, its name, its codes and its bits (`Format`); `None` is full
precision. Every module of this room is looked through for families when it is first imported, so that a new format is
one new file. Rounding lives in `rounding.py` and `variance.py`, files in `storage.py`.
"""

from importlib import import_module
from pkgutil import iter_modules

from lpsgld.formats.base import Format, FormatError, Grid, exponent
from lpsgld.formats.names import AnyFormat, grid, name, of_each, parse, whole_blocks_axis

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["AnyFormat", "Format", "FormatError", "Grid"]
__all__ += ["exponent", "grid", "name", "of_each", "parse", "whole_blocks_axis"]
