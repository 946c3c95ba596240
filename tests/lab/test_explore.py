import base64

import pytest

from lpsgld import lab
from lpsgld.lab import style
from lpsgld.lab.sliders import recording
from lpsgld.lab.views import start_here
from tests.lab import demo

WIDGET = "application/vnd.jupyter.widget-view+json"


def test_live_is_one_bundle_of_widget_and_picture(shown):
    lab.explore(demo.view(), alpha=1e-2)
    ((data, metadata),) = shown
    assert set(data) == {WIDGET, "image/png", "text/plain"}
    picture = style.png(demo.view().build(**demo.view().parameters(alpha=1e-2))[0])
    assert base64.b64decode(data["image/png"]) == picture
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert data["text/plain"].startswith("A made-up law: step size α = 0.01, fractional bits F = 3,")
    assert (metadata["image/png"]["width"], metadata["image/png"]["height"]) == (960, 540)


def test_static_shows_each_setting_with_its_caption_and_no_widget(shown):
    lab.explore(demo.view(), live=False)
    assert len(shown) == 4  # a picture and a caption, twice
    assert not any(WIDGET in data for data, _ in shown)
    pictures = [data for data, _ in shown if "image/png" in data]
    assert len({data["image/png"] for data in pictures}) == 2
    captions = [data["text/html"] for data, _ in shown if "text/html" in data]
    assert "step size α = 0.01," in captions[0] and "std = 1.306" in captions[0]
    assert "step size α = 0.0001," in captions[1] and "std = 2.838" in captions[1]


def test_what_is_given_holds_in_every_static_setting(shown):
    lab.explore(demo.view(), live=False, alpha=1e-3, bits=2)
    assert len(shown) == 2  # both settings are now the same
    assert "step size α = 0.001, fractional bits F = 2" in shown[0][0]["text/plain"]


def test_a_view_without_static_settings_shows_its_defaults(shown):
    lab.explore(demo.view(static=()), live=False)
    assert len(shown) == 2


def test_live_and_seed_come_from_the_session(shown, tmp_path, monkeypatch):
    monkeypatch.setenv("LPSGLD_RUN_DIR", str(tmp_path))
    lab.start("00_demo", seed=11, live=False, smoke=True)
    lab.explore(demo.view(static=()))
    assert "seed = 11" in shown[0][0]["text/plain"] and WIDGET not in shown[0][0]
    shown.clear()
    lab.explore(demo.view(static=()), live=True, seed=12)
    assert "seed = 12" in shown[0][0]["text/plain"] and WIDGET in shown[0][0]


@pytest.mark.parametrize("live", [True, False])
def test_a_mistake_in_the_first_draw_raises_and_shows_nothing(shown, live):
    def broken(artists, alpha, bits, corrected, seed):
        raise RuntimeError("a mistake in the view")

    with pytest.raises(RuntimeError, match="a mistake in the view"):
        lab.explore(demo.view(update=broken), live=live)
    assert shown == []


def test_a_run_that_records_keeps_all_positions_of_a_view_that_a_notebook_makes(shown, monkeypatch):
    monkeypatch.setenv("LPSGLD_RECORD", "1")
    made = start_here.View("made", "Made", start_here.build_story, start_here.update_story,
                           (lab.Control("alpha", "step size α", (1e-4, 5e-3), 5e-3),))  # fmt: skip
    lab.explore(made, live=False)
    content, frames = recording.unpack(base64.b64decode(shown[0][0][recording.MIME]))
    assert len(frames) == 2 and content["start"] == [1]
    assert frames == list(recording.frames(made))
    shown.clear()
    lab.explore(start_here.story, live=False)  # imported: recorded without a notebook
    lab.explore(made, live=False, alpha=1e-4)
    monkeypatch.delenv("LPSGLD_RECORD")
    lab.explore(made, live=False)
    assert len(shown) == 8 and not any(recording.MIME in data for data, _ in shown)


def test_outside_a_notebook_the_text_is_printed(capsys):
    lab.explore(demo.view(static=()), live=False)
    assert "A made-up law: step size α = 0.001" in capsys.readouterr().out
