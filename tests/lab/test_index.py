"""The page of figures: as a reader of GitHub sees it, in light and in dark."""

import re
from html import unescape

import pytest

from lpsgld import lab
from lpsgld.lab.figures.frames import reveal

ALT = 'a "quoted" text with <tags> & signs'


def staged():
    figure, ax = lab.new_figure()
    ax.plot([0, 1], [0, 1])
    reveal(2, ax.plot([0, 1], [1, 0]))
    return figure


@pytest.fixture
def folder(tmp_path, monkeypatch, shown):
    monkeypatch.setenv("LPSGLD_RUN_DIR", str(tmp_path))
    lab.start("05_demo", seed=4, smoke=True)
    lab.save_figure(staged, "05-demo", title="A demo", params={"alpha": 0.5}, alt=ALT, caption="So it is.")
    lab.save_figure(lambda: lab.new_figure()[0], "05-plain", alt="Nothing", caption="Empty.")
    return tmp_path / "figures"


def test_every_figure_has_its_texts_its_settings_and_the_command_that_draws_it(folder):
    page = (folder / "README.md").read_text()
    assert "## A demo" in page and "So it is." in page and f"Alt text: {ALT}" in page
    assert "From `05_demo`, alpha = 0.5, seed = 4. Again: `lpsgld figures 05-demo`" in page
    assert "CC BY 4.0" in page


def test_every_target_exists_and_every_file_is_a_target(folder):
    page = (folder / "README.md").read_text()
    targets = re.findall(r'(?:src|srcset|href)="([^"]+)"', page) + re.findall(r"\]\((05[^)]+)\)", page)
    assert set(targets) == {path.name for path in folder.iterdir()} - {"README.md", "manifest.json", ".lock"}


def test_pictures_follow_the_reader_s_theme_and_have_alternative_texts(folder):
    page = (folder / "README.md").read_text()
    dark = r'<source media="\(prefers-color-scheme: dark\)" srcset="([^"]+)">'
    found = re.findall(rf'<picture>{dark}<img src="([^"]+)" alt="([^"]*)" width="\d+"></picture>', page)
    assert [tuple(map(unescape, texts)) for texts in found] == [
        ("05-demo-dark.png", "05-demo.png", ALT),
        ("05-demo-frame-1-dark.png", "05-demo-frame-1.png", "Frame 1 of 2 of the figure above"),
        ("05-demo-dark.png", "05-demo.png", "Frame 2 of 2 of the figure above"),
        ("05-plain-dark.png", "05-plain.png", "Nothing"),
    ]
