"""The page that shows all figures, `figures/README.md`: made from the rows of the manifest, in Markdown."""

from __future__ import annotations

import html
from typing import Any

from lpsgld.lab import style

_HEAD = """# Figures for slides

Written by the notebooks; do not edit this page. It shows the light figures, or the dark ones where the page is dark.
Each is a PNG of 1920 x 1080 pixels and an SVG for any size, light (`NAME.png`, `NAME.svg`) and dark (`NAME-dark.png`,
`NAME-dark.svg`); some also come in frames, to be shown one after the other, each adding one element.

**Licence:** [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). Use them freely, with a credit such as
"lpsgld, CC BY 4.0".

**To draw them again:** `lpsgld figures` for all, `lpsgld figures NAME` for one (and the others of its notebook).
`lpsgld figures --list` names them. The same seed gives the same pictures; `manifest.json` says with which versions.
"""


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The whole page; `rows` as `figures.read_manifest` returns them."""
    return "\n".join([_HEAD, *(_section(identifier, row) for identifier, row in rows.items())])


def _section(identifier: str, row: dict[str, Any]) -> str:
    links = [
        f"{theme} [PNG]({name}.png) [SVG]({name}.svg)"
        for theme, name in ((theme, identifier + ending) for theme, ending in style.ENDINGS.items())
    ]
    settings = [f"{name} = {value}" for name, value in row["parameters"].items()] + [f"seed = {row['seed']}"]
    paragraphs = [
        f"## {row['title']}",
        _picture(f"{identifier}.png", row["alt"], 960),
        row["caption"],
        *_frames(row.get("frames", [])),
        f"`{identifier}` · {' · '.join(links)}",
        f"From `{row['notebook']}`, {', '.join(settings)}. Again: `lpsgld figures {identifier}`",
        f"Alt text: {row['alt']}",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _frames(frames: list[str]) -> list[str]:
    """The frames in a row, the last of which is the figure itself; nothing if there are none."""
    alts = [f"Frame {number} of {len(frames)} of the figure above" for number in range(1, len(frames) + 1)]
    return ["\n".join(_picture(name, alt, 235) for name, alt in zip(frames, alts, strict=True))] if frames else []


def _picture(name: str, alt: str, width: int) -> str:
    """The light picture, which GitHub replaces by the dark one in dark mode, linked to the file."""
    dark = name.replace(".png", f"{style.ENDINGS['dark']}.png")
    return (
        f'<a href="{name}"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{name}" alt="{html.escape(alt, quote=True)}" width="{width}"></picture></a>'
    )
