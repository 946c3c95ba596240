"""What a cell has shown lives until the cell is run again, and no longer."""

import gc
import weakref
from types import SimpleNamespace

import ipywidgets as widgets
import pytest
from ipywidgets.widgets.widget import _instances as registry

from lpsgld import lab
from lpsgld.lab import output
from lpsgld.lab.views import start_here
from tests.lab import demo


class Notebook:
    """A front end that runs cells, and keeps what they display."""

    def __init__(self) -> None:
        self.runs = 0
        self.parent_header = {}

    def run(self, show, cell=None, code="") -> None:
        self.runs += 1
        header, metadata = {"msg_id": f"run {self.runs}"}, {"cellId": cell} if cell else {}
        self.parent_header = {"header": header, "metadata": metadata, "content": {"code": code}}
        show()


@pytest.fixture
def notebook(monkeypatch) -> Notebook:
    monkeypatch.setattr(output, "_living", {})
    monkeypatch.setattr(output, "display", lambda *_, **__: None)
    shell = Notebook()
    monkeypatch.setattr(output, "get_ipython", lambda: shell)
    return shell


@pytest.fixture
def panels(monkeypatch) -> list[weakref.ref]:
    """All panels that are made."""
    made: list[weakref.ref] = []
    original = lab.Panel.__init__

    def remember(panel, *arguments, **given):
        made.append(weakref.ref(panel))
        original(panel, *arguments, **given)

    monkeypatch.setattr(lab.Panel, "__init__", remember)
    return made


def living(panels) -> list[bool]:
    gc.collect()
    return [panel() is not None for panel in panels]


def explore() -> None:
    lab.explore(demo.view())


@pytest.mark.parametrize("ghosts", [("vc",), ()], ids=["all buttons", "no Pin"])
def test_a_cell_that_is_run_again_drops_its_panel_its_widgets_and_its_figure(notebook, panels, ghosts):
    def explore() -> None:
        lab.explore(demo.view(ghosts=ghosts))

    before = len(registry)
    notebook.run(explore, "a")
    one = len(registry) - before
    figure = weakref.ref(panels[0]().figure)
    for _ in range(5):
        notebook.run(explore, "a")
        assert len(registry) - before == one
    assert living(panels) == [False] * 5 + [True] and figure() is None


def test_two_cells_that_show_the_same_view_both_live(notebook, panels):
    notebook.run(explore, "a", code="same")
    notebook.run(explore, "b", code="same")
    notebook.run(explore, "b", code="same")
    assert living(panels) == [True, False, True]
    for panel in (panels[0](), panels[2]()):
        first = bytes(panel.image.value)
        panel.controls["bits"].value = 1
        assert bytes(panel.image.value) != first


def test_all_panels_of_one_run_live_and_go_together(notebook, panels):
    def three() -> None:
        for _ in range(3):
            explore()

    notebook.run(three, "a")
    assert living(panels) == [True] * 3
    notebook.run(explore, "a")
    assert living(panels) == [False] * 3 + [True]


def test_without_the_name_of_a_cell_its_source_stands_for_it_and_twins_live(notebook, panels):
    notebook.run(explore, code="other")
    for _ in range(10):
        notebook.run(explore, code="same")
    assert living(panels) == [True] + [False] * 6 + [True] * 4


def test_a_question_goes_with_its_cell_too(notebook):
    before = len(registry)
    sizes = []
    for _ in range(3):
        notebook.run(lambda: lab.predict("Which?", ["this", "that"], "this"), "a")
        sizes.append(len(registry) - before)
    assert sizes[0] == sizes[1] == sizes[2] > 0


def test_moved_and_pinned_panels_go_as_well(notebook, panels):
    def moved() -> None:
        explore()
        panel = panels[-1]()
        panel.pin_button.click()
        panel.controls["bits"].value = 1
        panel.seed_button.click()

    before = len(registry)
    for _ in range(3):
        notebook.run(moved, "a")
    notebook.run(lambda: lab.explore(start_here.story, live=False), "a")
    assert living(panels)[:2] == [False, False]
    notebook.run(lambda: output.show_widget(widgets.HTML(), {"text/plain": ""}), "a")
    assert len(registry) - before == 3, "an HTML, its layout and its style"


def test_what_stays_of_a_widget_is_hidden_until_its_kernel_has_ended(notebook, monkeypatch):
    displayed = []
    monkeypatch.setattr(output, "show", lambda data, metadata=None: displayed.append(data))
    notebook.run(explore, "a")
    notebook.run(lambda: lab.predict("Which?", ["<this>", "that"], "that"), "b")
    view, still, question, folded = displayed
    assert set(still) == set(folded) == {"text/html", "text/plain"}
    assert 'class="lpsgld-asleep" style="display: none"' in still["text/html"]
    assert f"data:image/png;base64,{view['image/png']}" in still["text/html"] and 'alt="A made-up' in still["text/html"]
    assert question["text/html"] in folded["text/html"]


def test_outside_a_notebook_nothing_stays(panels, capsys):
    before = len(registry)
    explore()
    lab.predict("Which?", ["this", "that"], "this")
    assert len(registry) == before and living(panels) == [False]
    assert "A made-up law" in capsys.readouterr().out


def test_what_runs_in_a_shell_without_messages_is_kept(notebook, monkeypatch, panels):
    """Such as IPython in a terminal."""
    monkeypatch.setattr(output, "get_ipython", SimpleNamespace)
    explore()
    assert living(panels) == [True]
