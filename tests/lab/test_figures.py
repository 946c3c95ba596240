import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpsgld import lab
from lpsgld.files import FileError
from lpsgld.lab import session, style
from lpsgld.lab.figures import saving
from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from tests.lab import demo

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {"alt": "Two curves; the naive one is wider.", "caption": "The naive law is too wide."}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LPSGLD_RUN_DIR", str(tmp_path))
    lab.start("05_demo", seed=4, smoke=True)
    return tmp_path / "figures"


def drawing(**settings):
    return lambda: demo.view().figure(**settings)


def test_writes_png_svg_manifest_and_index(folder, shown):
    lab.save_figure(drawing(), "05-demo", title="A demo", params={"alpha": np.float64(1e-3), "bits": (1, 2)}, **TEXTS)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "05-demo-dark.png",
        "05-demo-dark.svg",
        "05-demo.png",
        "05-demo.svg",
        "README.md",
        "manifest.json",
    ]
    for name, paper in (("05-demo.png", (255, 255, 255, 255)), ("05-demo-dark.png", (22, 24, 29, 255))):
        with Image.open(folder / name) as picture:
            assert picture.size == (1920, 1080) and picture.getpixel((0, 0)) == paper
            assert "CC BY 4.0" in picture.text["Copyright"]
    row = json.loads((folder / "manifest.json").read_text())["figures"]["05-demo"]
    assert row["parameters"] == {"alpha": 1e-3, "bits": [1, 2]}
    assert (row["seed"], row["notebook"], row["title"]) == (4, "05_demo", "A demo")
    assert set(row["versions"]) == {"python", "lpsgld", "matplotlib", "numpy", "torch"}
    assert row["alt"] == TEXTS["alt"] and row["caption"] == TEXTS["caption"]
    ((data, metadata),) = shown
    assert metadata["image/png"] == {"alt": TEXTS["alt"], "width": 960, "height": 540}
    assert b64decode(data["image/png"]) == (folder / "05-demo.png").read_bytes()


def test_the_same_figure_gives_the_same_bytes(folder, shown):
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    svg = first["05-demo.svg"].decode()
    assert "<dc:date>" not in svg
    assert "The naive one" not in svg and "the naive one is wider" in svg  # the alt text, as description
    lab.save_figure(drawing(seed=1), "05-demo", **TEXTS)
    assert (folder / "05-demo.png").read_bytes() != first["05-demo.png"]


def test_sliders_stay_light_while_figures_are_saved_dark(folder, shown):
    panel = lab.Panel(demo.view())
    before = panel.image.value
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    panel.draw()
    assert panel.image.value == before == style.png(demo.view().figure())
    assert style.color("target") == "#000000"


def test_notebooks_keep_each_others_rows(folder, shown):
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    lab.start("03_other", smoke=True)
    lab.save_figure(drawing(bits=2), "03-other", **TEXTS)
    lab.save_figure(drawing(bits=1), "03-other", **TEXTS)
    rows = saving.read_manifest(folder)
    assert list(rows) == ["03-other", "05-demo"]
    assert rows["05-demo"]["notebook"] == "05_demo"


def test_a_row_whose_picture_is_gone_is_dropped(folder, shown):
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    (folder / "05-demo.png").unlink()
    lab.save_figure(drawing(), "05-renamed", **TEXTS)
    assert list(saving.read_manifest(folder)) == ["05-renamed"]
    assert not list(folder.glob("05-demo*"))


