"""Showing a view in a notebook: with sliders, or as plain pictures where nothing can move."""

from __future__ import annotations

import html
from typing import Any

from lpsgld.lab import output, session, style
from lpsgld.lab.sliders.panel import Panel, caption
from lpsgld.lab.sliders.view import View


def explore(view: View, live: bool | None = None, **given: Any) -> None:
    """Display the view: live with sliders, else one picture for each of its static settings.

    live: by default what the notebook's `start` was told, else True. given: starting values of controls, or
    parameters that stay fixed; in the static form they take precedence over the view's own settings.
    Raises whatever the view raises when it is first drawn.
    """
    running = session.current()
    if view.seeded and running is not None:
        given = {"seed": running.seed} | given
    if live is None:
        live = running.live if running is not None else True
    if live:
        output.show(*Panel(view, **given).bundle())
        return
    for parameters in _static_settings(view, given):
        _show_static(view, parameters)


def _static_settings(view: View, given: dict[str, Any]) -> list[dict[str, Any]]:
    settings = []
    for static in view.static or ({},):
        parameters = view.parameters(**(dict(static) | given))
        if parameters not in settings:
            settings.append(parameters)
    return settings


def _show_static(view: View, parameters: dict[str, Any]) -> None:
    figure, artists = view.build(**parameters)
    text = caption(view, parameters, view.update(artists, **parameters) or {})
    output.show(*output.picture(style.png(figure, style.SLIDE_DPI), alt=text))
    output.show({"text/html": f"<p><em>{html.escape(text)}</em></p>", "text/plain": text})
