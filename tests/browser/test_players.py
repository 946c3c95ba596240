"""Recorded views in a real browser, from files and offline: every slider moves to what Python draws there.

To record all positions would take minutes. Here each control keeps its first, its middle and its last value, and only
those positions are recorded in which all controls are at such a place together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Locator, Page

from lpsgld.batch import notebook
from lpsgld.lab import style
from lpsgld.lab.sliders import recording
from lpsgld.lab.sliders.view import Control, View, compare
from lpsgld.publish import players
from lpsgld.publish.page import ASSETS
from lpsgld.publish.recordings import find

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CHAPTERS = {name: views for name in notebook.names(NOTEBOOKS) if (views := players.of_notebooks(NOTEBOOKS, [name]))}


def thin(view: View) -> View:
    """The same view with the ends and the middle of each control; its figure may be drawn with others."""
    return replace(view, controls=tuple(map(_ends_and_middle, view.controls)), static=(), slide=None)


def _ends_and_middle(control: Control) -> Control:
    values = control.values
    kept = tuple(dict.fromkeys((values[0], values[len(values) // 2], values[-1])))
    return replace(control, values=kept, default=kept[len(kept) // 2])


def together(view: View) -> list[dict]:
    """The settings at which all controls are at their first, all at their middle, all at their last value."""
    places = range(max(len(control.values) for control in view.controls))
    return [
        view.parameters(**{c.name: c.values[min(place, len(c.values) - 1)] for c in view.controls}) for place in places
    ]


def some_frames(view: View) -> Iterator[recording.Frame]:
    """The frames of `together`, and nothing for all other settings."""
    chosen = together(view)
    drawn = recording.frames(view, (parameters for parameters in recording.settings(view) if parameters in chosen))
    for parameters in recording.settings(view):
        yield next(drawn) if parameters in chosen else recording.Frame("", {})


def write_page(path: Path, views: list[View], frames=recording.frames) -> Path:
    """A page of players, each with a still, in the book's style."""
    soup = BeautifulSoup("<main></main>", "html.parser")
    for view in views:
        place = BeautifulSoup('<div><div class="picture"><p>still</p></div></div>', "html.parser").div
        players.mount(place, recording.pack(view, frames(view)))
        soup.main.append(place)
    css = "".join((ASSETS / name).read_text("utf-8") for name in ("book.css", "player.css"))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    script = (ASSETS / "player.js").read_text("utf-8")
    path.write_text(
        f"<!DOCTYPE html><html lang=en>{head}<style>{css}</style>{soup}<script>{script}</script></html>",
        encoding="utf-8",
    )
    return path


def panels(page: Page) -> list[Locator]:
    page.wait_for_function("() => document.querySelectorAll('.player:not(.live)').length === 0")
    return page.locator(".player > .panel").all()


def drawn(view: View, theme: str, parameters: dict) -> tuple[str, dict]:
    """What Python draws for these settings in that theme, the inside of its SVG, and the numbers beside it."""
    with style.use(theme):
        figure, artists = view.build(**parameters)
        numbers = view.update(artists, **parameters)
        svg = style.saved(figure, format="svg", metadata={"Date": None}).decode()
    return svg[svg.index(">", svg.index("<svg ")) + 1 : svg.rindex("</svg>")], dict(numbers or {})


def picture(panel: Locator) -> str:
    """What a player shows, as SVG."""
    return panel.locator(".moving").evaluate("host => host.shadowRoot.querySelector('svg').innerHTML")


def replace_picture(panel: Locator, svg: str) -> None:
    panel.locator(".moving").evaluate("(host, svg) => { host.shadowRoot.querySelector('svg').innerHTML = svg; }", svg)


def move(panel: Locator, place: int) -> None:
    """All controls to their first, second or last value (0, 1, -1) by the keyboard, or by a click on a button."""
    for slider in panel.locator("input[type=range]").all():
        for key in {0: ["Home"], 1: ["Home", "ArrowRight"], -1: ["End"]}[place]:
            slider.press(key)
    for choices in panel.locator("fieldset").all():
        choices.locator("input").nth(place).check()


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_view_shows_at_its_ends_and_middle_what_python_draws_there(name, window, tmp_path):
    views = [thin(find(view)) for view in CHAPTERS[name]]
    page = window.open(write_page(tmp_path / "page.html", views, some_frames))
    for view, panel in zip(views, panels(page), strict=True):
        settings = together(view)
        for place in sorted({0, 1, -1}):
            move(panel, place)
            parameters, picture_there = settings[place], picture(panel)
            for theme in style.ENDINGS:
                svg, numbers = drawn(view, theme, parameters)
                page.emulate_media(color_scheme=theme)
                seen = panel.locator(".moving").screenshot()
                replace_picture(panel, svg)
                assert panel.locator(".moving").screenshot() == seen, f"{view.name} at {parameters} in {theme}"
                replace_picture(panel, picture_there)
            shown = panel.locator(".numbers span").all_inner_texts()
            assert shown == ["seed 0"] * view.seeded + compare(numbers), f"{view.name} at {parameters}"
    window.check()


