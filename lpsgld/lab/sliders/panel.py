"""Showing a view in a notebook: sliders above a picture that follows them, or plain pictures where nothing can move.

The wiring, and why: artists are moved, the figure is not rebuilt (a third of the time); the picture is PNG bytes
in an image of fixed size (no flicker, no jump); the first draw happens in the constructor, outside any output
widget, so that a mistake in a view stops the notebook.
"""

from __future__ import annotations

import html
import os
import sys
from base64 import b64encode
from typing import Any

import ipywidgets as widgets
from matplotlib.lines import Line2D

from lpsgld.lab import output, session, style
from lpsgld.lab.sliders import ghosts, recording
from lpsgld.lab.sliders.view import Control, Readout, View, compare

# a number does not part from its name, if a line can hold both
_WHOLE = 'style="display: inline-block; margin-right: 1.5em"'
# for screen readers alone: a slider tells them the place of its value, not the value
_HEARD = 'style="position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)"'
_ERROR = "border-left: 4px solid #D55E00; padding: 2px 8px; margin: 4px 0"


def explore(view: View, live: bool | None = None, **given: Any) -> None:
    """Display the view: live with sliders, else one picture for each of its static settings.

    live: by default what the notebook's `start` was told, else True. given: starting values of controls, or
    parameters that stay fixed; in the static form they take precedence over the view's own settings. A run that records
    (`lpsgld run --record`) keeps all positions of a view beside its first picture, if it is one that a notebook makes.
    Raises whatever the view raises when it is first drawn.
    """
    running = session.current()
    running.explored.add(view.name)
    seeded = {"seed": running.seed} if view.seeded else {}
    if running.live if live is None else live:
        panel = Panel(view, **(seeded | given))
        output.show_widget(panel.widget, *panel.bundle())
        return
    recorded = {} if given else _recorded(view)
    settings = [view.parameters(**(dict(static) | seeded | given)) for static in view.static or ({},)]
    for number, parameters in enumerate(settings):
        if parameters not in settings[:number]:
            figure, artists = view.build(**parameters)
            text = view.caption(parameters, view.update(artists, **parameters) or {})
            data, metadata = output.picture(style.png(figure, style.SLIDE_DPI), alt=text)
            output.show(data | recorded, metadata)
            recorded = {}
            output.show({"text/html": f"<p><em>{html.escape(text)}</em></p>", "text/plain": text})


def _recorded(view: View) -> dict[str, str]:
    """All positions of a view that needs what its notebook computes, where a run is to record them (LPSGLD_RECORD).

    A view that a module holds needs nothing: `lpsgld record` draws it without a notebook.
    """
    module = view.build.__module__
    imported = module != "__main__" and any(value is view for value in vars(sys.modules[module]).values())
    if imported or not os.environ.get("LPSGLD_RECORD"):
        return {}
    return {recording.MIME: b64encode(recording.pack(view, recording.frames(view))).decode("ascii")}


