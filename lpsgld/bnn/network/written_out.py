"""What a part of a network becomes whose inside is to be rounded."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class WrittenOut:
    """A class that stands before that of a part, and computes what it does step by step.

    kinds: what is rounded, each by the Quantizer of that name in the part's `quantizers`. plain: the class of a part
    before.
    """

    kinds: ClassVar[tuple[str, ...]]
    plain: ClassVar[type[nn.Module]]
