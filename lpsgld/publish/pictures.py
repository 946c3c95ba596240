"""The figures that notebooks have saved, found by their identifier or by their pixels, in light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from lpsgld.batch.errors import BatchError
from lpsgld.lab.figures.saving import read_manifest
from lpsgld.text import one_of


class Picture(NamedTuple):
    """One drawing: its PNG for light pages, and the one for dark pages."""

    light: Path
    dark: Path


@dataclass(frozen=True)
class Figure:
    """A row of the manifest with its pictures: `frames` build it up step by step and end with the whole figure."""

    title: str
    caption: str
    alt: str
    frames: tuple[Picture, ...]

    @property
    def picture(self) -> Picture:
        return self.frames[-1]


class Gallery:
    """The figures of some folders with a manifest; of two with one identifier, that of the later folder."""

    def __init__(self, *folders: Path) -> None:
        self.figures: dict[str, Figure] = {}
        for folder in folders:
            for identifier, row in read_manifest(folder, "title", "caption", "alt").items():
                names = row.get("frames") or [f"{identifier}.png"]
                frames = tuple(_picture(folder / name) for name in names)
                self.figures[identifier] = Figure(row["title"], row["caption"], row["alt"], frames)

    def named(self, identifier: str) -> Figure:
        """The figure with this identifier; BatchError with the nearest one if there is none."""
        return self.figures[one_of("figure", identifier, self.figures, BatchError)]

    def showing(self, png: bytes) -> Figure | None:
        """The figure whose light picture has exactly these bytes, or None: a slider's picture, for example."""
        return self._by_digest.get(sha256(png).digest())

    @cached_property
    def _by_digest(self) -> dict[bytes, Figure]:
        return {sha256(figure.picture.light.read_bytes()).digest(): figure for figure in self.figures.values()}


def packed(png: bytes, cut: float = 0) -> bytes:
    """The same pixels as lossless WebP, which browsers show as they show PNG: for the figures, 37 % of the bytes.

    cut: the share of the height that is left out, from the top. Raises BatchError for what is not a picture.
    """
    buffer = BytesIO()
    try:
        with Image.open(BytesIO(png)) as picture:
            width, height = picture.size
            picture.crop((0, round(cut * height), width, height)).save(buffer, "WEBP", lossless=True)
    except OSError as error:
        raise BatchError(f"not a picture: {error}") from error
    return buffer.getvalue()


def _picture(light: Path) -> Picture:
    picture = Picture(light, light.with_stem(f"{light.stem}-dark"))
    for path in picture:
        if not path.is_file():
            raise BatchError(f"{path} is missing, though manifest.json beside it names it: run its notebook again")
    return picture
