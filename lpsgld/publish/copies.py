"""The HTML copies that a run leaves of its notebooks: views that are recorded move in them, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bs4 import BeautifulSoup

from lpsgld.batch import notebook
from lpsgld.batch.execution import Result
from lpsgld.files import write_atomically
from lpsgld.publish import players
from lpsgld.publish.page import ASSETS
from lpsgld.publish.recordings import Recordings

# As wide as the stills, which are hidden once the player is there, with the line below each that says what it shows.
_LOOK = """
.jp-OutputArea > .player { max-width: 60rem; margin-left: var(--jp-cell-prompt-width); }
.jp-OutputArea > .player { font: .95rem/1.5 system-ui, sans-serif; }
.player.live ~ .jp-OutputArea-child:has(img),
.player.live ~ .jp-OutputArea-child:has(img) + .jp-OutputArea-child:has(p > em:only-child) { display: none; }
"""
_OUTPUTS = '<div class="jp-OutputArea jp-Cell-outputArea">'  # as nbconvert's page has them


def move_copies(results: Sequence[Result], recordings: Recordings) -> None:
    """Let the views move in the HTML copies of the notebooks that passed, as far as they are recorded."""
    for result in results:
        if result.status == "passed" and result.html and result.executed:
            move(result.html, result.executed, recordings)


def move(page: Path, executed: Path, recordings: Recordings) -> None:
    """Let the views move in the HTML copy of an executed notebook, as far as they are recorded."""
    content, html = notebook.load(executed), page.read_text(encoding="utf-8")
    before = html
    for number, packed in players.packed(content, recordings).items():
        html = _insert(html, content.cells[number].id, _player(packed))
    if html != before:
        css = (ASSETS / "player.css").read_text("utf-8") + _LOOK
        script = (ASSETS / "player.js").read_text("utf-8")
        write_atomically(page, html.replace("</head>", f"<style>{css}</style><script>{script}</script></head>", 1))


def _player(packed: bytes) -> str:
    place = BeautifulSoup("<div></div>", "html.parser").div
    players.mount(place, packed)
    return str(place)


def _insert(html: str, cell: str, player: str) -> str:
    """The page with the player before the outputs of that cell, as their brother."""
    _, found, after = html.partition(f'id="cell-id={cell}"')
    place = html.find(_OUTPUTS, len(html) - len(after)) if found else -1
    if place < 0:
        return html
    place += len(_OUTPUTS)
    return html[:place] + player + html[place:]