@pytest.fixture(scope="module")
def page_of_stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The story, and views that have seeds, buttons and axes that move, with all frames of their thin selves."""
    views = [find("lpsgld.lab.views.start_here.story"), thin(find("lpsgld.lab.views.rounding.sums")),
             thin(find("lpsgld.lab.views.variance_correction.law"))]  # fmt: skip
    return write_page(tmp_path_factory.mktemp("stories") / "page.html", views)


def test_a_slider_says_its_name_and_value_and_follows_keys_and_a_finger(page_of_stories, window, screenshots):
    page = window.open(page_of_stories)
    story = panels(page)[0]
    slider = page.get_by_role("slider", name="step size α").first
    assert slider.get_attribute("aria-valuetext") == "0.002" and story.locator("output").inner_text() == "0.002"
    before = picture(story)
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "0.001"
    assert picture(story) != before
    assert "step size α = 0.001" in story.locator(".moving").get_attribute("aria-label")
    slider.press("ArrowRight")
    assert picture(story) == before
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert slider.get_attribute("aria-valuetext") == "0.005"
    story.get_by_role("button", name="Reset").click()
    assert picture(story) == before
    window.check()


def test_a_pinned_curve_stays_with_its_numbers_until_it_is_let_go(page_of_stories, window, screenshots):
    page = window.open(page_of_stories)
    story = panels(page)[0]
    slider, numbers = story.locator("input"), story.locator(".numbers")
    before = picture(story)
    story.get_by_role("button", name="Pin").click()
    slider.press("Home")
    view = find("lpsgld.lab.views.start_here.story")
    stds = [view.update(view.build(alpha=alpha)[1], alpha=alpha) for alpha in (5e-5, 2e-3)]
    assert numbers.locator("span:not(.how)").all_inner_texts() == compare(*stds)
    assert numbers.locator(".how").inner_text() == "grey, dotted: pinned at step size α = 0.002"
    page.screenshot(path=screenshots / "pinned.png")
    story.get_by_role("button", name="Unpin").click()
    slider.press("End")
    slider.press("ArrowLeft")
    assert picture(story) == before and numbers.locator(".how").count() == 0
    window.check()


def test_a_pinned_curve_follows_axes_that_move(page_of_stories, window):
    """On a short range the law is tall and its axis grows: the pinned curve of before shrinks with it."""
    page = window.open(page_of_stories)
    law = panels(page)[2]
    move(law, -1)
    law.get_by_role("button", name="Pin").click()

    def height() -> float:
        return law.locator(".moving").evaluate("host => host.shadowRoot.querySelector('.shown path').getBBox().height")

    before = height()
    law.get_by_role("slider", name="word length W").press("Home")
    assert 0 < height() < 0.8 * before
    window.check()


def test_another_seed_and_back(page_of_stories, window):
    sums = panels(window.open(page_of_stories))[1]
    seeds, pictures = [], []
    for _ in range(3):
        seeds.append(sums.locator(".numbers span").first.inner_text())
        pictures.append(picture(sums))
        sums.get_by_role("button", name="New seed").click()
    assert seeds == ["seed 0", "seed 1", "seed 0"]
    assert pictures[0] == pictures[2] != pictures[1]
    window.check()


@pytest.mark.parametrize("theme", style.ENDINGS)
def test_on_a_phone_nothing_sticks_out_and_all_is_in_reach(page_of_stories, window, screenshots, theme):
    window.page.set_viewport_size({"width": 390, "height": 844})
    window.page.emulate_media(color_scheme=theme)
    page = window.open(page_of_stories)
    for panel in panels(page):
        for control in panel.locator("input[type=range], fieldset label, button").all():
            box = control.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 24
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=screenshots / f"player-phone-{theme}.png", full_page=True)
    window.check()


def test_without_a_script_or_what_unpacks_the_stills_remain(page_of_stories, browser):
    for options, lacking in (({"java_script_enabled": False}, ""), ({}, "delete window.DecompressionStream")):
        context = browser.new_context(**options)
        page = context.new_page()
        page.add_init_script(lacking)
        page.goto(page_of_stories.as_uri())
        assert page.locator(".picture:visible").count() == 3 and page.locator(".panel").count() == 0
        context.close()
        assert re.search("still", page_of_stories.read_text("utf-8"))
