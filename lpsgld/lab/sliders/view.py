"""What a slider moves: a view is two functions that know nothing of kernels and widgets, and its controls.

`panel.py` shows a view with sliders, or as plain pictures; `tests/lab/checking.py` walks it through all its corners.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure

from lpsgld.lab import style
from lpsgld.lab.figures.saving import Slide
from lpsgld.text import one_of

Artists = dict[str, Any]
Readout = Mapping[str, float]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Control:
    """One parameter that the reader may change, and the values that it may take.

    name: the parameter of `build` and `update`. label: what the reader sees, such as "step size α".
    values: ordered, at least two, all different. format: value -> text, if the usual one does not please.
    kind: "slider", or "buttons" for two or three values without an order; by default, buttons for truth values
    and texts, as far as there are at most three.
    """

    name: str
    label: str
    values: tuple[Any, ...]
    default: Any
    format: Callable[[Any], str] | None = None
    kind: Literal["slider", "buttons"] | None = None

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(map(self.text, self.values))) < len(self.values):
            raise ValueError(f"control {self.name!r} needs two or more values that read differently: {self.values}")
        self.check(self.default)
        few = len(self.values) <= 3 and all(isinstance(value, (bool, str)) for value in self.values)
        object.__setattr__(self, "kind", self.kind or ("buttons" if few else "slider"))
        one_of("kind of control", self.kind, ("slider", "buttons"), more=f" (control {self.name!r})")

    def text(self, value: Any) -> str:
        """How the reader sees this value."""
        if self.format is not None:
            return self.format(value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def check(self, value: Any) -> None:
        """Raise ValueError unless `value` is one of `values`."""
        if value not in self.values:
            raise ValueError(f"control {self.name!r} cannot be {value!r}: it takes {self.values}")


@dataclass(frozen=True)
class View:
    """A picture that depends on parameters.

    build(**parameters) -> (figure, artists): the picture, drawn for these parameters; artists are those that
    change, by name. update(artists, **parameters) -> readout: the same picture for other parameters, by moving
    the artists, and the numbers to show beside it (or None). Both take every control by name. If `build` takes a
    `seed`, the reader gets a button for a new one; other parameters of `build` without a default must be given
    to `explore`. Both draw in the lab's style, whoever calls them.

    static: the settings to show where nothing can move; each names the parameters that differ from the defaults.
    ghosts: the names of those artists (lines, stairs or bars) that the reader can pin for comparison.
    continuous: whether the picture follows while a slider is dragged, or only once it is let go.
    slide: what its figure says, for `save_figure`.
    """

    name: str
    title: str
    build: Callable[..., tuple[Figure, Artists]]
    update: Callable[..., Readout | None]
    controls: tuple[Control, ...]
    static: tuple[Mapping[str, Any], ...] = ()
    ghosts: tuple[str, ...] = ()
    continuous: bool = True
    slide: Slide | None = None

    def __post_init__(self) -> None:
        names = [control.name for control in self.controls]
        if len(set(names)) < len(names):
            raise ValueError(f"view {self.name!r} has two controls of one name: {names}")
        for function in (self.build, self.update):
            missing = [name for name in names if not _takes(function, name)]
            if missing:
                where = getattr(function, "__name__", function)
                raise TypeError(f"view {self.name!r}: {where} takes no {', '.join(missing)}, but there is a control")
        object.__setattr__(self, "build", _settled(self.build))
        object.__setattr__(self, "update", style.styled(self.update))
        for setting in self.static:
            self.parameters(**setting)

    @property
    def seeded(self) -> bool:
        """Whether the picture depends on a seed that no control sets."""
        controlled = any(control.name == "seed" for control in self.controls)
        return "seed" in inspect.signature(self.build).parameters and not controlled

    def parameters(self, **given: Any) -> dict[str, Any]:
        """The controls' defaults (and seed 0, if the view has one), changed by what is given.

        Raises TypeError for a parameter that `build` does not take, ValueError for a value that a control lacks.
        """
        for name in given:
            if not _takes(self.build, name):
                known = ", ".join(inspect.signature(self.build).parameters)
                raise TypeError(f"view {self.name!r} has no parameter {name!r}: it takes {known}")
        for control in self.controls:
            if control.name in given:
                control.check(given[control.name])
        seed = {"seed": 0} if self.seeded else {}
        return {control.name: control.default for control in self.controls} | seed | given

    def figure(self, **given: Any) -> Figure:
        """The picture for these parameters (see `parameters`), drawn anew in the theme in force: for `save_figure`."""
        return self.build(**self.parameters(**given))[0]

    def describe(self, parameters: Mapping[str, Any]) -> str:
        """These parameters in the reader's words: "step size α = 0.01, fractional bits F = 3"."""
        labels = {c.name: f"{c.label} = {c.text(parameters[c.name])}" for c in self.controls}
        others = {name: f"{name} = {value}" for name, value in parameters.items() if name not in labels}
        return ", ".join((labels | others).values())

    def caption(self, parameters: Mapping[str, Any], numbers: Readout) -> str:
        """One line that says what the picture shows: title, settings, numbers."""
        return f"{self.title}: {self.describe(parameters)}. {', '.join(compare(numbers))}".strip()


def compare(numbers: Readout, pinned: Readout | None = None) -> list[str]:
    """One text a number: "std = 1.285", "std = 1.285 (pinned 1.066, difference +0.219)", "std = 1.285 (as pinned)"."""
    texts = {name: f"{name} = {readable(value)}" for name, value in numbers.items()}
    for name in texts.keys() & (pinned or {}):
        before, difference = readable(pinned[name]), numbers[name] - pinned[name]
        sign = "+" if difference > 0 else ""
        same = before == readable(numbers[name])
        texts[name] += " (as pinned)" if same else f" (pinned {before}, difference {sign}{readable(difference, 3)})"
    return list(texts.values())


def readable(number: float, digits: int = 4) -> str:
    """A number for the eye: "1.285", "17,490", "3.8·10⁻⁵"; all digits of a whole number; 0 for what rounding left."""
    if not math.isfinite(number):
        return str(number)
    if abs(number) < 1e-12:
        return "0"
    if float(number).is_integer() and abs(number) < 1e7:
        text = f"{number:,.0f}"
    elif 1e-3 <= abs(number) < 1e7:
        text = f"{float(f'{number:.{digits}g}'):,.10f}".rstrip("0").rstrip(".")
    else:
        mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
        text = f"{float(mantissa):g}·10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return text.replace("-", "−")


def _settled(build: Callable[..., tuple[Figure, Artists]]) -> Callable[..., tuple[Figure, Artists]]:
    @style.styled
    @functools.wraps(build)
    def wrapper(**parameters: Any) -> tuple[Figure, Artists]:
        figure, artists = build(**parameters)
        style.settle(figure)
        return figure, artists

    return wrapper


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
