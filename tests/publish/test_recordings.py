"""Recorded views: what is packed is what Python draws, and what is kept is drawn again only when it must be."""

import importlib
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lpsgld.batch import BatchError
from lpsgld.lab import style
from lpsgld.lab.sliders import recording
from lpsgld.lab.views import start_here
from lpsgld.publish import Recordings, players, recordings
from tests.lab import demo

STORY = "lpsgld.lab.views.start_here.story"


def drawn(view, theme: str, **parameters) -> str:
    """What is inside the `<svg>` element of a new figure of these settings."""
    with style.use(theme):
        svg = style.saved(view.figure(**parameters), format="svg", metadata={"Date": None}).decode()
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index(">", svg.index("<svg ")) + 1 : -7], flags=re.S)


def without_ghosts(svg: str) -> str:
    return re.sub(r'\s*<g id="pinned-\d+".*?</g>', "", svg, flags=re.S)


def lines(svg: str) -> list[str]:
    return [line.strip() for line in svg.splitlines() if line.strip()]


# ---- one view --------------------------------------------------------------------------------------------------------


def test_what_comes_out_is_what_was_drawn_frame_by_frame():
    frames = list(recording.frames(start_here.story))
    content, again = recording.unpack(recording.pack(start_here.story, iter(frames)))
    assert again == frames and len(frames) == 7
    assert content["controls"] == [
        {
            "label": "step size α",
            "kind": "slider",
            "texts": ["5e-05", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005"],
        }
    ]
    for frame, parameters in zip(frames, recording.settings(start_here.story), strict=True):
        dark = re.sub(r"light-dark\((#\w{6}), (#\w{6})\)", r"\2", frame.svg)
        assert lines(without_ghosts(dark)) == lines(drawn(start_here.story, "dark", **parameters))
        assert frame.svg.count('class="pinned"') == 3
        assert frame.numbers == start_here.story.update(start_here.story.build(**parameters)[1], **parameters)


def test_the_same_view_gives_the_same_bytes():
    first, second = (recording.pack(start_here.story, recording.frames(start_here.story)) for _ in range(2))
    assert first == second


def test_every_colour_of_the_dark_theme_becomes_one_of_both():
    svg = next(recording.frames(start_here.story)).svg
    both = set(re.findall(r"light-dark\((#\w{6}), (#\w{6})\)", svg))
    assert {("#000000", "#ffffff"), ("#0072b2", "#56b4e9"), ("#ffffff", "#16181d")} <= both
    left = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"light-dark\([^)]*\)", "", svg)))
    assert left == {"#d55e00", "#009e73"}, "which are the same in both themes"


def test_settings_run_through_the_controls_with_the_seed_outside():
    view = demo.view()
    found = list(recording.settings(view))
    assert len(found) == 3 * 4 * 2 * 2, "two seeds make fifty pictures at most"
    assert found[0] == {"alpha": 1e-4, "bits": 1, "corrected": True, "seed": 0}
    assert found[1]["corrected"] is False and found[24]["seed"] == 1
    many = demo.view(
        controls=(*view.controls[:1], demo.lab.Control("bits", "F", tuple(range(1, 90)), 3), view.controls[2])
    )
    assert recording.seeds(many) == [{"seed": 0}]