def test_a_figure_in_frames_is_written_frame_by_frame_and_old_files_go(folder, shown):
    def staged(last: int):
        def draw():
            figure, artists = demo.view().build(**demo.view().parameters())
            reveal(2, artists["naive"])
            reveal(last, artists["vc"])
            return figure

        return draw

    lab.save_figure(staged(last=3), "05-demo", **TEXTS)
    names = ["05-demo-frame-1.png", "05-demo-frame-2.png", "05-demo.png"]
    row = saving.read_manifest(folder)["05-demo"]
    assert row["frames"] == names
    files = {path.name for path in folder.iterdir()} - {".lock", "README.md", "manifest.json"}
    dark = {name.replace(".png", "-dark.png") for name in names}
    assert files == set(row["files"]) == {*names, *dark, "05-demo.svg", "05-demo-dark.svg"}
    assert len({(folder / name).read_bytes() for name in files}) == len(files), "no two are the same"
    lab.save_figure(staged(last=2), "05-demo", **TEXTS)
    row = saving.read_manifest(folder)["05-demo"]
    assert row["frames"] == ["05-demo-frame-1.png", "05-demo.png"]
    assert {path.name for path in folder.iterdir()} - {".lock", "README.md", "manifest.json"} == set(row["files"])
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    assert "frames" not in saving.read_manifest(folder)["05-demo"]
    assert not list(folder.glob("*frame*"))


def test_before_start_it_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"lab.save_figure needs to know the notebook: call lab.start\("):
        lab.save_figure(drawing(), "05-demo", **TEXTS)


@pytest.mark.parametrize(
    "identifier", ["figure-1", "5-figure", "05-Figure", "05_figure", "05-", "../05-x", "05-a--b", "06-x"]
)
def test_a_bad_identifier(folder, identifier):
    with pytest.raises(ValueError, match="use the notebook's number and a name, as 05-law-1"):
        lab.save_figure(drawing(), identifier, **TEXTS)


@pytest.mark.parametrize("identifier", ["05-x-dark", "05-x-frame-12"])
def test_an_identifier_that_another_figure_s_files_could_have(folder, identifier):
    with pytest.raises(ValueError, match="choose another name, -dark and -frame-1 end file names"):
        lab.save_figure(drawing(), identifier, **TEXTS)


def test_texts_and_size_are_checked_before_anything_is_written(folder):
    with pytest.raises(ValueError, match="an alt text and a caption"):
        lab.save_figure(drawing(), "05-demo", alt=" ", caption="So it is.")

    def small():
        figure, _ = lab.new_figure()
        figure.set_size_inches(6, 4)
        return figure

    with pytest.raises(ValueError, match=r"is \(6.0, 4.0\) inches, a slide is \(12.8, 7.2\): use lab.new_figure"):
        lab.save_figure(small, "05-demo", **TEXTS)
    with pytest.raises(TypeError, match="figure parameter .* is a object"):
        lab.save_figure(drawing(), "05-demo", params={"model": object()}, **TEXTS)
    assert not folder.exists()


def test_what_does_not_draw_anew_in_each_theme_says_so(folder):
    one = demo.view().figure()
    with pytest.raises(TypeError, match=r"takes a function that draws, not a Figure.*: lab.save_figure\(lambda: view"):
        lab.save_figure(one, "05-demo", **TEXTS)
    with pytest.raises(TypeError, match="must return a Figure, not a NoneType"):
        lab.save_figure(lambda: None, "05-demo", **TEXTS)
    with pytest.raises(ValueError, match="05-demo was drawn outside: the function must draw a new one"):
        lab.save_figure(lambda: one, "05-demo", **TEXTS)
    assert not folder.exists()


