"""A view that moves by itself, for pages that have neither Python nor sliders, such as a README: an animated GIF.

Of the formats that such pages show, measured on the story in 960 x 540 pixels, GIF is the smallest: 150 kB, against
220 kB as WebP with losses and 490 kB as PNG.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from lpsgld.lab import style
from lpsgld.lab.sliders.view import View

STEP, REST = 700, 1800  # milliseconds that a picture stays; the first one and the one at the turn


def film(view: View, theme: style.Theme) -> bytes:
    """The view's first control goes from its last value to its first one and back, without end, the others stay."""
    control = view.controls[0]
    pictures = []
    with style.use(theme):
        figure, artists = view.build(**view.parameters())
        for value in reversed(control.values):
            view.update(artists, **view.parameters(**{control.name: value}))
            pictures.append(Image.open(BytesIO(style.png(figure))).convert("RGB"))
    back = pictures[-2:0:-1]
    rests = [REST, *[STEP] * (len(pictures) - 2), REST, *[STEP] * len(back)]
    buffer = BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:] + back, duration=rests, loop=0)
    return buffer.getvalue()
