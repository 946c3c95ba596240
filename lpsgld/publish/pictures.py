"""The figures that notebooks have saved, found by their identifier or by their pixels, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from lpsgld.batch.errors import BatchError
from lpsgld.lab.figures.saving import read_manifest
from lpsgld.text import one_of


class Picture(NamedTuple):
    """One drawing: its PNG for light pages, and the one for dark pages if there is one."""

    light: Path
    dark: Path | None


@dataclass(frozen=True)
class Figure:
    """A row of the manifest with its pictures; `frames` build it up step by step and end with `picture`."""

    identifier: str
    title: str
    caption: str
    alt: str
    picture: Picture
    frames: tuple[Picture, ...]


class Gallery:
    """The figures of some folders with a manifest; of two with one identifier, that of the later folder."""

    def __init__(self, *folders: Path) -> None:
        self._figures: dict[str, Figure] = {}
        for folder in folders:
            try:
                rows = read_manifest(folder)
            except ValueError as error:
                raise BatchError(str(error)) from error
            for identifier, row in rows.items():
                self._figures[identifier] = _figure(folder, identifier, row)

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def named(self, identifier: str) -> Figure:
        """The figure with this identifier; BatchError with the nearest one if there is none."""
        return self._figures[one_of("figure", identifier, self._figures, BatchError)]

    def showing(self, png: bytes) -> Figure | None:
        """The figure whose light picture has exactly these bytes, or None: a slider's picture, for example."""
        return self._by_digest.get(sha256(png).digest())

    @cached_property
    def _by_digest(self) -> dict[bytes, Figure]:
        return {sha256(figure.picture.light.read_bytes()).digest(): figure for figure in self}


def _figure(folder: Path, identifier: str, row: dict) -> Figure:
    picture = _picture(folder, identifier)
    frames = tuple(_picture(folder, name.removesuffix(".png")) for name in row.get("frames", ()))
    if frames and frames[-1] != picture:
        frames = (*frames, picture)
    return Figure(identifier, row["title"], row["caption"], row["alt"], picture, frames or (picture,))


def _picture(folder: Path, name: str) -> Picture:
    light, dark = folder / f"{name}.png", folder / f"{name}-dark.png"
    if not light.is_file():
        raise BatchError(f"{light} is missing, though {folder / 'manifest.json'} names it: run its notebook again")
    return Picture(light, dark if dark.is_file() else None)