def test_a_foreign_manifest_is_an_error_and_stays(folder, shown):
    folder.mkdir()
    (folder / "manifest.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="is not a manifest of figures .* restore it, or delete it"):
        lab.save_figure(drawing(), "05-demo", **TEXTS)
    assert (folder / "manifest.json").read_text() == "[1, 2"


GOOD = {
    "title": "Old",
    "caption": "It is old.",
    "alt": "Old",
    "notebook": "05_demo",
    "parameters": {},
    "seed": 0,
    "files": ["05-old.png"],
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"title": None}, "title of figure '05-old' is None, but must be text"),
        ({"seed": "0"}, "seed of figure '05-old' is '0', but must be a whole number"),
        ({"files": "05-old.png"}, "files of figure '05-old' is '05-old.png', but must be a list"),
        ({"files": ["notes.txt"]}, "figure '05-old' names the file 'notes.txt', which is not its own"),
        ({"files": ["../05-old.png"]}, "names the file '../05-old.png', which is not its own"),
        ({"frames": ["05-older.png"]}, "names the file '05-older.png', which is not its own"),
        ({"parameters": []}, r"parameters of figure '05-old' is \[\], but must be an object"),
    ],
)
def test_a_row_that_is_not_ours_is_an_error_and_nothing_is_written(folder, shown, changes, says):
    folder.mkdir()
    (folder / "notes.txt").write_text("a stranger's")
    text = json.dumps({"figures": {"05-old": GOOD | changes}})
    (folder / "manifest.json").write_text(text)
    with pytest.raises(saving.ManifestError, match=f"{says}.*: restore it, or delete it"):
        lab.save_figure(drawing(), "05-demo", **TEXTS)
    assert (folder / "manifest.json").read_text() == text
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "manifest.json", "notes.txt"]