class Panel:
    """A view with its sliders, buttons and numbers; notebook cells call `explore`, which displays one.

    given: starting values of controls, a seed, and parameters that stay fixed. Raises whatever `build` or
    `update` raise, here and, after showing it to the reader, when a control moves.
    """

    def __init__(self, view: View, **given: Any) -> None:
        self.view = view
        self.initial = view.parameters(**given)
        self.figure, self.artists = view.build(**self.initial)
        indent = f"{max((len(control.label) for control in view.controls), default=0) * 0.56 + 1:.0f}em"
        self.controls = {c.name: _widget(c, self.initial[c.name], indent, view.continuous) for c in view.controls}
        self.readout = widgets.HTML()
        self.error = widgets.HTML()
        width, height = style.SCREEN
        size = {"width": "auto", "height": "auto", "max_width": "100%", "max_height": "55vh"}
        size |= {"align_self": "flex-start", "flex": "none"}  # in its own proportions, whatever room there is
        self.image = widgets.Image(format="png", width=str(width), height=str(height), layout=size)
        self.image.add_class(output.PICTURE)
        self.pin_button = _button("Pin", "Keep these curves, in grey, and numbers to compare", self._toggle_pin)
        self.reset_button = _button("Reset", "Back to where this picture started", self._reset)
        self.seed_button = _button("New seed", "Draw the random numbers again, from the next seed", self._reseed)
        self._new_seeds = 0
        self._ghosts: list[Line2D] = []
        self._pinned: tuple[Readout, str] | None = None  # the numbers of the ghosts, and their settings in words
        self._numbers: Readout = {}
        self._silent = False
        self.draw()
        for control in self.controls.values():
            control.observe(self._moved, names="value")
        compared = bool(view.ghosts or self._numbers)
        useful = [(self.reset_button, True), (self.pin_button, compared), (self.seed_button, view.seeded)]
        for button in [button for button, used in useful if not used]:
            output.close(button)
        buttons = widgets.HBox([button for button, used in useful if used])
        rows = [*self.controls.values(), buttons, self.error, self.image, self.readout]
        self.widget = widgets.VBox(rows, layout={"width": "100%"})

    @property
    def parameters(self) -> dict[str, Any]:
        """What the picture shows now."""
        seed = {"seed": self.initial["seed"] + self._new_seeds} if self.view.seeded else {}
        return self.initial | {name: control.value for name, control in self.controls.items()} | seed

    def draw(self) -> None:
        """Move the artists to the controls' values and show the picture and its numbers, or the error."""
        if not self.view.continuous:
            self.readout.value = _line("computing …")
        try:
            self._numbers = self.view.update(self.artists, **self.parameters) or {}
            picture = style.png(self.figure)
        except Exception as error:
            where = html.escape(self.view.describe(self.parameters))
            what = html.escape(f"{type(error).__name__}: {error}")
            self.error.value = f'<div role="alert" style="{_ERROR}"><b>No picture for {where}.</b> {what}</div>'
            raise  # a front end logs it and goes on; where nobody looks, it stops the cell
        self.image.value = picture
        self.readout.value = self._line()
        self.error.value = ""

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """MIME data and metadata of one output: the widget, and the picture for readers without widgets."""
        text = self.view.caption(self.parameters, self._numbers)
        data, metadata = output.picture(bytes(self.image.value), alt=text)
        return self.widget._repr_mimebundle_() | data, metadata

    def _moved(self, _change: Any) -> None:
        if not self._silent:
            self.draw()

    def _reset(self, _click: Any) -> None:
        self._silent = True  # several controls, but one picture
        for name, control in self.controls.items():
            control.value = self.initial[name]
        self._silent = False
        self._new_seeds = 0
        self._pin(False)
        self.draw()

    def _reseed(self, _click: Any) -> None:
        self._new_seeds += 1
        self.draw()

    def _toggle_pin(self, _click: Any) -> None:
        self._pin(self._pinned is None)
        self.draw()

    def _pin(self, on: bool) -> None:
        for ghost in self._ghosts:
            ghost.remove()
        self._ghosts = ghosts.pin(self.view, self.artists) if on else []
        self._pinned = (self._numbers, self.view.describe(self.parameters)) if on else None
        self.pin_button.description = "Unpin" if on else "Pin"

    def _line(self) -> str:
        numbers, settings = self._pinned or ({}, "")
        seed = [f"seed {self.parameters['seed']}"] if self.view.seeded else []
        texts = seed + compare(self._numbers, numbers)
        line = " ".join(f"<span {_WHOLE}>{html.escape(text)}</span>" for text in texts)
        look = "grey, dotted: " if self._ghosts else ""
        pinned = f"<br>{look}pinned at {html.escape(settings)}" if self._pinned else ""
        heard = f"<span {_HEARD}>{html.escape(self.view.describe(self.parameters))}. </span>"
        return _line(heard + line + pinned)


def _line(content: str) -> str:
    return f'<div role="status" aria-live="polite" style="font-size: 1.15em; line-height: 1.5">{content}</div>'


def _button(label: str, tooltip: str, action: Any) -> widgets.Button:
    button = widgets.Button(description=label, tooltip=tooltip, layout={"width": "100px"})
    button.on_click(action)
    return button


def _widget(control: Control, value: Any, indent: str, continuous: bool) -> widgets.Widget:
    shared = {
        "options": [(control.text(option), option) for option in control.values],
        "value": value,
        "description": control.label,
        "tooltip": control.label,  # without one, the front end shows "null"
    }
    look = {"description_width": indent}
    if control.kind == "buttons":
        buttons = widgets.ToggleButtons(**shared, style=look | {"button_width": "auto"}, layout={"width": "auto"})
        return buttons.add_class("widget-inline-hbox")  # the label to the left, as a slider's
    size = {"width": "660px", "max_width": "100%"}
    return widgets.SelectionSlider(**shared, continuous_update=continuous, style=look, layout=size)
