"""The deck: slides written in Markdown, with figures by their identifiers, as one HTML file that needs nothing else.

In the source, a line `---` ends a slide, and what follows a line `Note:` is for the speaker:

    # One message, as a sentence
    ![](05-figure-1)
    Note:
    What to say.

A figure brings its caption and its alternative text from the manifest, and its frames, if it has some, which the deck
shows one after the other; `![](05-figure-1 "whole")` shows the last one only. A comment before the first slide is
left out. A slide has its own title: that of the figure is cut off.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from markupsafe import Markup
from PIL import Image

from lpsgld.batch.errors import BatchError, about
from lpsgld.files import write_atomically
from lpsgld.publish import prose
from lpsgld.publish.page import ASSETS, render
from lpsgld.publish.pictures import Gallery, packed
from lpsgld.publish.players import Moving

TITLE = 0.075  # the share of a figure's height, from the top, in which its title is and nothing else (style.new_figure)


@dataclass(frozen=True)
class Slide:
    """One slide: its title and body as HTML, the speaker's notes, what it mainly shows, for the style sheet, and the
    minutes that the notes give it: *(2 minutes)*, or none."""

    title: Markup
    body: Markup
    notes: Markup
    kind: str
    minutes: float


def build_deck(source: Path, figures: Path, out: Path, moving: Moving | None = None) -> Path:
    """Make the deck of the Markdown file `source`, with the figures of the folder `figures`; the file is returned.

    moving: the figures that move, each with its view, and the recordings, to which those that lack are added; without
    it, all stand still.

    Raises BatchError, naming the slide, for an unknown figure, a formula that is not TeX, a slide without a title or
    notes, or one with two figures; FileError if the file cannot be written.
    """
    try:
        texts = split(source.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise BatchError(
            f"there are no slides at {source}: name their Markdown file, in UTF-8, with --source"
        ) from error
    if not texts:
        raise BatchError(f"{source} holds no slide: begin with `# One message, as a sentence`")
    gallery = Gallery(figures)
    shown = set(re.findall(r"^!\[[^]]*\]\(([^ )]+)", "\n".join(texts), flags=re.M))
    moving = moving or Moving({})
    moving.record(shown)
    slides = [_slide(number, text, gallery, moving) for number, text in enumerate(texts, start=1)]
    parts = {
        kind: Markup("\n").join(Markup((ASSETS / f"{name}.{kind}").read_text("utf-8")) for name in ("player", "deck"))
        for kind in ("css", "js")
    }
    write_atomically(out, render("deck.html.j2", slides=slides, **parts))
    return out


def split(text: str) -> list[str]:
    """The slides of a Markdown file, each with its notes."""
    text = re.sub(r"\A\s*<!--.*?-->", "", text, flags=re.S)
    return [part.strip() for part in re.split(r"^---[ \t]*$", text, flags=re.M) if part.strip()]


def _slide(number: int, text: str, gallery: Gallery, moving: Moving) -> Slide:
    with about(f"slide {number} ({text.splitlines()[0].lstrip('# ')})"):
        shown, *spoken = re.split(r"^Note:[ \t]*$", text, maxsplit=1, flags=re.M)
        body, notes = prose.to_soup(shown), prose.to_soup("".join(spoken))
        heading = body.find(["h1", "h2"])
        if heading is None:
            raise BatchError("it has no title: begin it with `# One message, as a sentence`")
        if not notes.get_text().strip():
            raise BatchError("it has no notes: what is to be said follows a line `Note:`")
        heading.extract()
        images = body.find_all("img")
        if len(images) > 1:
            raise BatchError("it shows two figures: one message needs one; make two slides")
        for image in images:
            _place(image, gallery, moving)
    kind = "figure" if images else "opening" if number == 1 else "text"
    said = re.search(r"\(([\d.]+)\s+minutes?\)", notes.get_text())
    minutes = float(said[1]) if said else 0
    return Slide(Markup(heading.decode_contents()), Markup(str(body)), Markup(str(notes)), kind, minutes)


def _place(image: Tag, gallery: Gallery, moving: Moving) -> None:
    """Put the figure that `image` names in its place, frame by frame, with its caption; the last frame may move."""
    identifier = str(image.get("src", ""))
    figure = gallery.named(identifier)
    frames = figure.frames if image.get("title") != "whole" else figure.frames[-1:]
    alts = [f"{figure.title}, step {step} of {len(frames)}" for step in range(1, len(frames))] + [figure.alt]
    cut = _title(figure.picture.light)
    shown = Markup().join(
        Markup('<div class="frame" style="--crop: {}">{}{}</div>').format(
            cut, _image(light, alt, "light", cut), _image(dark, alt, "dark", cut)
        )
        for (light, dark), alt in zip(frames, alts, strict=True)
    )
    html = Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(shown, figure.caption)
    soup = BeautifulSoup(html, "html.parser")
    moving.mount(soup.find_all("div", class_="frame")[-1], identifier)
    (image.find_parent("p") or image).replace_with(soup)


def _title(path: Path) -> float:
    """The share of a picture's height that its title takes: TITLE, or 0 if something crosses that line."""
    with Image.open(path) as picture:
        width, height = picture.size
        edge = round(TITLE * height)
        strip = picture.convert("RGB").crop((0, edge - 1, width, edge + 1))
    return TITLE if strip.getcolors(maxcolors=1) else 0


def _image(path: Path, alt: str, theme: str, cut: float) -> Markup:
    data = b64encode(packed(path.read_bytes(), cut)).decode("ascii")
    return Markup('<img class="{}" alt="{}" src="data:image/webp;base64,{}">').format(theme, alt, data)
