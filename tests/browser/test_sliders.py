"""In a real browser: a key on a slider changes the picture, and the key back brings the first picture back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.browser.harness import Panel, Reader, Server, copy_notebook

pytestmark = pytest.mark.browser

NOTEBOOKS = sorted(
    path
    for path in (Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb")
    if "lab.explore(" in path.read_text(encoding="utf-8")
)

Open = Callable[[str], Reader]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slider_of_the_notebook(notebook: Path, server: Server, reader: Open, screenshots: Path) -> None:
    views = copy_notebook(notebook, server.folder, live=True, smoke=True)
    window = reader(notebook.name)
    window.run_all()
    check_panels(window, views, screenshots / notebook.stem)


def test_a_made_up_notebook(server: Server, reader: Open, screenshots: Path) -> None:
    path = server.folder / "made_up.ipynb"
    nbformat.write(made_up_notebook(), path)
    views = copy_notebook(path, server.folder, live=True, smoke=True)
    window = reader(path.name)
    window.run_all()
    check_panels(window, views, screenshots / "made_up")
    check_error_line(window)


def test_the_next_morning_a_view_shows_its_picture_and_how_to_wake_it(server: Server, reader: Open, screenshots: Path):
    path = server.folder / "morning.ipynb"
    nbformat.write(made_up_notebook(), path)
    copy_notebook(path, server.folder, live=True, smoke=True)
    evening = reader(path.name)
    evening.run_all()
    asleep = evening.page.locator(".lpsgld-asleep")
    assert (asleep.count(), asleep.locator("visible=true").count()) == (3, 0), "two views and a question, all awake"
    evening.leave()

    morning = reader(path.name)
    asleep = morning.page.locator(".lpsgld-asleep:visible")
    asleep.nth(2).wait_for()
    assert morning.page.get_by_text("To wake it, choose Run ▸ Run All Cells.").locator("visible=true").count() == 3
    shown = asleep.locator("img").evaluate_all("images => images.map(image => [image.alt, image.naturalWidth > 0])")
    assert len(shown) == 2 and all(alt.startswith("A made-up view") and loaded for alt, loaded in shown), shown
    assert "up\ndown" in asleep.nth(2).inner_text()
    morning.page.wait_for_timeout(3000)  # it looks for the model for two seconds, and then gives up
    assert not morning.page.get_by_text("Error displaying widget").locator("visible=true").count()
    morning.page.screenshot(path=screenshots / "morning.png")

    morning.run_all()
    assert len(morning.panels()) == 2 and not asleep.count()


def check_panels(window: Reader, views: int, screenshot: Path) -> None:
    """Each view has one picture; each slider and button changes it, and its counterpart brings it back."""
    panels = window.panels()
    assert len(panels) == views, f"{views} calls of lab.explore, but {len(panels)} panels with a picture"
    assert window.pictures() == views, "a panel's output shows another picture beside its own"
    for number, panel in enumerate(panels, start=1):
        panel.box.screenshot(path=f"{screenshot}-{number}.png")
        assert panel.labels() or panel.toggles(), "a view without any control"
        check_sliders(panel)
        check_buttons(panel)
        panel.box.screenshot(path=f"{screenshot}-{number}-after.png")
    assert not window.errors, "errors on the browser's console:\n" + "\n".join(window.errors)


def check_sliders(panel: Panel) -> None:
    first = panel.wait_for()
    for label in panel.labels():
        away, back = panel.away_and_back(label)
        panel.press(label, away)
        panel.wait_for(other_than=first)
        panel.press(label, back)
        panel.wait_for(same_as=first)


def check_buttons(panel: Panel) -> None:
    first = panel.wait_for()
    reset = panel.button("Reset")
    for toggle in panel.toggles():
        toggle.locator("button:not(.mod-active)").first.click()
        panel.wait_for(other_than=first)
        reset.click()
        panel.wait_for(same_as=first)
    if pin := panel.button("Pin"):
        pin.click()
        panel.box.get_by_text("pinned at").wait_for()
        if panel.box.get_by_text("grey, dotted").count():  # not all that can be compared has curves
            panel.wait_for(other_than=first)
        panel.button("Unpin").click()
        panel.wait_for(same_as=first)
    if new_seed := panel.button("New seed"):
        new_seed.click()
        panel.wait_for(other_than=first)
        reset.click()
        panel.wait_for(same_as=first)


def check_error_line(window: Reader) -> None:
    """A value that the made-up view cannot draw is said in the panel; the next good one clears it."""
    panel = window.panels()[-1]
    panel.press("height", "End")
    alert = panel.box.get_by_role("alert")
    alert.wait_for(state="visible")
    assert "height 4 is too high" in alert.inner_text()
    panel.press("height", "Home")
    alert.wait_for(state="detached")
    assert not window.failures(), "the error of a slider belongs into its panel, not into a cell's output"
    assert not window.errors


CELLS = (
    "seed: int = 0  # root seed\nlive: bool = False  # sliders\nsmoke: bool = False  # small sizes",
    "from lpsgld import lab\nlab.start('00_made_up', seed=seed, live=live, smoke=smoke)",
    """import numpy as np
def build(height, kind, seed):
    figure, ax = lab.new_figure(title="A made-up view")
    artists = {"curve": ax.plot([], [], **lab.role("vc"))[0]}
    ax.set(xlim=(0, 1), ylim=(0, 3), xlabel="x", ylabel="y")
    update(artists, height, kind, seed)
    return figure, artists

def update(artists, height, kind, seed):
    if height > 3:
        raise ValueError(f"height {height} is too high")
    x = np.linspace(0, 1, 200)
    noise = np.random.default_rng(seed).normal(0, 0.02, 200)
    curve = height * (x if kind == "line" else x**2) + noise
    artists["curve"].set_data(x, curve)
    return {"mean": curve.mean()}

view = lab.View("made-up", "A made-up view", build, update, ghosts=("curve",), controls=(
    lab.Control("height", "height", (1, 2, 3, 4), 2), lab.Control("kind", "kind", ("line", "parabola"), "line")))
lab.explore(view)""",
    "lab.explore(view, height=1, kind='parabola')",
    """lab.predict("Which way?", ["up", "down"], "up", why="It grows.")
lab.save_figure(view.figure, "00-made-up", alt="A rising line", caption="A line.")
lab.claim("one is one", 1.0, expected=1.0, tolerance=0.1)
lab.check_answer("first", None, 1.0)
lab.summary()""",
)


def made_up_notebook() -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].metadata["tags"] = ["parameters"]
    return nbformat.v4.new_notebook(cells=cells)