# ---- the folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A package with a view that imports a helper, and a module beside it that it does not import."""
    package = tmp_path / "made_up_views"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("")
    (package / "helper.py").write_text("def height(x):\n    return 2 * x\n")
    (package / "one.py").write_text(
        "from lpsgld import lab\n"
        "def build(x):\n"
        "    from made_up_views import helper\n"
        "    figure, ax = lab.new_figure()\n"
        "    return figure, {'line': ax.plot([0, 1], [0, helper.height(x)])[0]}\n"
        "def update(artists, x):\n"
        "    artists['line'].set_ydata([0, 2 * x])\n"
        "view = lab.View('one', 'One', build, update, (lab.Control('x', 'x', (1, 2), 1),))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in ("made_up_views.one", "made_up_views.helper", "made_up_views"):
        importlib.sys.modules.pop(name, None)
    recordings.digest.cache_clear()


def test_a_view_is_recorded_once_and_again_when_what_it_imports_has_changed(made_up, tmp_path):
    folder = Recordings(tmp_path / "views")
    (first,) = folder.make(["made_up_views.one.view"], processes=1)
    assert first.seconds > 0 and first.pictures == 2
    for change in (made_up / "other.py", None):
        if change:
            change.write_text("changed = True\n")
        recordings.digest.cache_clear()
        (again,) = folder.make(["made_up_views.one.view"], processes=1)
        assert again.seconds is None and again.size == first.size
    old = folder.path("made_up_views.one.view")
    (made_up / "helper.py").write_text("def height(x):\n    return 3 * x\n")
    recordings.digest.cache_clear()
    (new,) = folder.make(["made_up_views.one.view"], processes=1)
    assert new.seconds > 0 and not old.exists()
    assert [path.name for path in folder.folder.iterdir()] == [folder.path("made_up_views.one.view").name]


def test_a_recording_depends_on_the_style_and_on_the_views_it_is_built_from():
    found = recordings.sources("lpsgld.lab.views.start_here", "lpsgld.lab.sliders.recording")
    assert {"lpsgld.lab.views.variance_correction", "lpsgld.lab.style", "lpsgld.toy.exact", "lpsgld.rounding"} <= set(
        found
    )
    assert "lpsgld.lab.views.theory" not in found and "lpsgld.batch" not in found


def test_a_view_that_cannot_be_drawn_is_named(made_up, tmp_path):
    (made_up / "helper.py").write_text("def height(x):\n    raise ZeroDivisionError('no height')\n")
    with pytest.raises(
        BatchError, match="view made_up_views.one.view cannot be recorded: ZeroDivisionError: no height"
    ):
        Recordings(tmp_path / "views").make(["made_up_views.one.view"], processes=1)
    with pytest.raises(BatchError, match="not recorded: run `lpsgld record`"):
        Recordings(tmp_path / "views").load("made_up_views.one.view")


@pytest.mark.slow
def test_two_processes_record_the_same_as_one(tmp_path):
    names = [STORY, "lpsgld.lab.views.langevin.bias"]
    Recordings(tmp_path / "one").make(names, processes=1)
    recorded = Recordings(tmp_path / "two").make(names, processes=2)
    assert [Recordings(tmp_path / each).load(STORY) for each in ("one", "two")] == [
        Recordings(tmp_path / "one").load(STORY)
    ] * 2
    assert re.search(r"start_here.story +7 +[\d.]+ +\d+\n", recordings.report(recorded))


# ---- where views are -------------------------------------------------------------------------------------------------

CELLS = (
    new_markdown_cell("# lab.explore(views.story)"),
    new_code_cell("from lpsgld.lab.views import start_here as views, theory\nfrom lpsgld import lab"),
    new_code_cell("%matplotlib inline\nlab.explore(views.story)"),
    new_code_cell("lab.explore(views.story)\nlab.save_figure(views.story, '00-story')"),
    new_code_cell("lab.explore(theory.bounds)\nlab.save_figure(theory.bounds, '00-bounds', params={'alpha': 0.1})"),
    new_code_cell(
        "mine = views.story\nlab.explore(mine)\nlab.explore(views.strip)\nlab.explore(views.story, live=False)"
    ),
)


def test_views_are_found_where_they_are_explored_or_saved_just_as_they_are_imported():
    content = new_notebook(cells=list(CELLS))
    assert players.explored(content) == {3: STORY, 4: "lpsgld.lab.views.theory.bounds"}
    assert players.saved(content) == {"00-story": STORY}


def test_the_notebooks_of_the_course_explore_views_that_can_be_recorded():
    from lpsgld.batch import notebook

    directory = notebook.find_directory()
    names = players.of_notebooks(directory, notebook.names(directory))
    sources = "\n".join(path.read_text("utf-8") for path in directory.glob("*.ipynb"))
    assert len(names) == len(re.findall(r'"lab\.explore\(views\.\w+\)', sources)) > 25
    assert STORY in names and nbformat


def test_a_view_that_needs_what_a_notebook_computes_is_found_in_the_executed_notebook(tmp_path):
    held = new_output("display_data", {"image/png": "", recording.MIME: "cGFja2Vk"})
    content = new_notebook(cells=[*CELLS, new_code_cell("lab.explore(mine)", outputs=[held])])
    assert players.packed(content, Recordings(tmp_path)) == {6: b"packed"}, "and nothing of those not recorded"


def test_a_figure_of_a_view_of_the_notebooks_own_moves_with_what_the_executed_notebook_holds():
    shown = new_output("display_data", {"image/png": "", recording.MIME: "cGFja2Vk"})
    cells = [
        *CELLS,
        new_code_cell("lab.explore(mine)", outputs=[shown]),
        new_code_cell("lab.save_figure(mine, '09-mine', origin=about)\nlab.save_figure(yours, '09-yours')"),
        new_code_cell("lab.explore(yours)"),
    ]
    assert players.held(new_notebook(cells=cells)) == {"09-mine": b"packed"}
    soup = BeautifulSoup('<div id="one"></div><div id="other"></div>', "html.parser")
    moving = players.Moving({}, own={"09-mine": b"packed"})
    moving.mount(soup.find(id="one"), "09-mine")
    moving.mount(soup.find(id="other"), "09-yours")
    assert soup.find(id="one").script.string == "cGFja2Vk" and not soup.find(id="other").script


def test_a_player_keeps_its_stills_and_begins_where_it_is_told():
    soup = BeautifulSoup('<div class="frame"><img alt="still"></div>', "html.parser")
    players.mount(soup.div, b"packed", slide=True)
    assert soup.div["class"] == ["frame", "player"] and soup.div["data-start"] == "slide"
    assert soup.img and soup.script.string == "cGFja2Vk"
