"""The live form of a view: sliders above a picture that follows them.

The wiring, and why: artists are moved, the figure is not rebuilt (a third of the time); the picture is PNG bytes
in an image of fixed size (no flicker, no jump); the first draw happens in the constructor, outside any output
widget, so that a mistake in a view stops the notebook.
"""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as widgets

from lpsgld.lab import output, style
from lpsgld.lab.sliders import ghosts
from lpsgld.lab.sliders.ghosts import Pinned
from lpsgld.lab.sliders.view import Control, Readout, View


class Panel:
    """A view with its sliders, buttons and numbers; notebook cells call `explore`, which displays one.

    given: starting values of controls, a seed, and parameters that stay fixed. Raises whatever `build` or
    `update` raise, here and, after showing it to the reader, when a control moves.
    """

    def __init__(self, view: View, **given: Any) -> None:
        self.view = view
        self.initial = view.parameters(**given)
        self.figure, self.artists = view.build(**self.initial)
        self.controls = _controls(view, self.initial)
        self.readout = widgets.HTML()
        self.error = widgets.HTML()
        self.image = _image(*style.SCREEN)
        self.pin_button = _button("Pin", "Keep a grey copy of the curves for comparison", self._toggle_pin)
        self.reset_button = _button("Reset", "Back to where this picture started", self._reset)
        self.seed_button = _button("New seed", "Draw the random numbers again, from the next seed", self._reseed)
        self._seed = self.initial["seed"] if view.seeded else None
        self._pinned: Pinned | None = None
        self._numbers: Readout = {}
        self._silent = False
        self.draw()
        for control in self.controls.values():
            control.observe(self._moved, names="value")
        self.widget = self._assemble()

    @property
    def parameters(self) -> dict[str, Any]:
        """What the picture shows now."""
        seed = {} if self._seed is None else {"seed": self._seed}
        return self.initial | {name: control.value for name, control in self.controls.items()} | seed

    def draw(self) -> None:
        """Move the artists to the controls' values and show the picture and its numbers, or the error."""
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
        text = caption(self.view, self.parameters, self._numbers)
        data, metadata = output.picture(bytes(self.image.value), alt=text)
        return self.widget._repr_mimebundle_() | data, metadata

    def _assemble(self) -> widgets.VBox:
        buttons = [self.reset_button]
        buttons += [self.pin_button] if self.view.ghosts else []
        buttons += [self.seed_button] if self._seed is not None else []
        rows = [*self.controls.values(), widgets.HBox(buttons), self.error, self.image, self.readout]
        return widgets.VBox(rows, layout=widgets.Layout(width="100%"))

    def _moved(self, _change: Any) -> None:
        if not self._silent:
            self.draw()

    def _reset(self, _click: Any) -> None:
        self._silent = True  # several controls, but one picture
        try:
            for name, control in self.controls.items():
                control.value = self.initial[name]
        finally:
            self._silent = False
        self._seed = self.initial["seed"] if self.view.seeded else None
        self._unpin()
        self.draw()

    def _reseed(self, _click: Any) -> None:
        self._seed += 1
        self.draw()

    def _toggle_pin(self, _click: Any) -> None:
        if self._pinned is None:
            self._pinned = ghosts.pin(self.view, self.artists, self.parameters, self._numbers)
            self.pin_button.description = "Unpin"
        else:
            self._unpin()
        self.draw()

    def _unpin(self) -> None:
        if self._pinned is not None:
            self._pinned.remove()
        self._pinned = None
        self.pin_button.description = "Pin"

    def _line(self) -> str:
        texts = ghosts.compare(self._numbers, self._pinned.readout if self._pinned else None)
        texts = texts if self._seed is None else [f"seed {self._seed}", *texts]
        lines = [" &nbsp;·&nbsp; ".join(f"<span {_WHOLE}>{html.escape(text)}</span>" for text in texts)]
        if self._pinned is not None:
            lines.append(f"grey, dashed: pinned at {html.escape(self._pinned.settings)}")
        return f'<div role="status" aria-live="polite" style="font-size: 1.15em">{"<br>".join(lines)}</div>'


_WHOLE = 'style="white-space: nowrap"'  # a number does not part from its name
_ERROR = "border-left: 4px solid #D55E00; padding: 2px 8px; margin: 4px 0"


def caption(view: View, parameters: dict[str, Any], numbers: Readout) -> str:
    """One line that says what the picture shows: title, settings, numbers."""
    settings = view.describe(parameters)
    texts = ", ".join(ghosts.compare(numbers))
    return f"{view.title}: {settings}. {texts}".strip()


def _image(width: int, height: int) -> widgets.Image:
    size = widgets.Layout(width=f"{width}px", height=f"{height}px", max_width="100%", object_fit="contain")
    return widgets.Image(format="png", width=str(width), height=str(height), layout=size)


def _button(label: str, tooltip: str, action: Any) -> widgets.Button:
    button = widgets.Button(description=label, tooltip=tooltip, layout=widgets.Layout(width="100px"))
    button.on_click(action)
    return button


def _controls(view: View, values: dict[str, Any]) -> dict[str, widgets.Widget]:
    indent = f"{max((len(control.label) for control in view.controls), default=0) * 0.56 + 1:.0f}em"
    return {control.name: _control(control, values[control.name], indent, view.continuous) for control in view.controls}


def _control(control: Control, value: Any, indent: str, continuous: bool) -> widgets.Widget:
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
    size = widgets.Layout(width="660px", max_width="100%")
    return widgets.SelectionSlider(**shared, continuous_update=continuous, style=look, layout=size)