@pytest.mark.parametrize("lacking", list(GOOD))
def test_a_row_that_lacks_something_is_an_error_for_who_needs_it(folder, shown, lacking):
    folder.mkdir()
    row = {name: value for name, value in GOOD.items() if name != lacking}
    (folder / "manifest.json").write_text(json.dumps({"figures": {"05-old": row}}))
    assert saving.read_manifest(folder) == {"05-old": row}
    with pytest.raises(saving.ManifestError, match=f"figure '05-old' has no {lacking}"):
        lab.save_figure(drawing(), "05-demo", **TEXTS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"figures": []}',
        b'{"figures": {"05-a": 1}}',
        b'{"figures": {}, "figures": {}}',
    ]
    + [b"[" * 100_000],
    ids=["empty", "binary", "list", "null", "list of figures", "number", "twice", "deep"],
)
def test_what_is_no_manifest_is_told_in_one_line(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(saving.ManifestError, match="is not a manifest of figures") as caught:
        saving.read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_cannot_be_read_is_told_and_one_in_utf_16_is_read(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(saving.ManifestError, match="is not a manifest of figures .*directory"):
        saving.read_manifest(tmp_path)
    (tmp_path / "manifest.json").rmdir()
    (tmp_path / "manifest.json").write_text(json.dumps({"figures": {"05-old": GOOD}}), encoding="utf-16")
    assert saving.read_manifest(tmp_path) == {"05-old": GOOD}


@pytest.mark.slow
def test_several_processes_save_into_one_folder_and_lose_nothing(folder):
    """Each saves figures of its own; they meet at the manifest."""
    code = """
import sys
from lpsgld import lab
from lpsgld.lab.figures import saving
from tests.lab import demo

lab.start("05_demo", smoke=True)
saving._files = lambda draw, identifier, title, alt: {f"{identifier}.png": b"a picture"}
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    lab.save_figure(demo.view().figure, f"05-{sys.argv[1]}-{number}", alt="A law", caption="A law.")
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT, **pipes) for name in "abc"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    expected = {f"05-{name}-{number}" for name in "abc" for number in range(25)}
    assert saving.read_manifest(folder).keys() == expected
    index = (folder / "README.md").read_text("utf-8")
    assert all(f"`{identifier}`" in index for identifier in expected)


def test_a_failed_write_leaves_the_old_file_and_no_half_one(folder, shown, monkeypatch):
    lab.save_figure(drawing(), "05-demo", **TEXTS)
    before = (folder / "05-demo.png").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(FileError, match="the disk of .* is full"):
        lab.save_figure(drawing(bits=1), "05-demo", **TEXTS)
    assert (folder / "05-demo.png").read_bytes() == before
    assert [path.name for path in folder.glob(".*")] == [".lock"]


def test_start_wants_the_name_of_the_notebook():
    with pytest.raises(ValueError, match="notebook 'demo': give the file's name without ending"):
        lab.start("demo")


def test_where_figures_go(tmp_path, monkeypatch):
    monkeypatch.delenv("LPSGLD_RUN_DIR", raising=False)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "lpsgld"\n')
    monkeypatch.chdir(tmp_path / "notebooks")
    lab.start("05_demo")
    assert session.current().figures == tmp_path / "figures"
    lab.start("05_demo", smoke=True)
    assert session.current().figures == tmp_path / "runs" / "smoke" / "figures"
    monkeypatch.setenv("LPSGLD_RUN_DIR", str(tmp_path / "runs" / "now"))
    lab.start("05_demo", smoke=True)
    assert session.current().figures == tmp_path / "runs" / "now" / "figures"
    lab.start("05_demo")
    assert session.current().figures == tmp_path / "figures"


def test_a_picture_may_know_what_it_says(folder, shown):
    """A view is drawn with the settings of its slide and the notebook's seed, a function with the data given."""
    view = demo.view(slide=Slide(**TEXTS, settings={"alpha": 1e-2}))
    lab.save_figure(view, "05-demo", params={"bits": 2})
    lab.save_figure(drawing(alpha=1e-2, bits=2, seed=4), "05-same", title=view.title, **TEXTS)
    assert (folder / "05-demo.png").read_bytes() == (folder / "05-same.png").read_bytes()
    row = saving.read_manifest(folder)["05-demo"]
    assert row["parameters"] == {"alpha": 1e-2, "bits": 2, "corrected": True}
    assert (row["title"], row["alt"], row["caption"]) == (view.title, TEXTS["alt"], TEXTS["caption"])

    @Slide("So it is.", "Nothing", "A plain one")
    def plain(bits):
        return demo.view().figure(bits=bits)

    lab.save_figure(plain, "05-plain", 3, caption="Here it is.")
    row = saving.read_manifest(folder)["05-plain"]
    assert (row["title"], row["alt"], row["caption"]) == ("A plain one", "Nothing", "Here it is.")


def test_a_picture_of_a_measurement_stays_unless_it_is_asked_for(folder, shown, monkeypatch):
    def measure(alpha: float, width: int = 8) -> bytes:
        lab.save_figure(drawing(alpha=alpha), "05-demo", params={"width": width}, measured=True, **TEXTS)
        assert shown[-1], "what was measured now is shown"
        return (folder / "05-demo.png").read_bytes()

    monkeypatch.delenv("LPSGLD_REDRAW", raising=False)
    first = measure(1e-3)
    assert measure(1e-2) == first
    other = measure(1e-2, width=16)
    assert other != first
    monkeypatch.setenv("LPSGLD_REDRAW", "1")
    assert measure(1e-3, width=16) == first


def test_texts_name_settings_and_where_the_data_come_from(folder, shown):
    view = demo.view(slide=Slide("{bits} bits on {dataset}.", "As drawn for {dataset}.", "On {dataset}"))
    lab.save_figure(view, "05-demo", params={"bits": 2}, origin={"dataset": "digits", "epochs": 3})
    row = saving.read_manifest(folder)["05-demo"]
    assert (row["title"], row["alt"], row["caption"]) == ("On digits", "As drawn for digits.", "2 bits on digits.")
    assert row["parameters"] == {"alpha": 1e-3, "bits": 2, "corrected": True, "dataset": "digits", "epochs": 3}
    with pytest.raises(ValueError, match="05-demo: its texts name 'dataset', but there are alpha, bits, corrected"):
        lab.save_figure(view, "05-demo")


def test_a_picture_that_a_slider_shows_is_not_shown_again(folder, shown, capsys):
    lab.explore(demo.view(), live=False)
    before = len(shown)
    lab.save_figure(demo.view(), "05-demo", **TEXTS)
    assert len(shown) == before and "figures/05-demo.png" in capsys.readouterr().out
    assert (folder / "05-demo.png").exists()
    lab.save_figure(drawing(), "05-other", **TEXTS)
    assert len(shown) == before + 1
