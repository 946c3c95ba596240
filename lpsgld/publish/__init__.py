"""Executed notebooks and figures for readers without a kernel: a book of HTML pages, and a deck of slides.

`book` makes the book, of the pages that `page` and `reference` make; `deck` makes the slides; both take their pictures
from `pictures`, their sliders from `players`, for which `recordings` has all positions drawn, and their prose from
`prose`; `copies` makes the HTML copies of a run, each a page of the book in one file; `assets/` holds the templates,
style sheets and scripts. What is made is read offline, from a folder or a stick: no script, font or picture comes from
elsewhere.

Why not Jupyter Book (MyST)? It needs Node.js, downloads its theme, and draws formulas and widgets with scripts in the
reader's browser. nbconvert is here anyway, and with a template of our own gives a page of less than a hundred kilobytes
beside its pictures. Why not reveal.js for the slides? It would have to be copied from npm; what a talk needs of it
(keys, notes, frames, printing) fits into one script of ours, and the deck into one file.
"""

from lpsgld.publish.book import build_book, build_reference, obstacles
from lpsgld.publish.copies import Copies
from lpsgld.publish.deck import build_deck
from lpsgld.publish.players import Moving
from lpsgld.publish.recordings import Recordings

__all__ = [
    "Copies",
    "Moving",
    "Recordings",
    "build_book",
    "build_deck",
    "build_reference",
    "obstacles",
]
