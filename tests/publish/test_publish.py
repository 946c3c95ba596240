"""The book and the deck as files: what is taken, what is refused, and where formulas, links and pictures lead.

How they look and behave in a browser is tested in tests/browser/test_publish.py.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_output
from PIL import Image

from lpsgld.__main__ import main
from lpsgld.batch import BatchError
from lpsgld.bnn.judging import published, records
from lpsgld.files import FileError
from lpsgld.lab import style
from lpsgld.publish import build_book, build_deck, deck, obstacles, prose
from tests.publish.made_up import write_book_sources, write_figure

ROOT = Path(__file__).parents[2]


# ---- formulas --------------------------------------------------------------------------------------------------------


def test_every_formula_of_the_notebooks_and_slides_becomes_mathml():
    """Formulas are what JupyterLab takes for one; none is left as TeX, and none is not understood."""
    texts = [(ROOT / "notebooks" / "slides.md").read_text(encoding="utf-8")]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    formulas = 0
    for text in texts:
        soup = prose.to_soup(text)
        formulas += len(soup.find_all("math"))
        for verbatim in soup.find_all(["code", "pre"]):
            verbatim.extract()
        assert "$" not in soup.get_text()
    assert formulas > 300


def test_formulas_in_html_and_in_markdown_and_none_in_code():
    soup = prose.to_soup("<details><summary>S</summary>$a &lt; b$</details>\n\n$$c$$ and `$d$`")
    inline, display = soup.find_all("math")
    assert inline.get_text() == "a<b" and inline.find_parent("details")
    assert display["display"] == "block"
    assert soup.code.get_text() == "$d$"


def test_a_formula_that_is_not_tex_is_named():
    with pytest.raises(BatchError, match=r"\\unknown"):
        prose.to_soup(r"$\unknown{x}$")


# ---- the book --------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with two notebooks, their executed copies in runs/laptop and one figure in two themes."""
    write_book_sources(tmp_path)
    return tmp_path


def build(checkout: Path, names=("01_one", "02_two")) -> Path:
    return build_book(names, checkout / "runs" / "laptop", checkout / "book", checkout / "notebooks").parent


def page(book: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((book / f"{name}.html").read_text(encoding="utf-8"), "html.parser")


def test_links_to_notebooks_lead_to_pages_and_others_into_nothing_local(checkout):
    first = page(build(checkout), "01_one")
    text = first.article
    assert [unquote(a["href"]) for a in text.find_all("a") if "anchor-link" not in a.get("class", [])] == [
        "02_two.html",  # a link in the text
        "02_two.html#1-·-A-section",  # one to a section
        "https://example.org/",
        "02_two.html",  # the name in the last line
    ]
    assert first.find("a", rel="next")["href"] == "02_two.html"
    assert first.find("a", rel="prev")["href"] == "index.html"


def test_a_partial_book_has_no_link_to_what_it_lacks(checkout):
    book = build(checkout, ["01_one"])
    assert not re.search(r'href="02_two', (book / "01_one.html").read_text(encoding="utf-8"))
    assert not (book / "02_two.html").exists()


def test_a_saved_figure_has_both_themes_and_a_sliders_picture_a_card(checkout):
    book = build(checkout)
    light, dark, slider = page(book, "01_one").article.find_all("img")
    assert (light["class"], dark["class"], slider["class"]) == (["light"], ["dark"], ["card"])
    assert light["src"] == "pictures/01-figure.webp" and dark["src"] == "pictures/01-figure-dark.webp"
    assert light["alt"] == dark["alt"] == "What the figure shows" and slider["alt"] == "What the slider shows"
    figures = checkout / "figures"
    with Image.open(book / dark["src"]) as shown, Image.open(figures / "01-figure-dark.png") as saved:
        assert shown.convert("RGB").tobytes() == saved.convert("RGB").tobytes(), "the same pixels"


def test_a_badge_from_the_network_is_only_its_text(checkout):
    assert "badge" in page(build(checkout), "02_two").article.get_text()


def test_the_index_names_every_page_with_question_minutes_and_claims(checkout):
    index = page(build(checkout), "index")
    first = index.select(".chapters li")[0]
    assert first.a["href"] == "01_one.html" and first.a.get_text() == "01 · One"
    assert "What is one?" in first.get_text() and "7 minutes · 2 numbers checked" in first.get_text()


def test_a_run_at_small_sizes_is_said_to_be_one(checkout):
    assert not page(build(checkout), "01_one").select(".note")
    path = checkout / "runs" / "laptop" / "01_one.ipynb"
    content = nbformat.read(path, as_version=4)
    content.metadata["papermill"] = {"parameters": {"smoke": True}}
    nbformat.write(content, path)
    assert "small sizes" in page(build(checkout), "01_one").select_one(".note").get_text()


def test_what_stands_in_the_way_of_a_book_is_named(checkout):
    run, notebooks = checkout / "runs" / "laptop", checkout / "notebooks"
    names = ["01_one", "02_two"]
    assert obstacles(names, run, notebooks) == {}
    content = nbformat.read(notebooks / "02_two.ipynb", as_version=4)
    content.cells[-1].source += " Changed."
    nbformat.write(content, notebooks / "02_two.ipynb")
    (run / "01_one.ipynb").rename(run / "01_one.failed.ipynb")
    assert obstacles(names, run, notebooks) == {"01_one": "failed", "02_two": "has changed since"}
    (run / "01_one.failed.ipynb").unlink()
    with pytest.raises(BatchError, match=r"01_one is not there; 02_two has changed since.*lpsgld run 01 02 "):
        build(checkout)
    assert not (checkout / "book").exists()


def test_a_picture_without_alternative_text_is_refused(checkout):
    path = checkout / "runs" / "laptop" / "02_two.ipynb"
    content = nbformat.read(path, as_version=4)
    png = base64.b64encode((checkout / "figures" / "01-figure-dark.png").read_bytes()).decode()
    content.cells[1].outputs.append(new_output("display_data", {"image/png": png}))
    nbformat.write(content, path)
    with pytest.raises(BatchError, match="notebook 02_two: the picture .* has no alternative text"):
        build(checkout)


def test_a_folder_that_is_not_a_book_is_left_alone(checkout):
    (checkout / "book").mkdir()
    (checkout / "book" / "thesis.tex").write_text("mine")
    with pytest.raises(BatchError, match="is there already and is not a book"):
        build(checkout)
    assert [path.name for path in (checkout / "book").iterdir()] == ["thesis.tex"]


def test_a_second_book_replaces_the_first_and_is_the_same(checkout):
    def content():
        return {path.relative_to(book): path.read_bytes() for path in book.rglob("*") if path.is_file()}

    book = build(checkout)
    first = content()
    (book / "stale.html").write_text("from an older book")
    assert build(checkout) == book and content() == first
    assert not list(checkout.glob(".*"))


def test_books_that_are_made_at_once_leave_a_whole_one(checkout, monkeypatch):
    """While one is about to take its place, another process takes it, ten times and for good."""
    book = build(checkout)
    (book / "mark").touch()
    replace, others = Path.replace, []

    def slow(path: Path, target: Path) -> Path:
        if path.name == "book" and target == book and len(others) < 9:
            others.append(shutil.copytree(path, book))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", slow)
    assert build(checkout) == book and len(others) == 9 and not (book / "mark").exists()
    assert (book / "index.html").is_file() and not list(checkout.glob(".*"))
    others = []
    monkeypatch.setattr(Path, "replace", lambda path, target: others.append(path) or path.rename("/nowhere/at/all"))
    with pytest.raises(FileError, match="cannot put the book into .*book: No such file.*another folder with --out"):
        build(checkout)
    assert (book / "index.html").is_file() and not list(checkout.glob(".*"))


def test_a_book_that_was_killed_leaves_nothing_to_the_next(checkout):
    code = "import os, sys\nfrom pathlib import Path\nfrom lpsgld.publish import book\n"
    code += "book._place = lambda *_: os.kill(os.getpid(), 9)\nrun, out, notebooks = map(Path, sys.argv[1:])\n"
    code += "book.build_book(['01_one'], run, out, notebooks)"
    folders = [str(checkout / name) for name in ("runs/laptop", "book", "notebooks")]
    assert subprocess.run([sys.executable, "-c", code, *folders]).returncode == -9
    assert len(list(checkout.glob(".*"))) == 1
    build(checkout)
    assert not list(checkout.glob(".*"))


@pytest.mark.parametrize("content", [b"", b"---\n", b"<!-- only -->", bytes(range(256)), "# \xe9".encode("latin-1")])
def test_what_holds_no_slides_is_told(checkout, content, capsys, monkeypatch):
    monkeypatch.chdir(checkout)
    (checkout / "notebooks" / "slides.md").write_bytes(content)
    assert main(["slides"]) == 2
    error = capsys.readouterr().err
    assert "slides.md" in error and error.count("\n") == 1


def test_a_row_without_a_title_is_told_by_all_who_read_it(checkout, capsys, monkeypatch):
    monkeypatch.chdir(checkout)
    manifest = checkout / "figures" / "manifest.json"
    rows = json.loads(manifest.read_text())["figures"]
    del rows["01-figure"]["title"]
    manifest.write_text(json.dumps({"figures": rows}))
    (checkout / "notebooks" / "slides.md").write_text(SLIDE)
    for command in (["book"], ["slides"], ["figures", "--list"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "figure '01-figure' has no title" in error and error.count("\n") == 1


def test_a_name_that_no_disk_takes_and_home_are_understood(checkout, capsys, monkeypatch):
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("HOME", str(checkout / "home"))
    for arguments in (["book", "--out", "x" * 300], ["book", "--from", "x" * 300], ["slides", "--source", "x" * 300]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("lpsgld: ") and error.count("\n") == 1
    assert main(["book", "--out=~/mine"]) == 0
    assert (checkout / "home" / "mine" / "index.html").is_file()


def test_the_commands_say_what_to_open_and_what_is_wrong(checkout, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    (checkout / "pyproject.toml").write_text('[project]\nname = "lpsgld"\n')
    assert main(["book", "01", "--out", "mine"]) == 0
    assert "open mine/index.html" in capsys.readouterr().out
    assert main(["book", "--from", "runs/nowhere"]) == 2
    assert "01_one is not there" in capsys.readouterr().err
    assert main(["slides"]) == 2
    assert "--source" in capsys.readouterr().err


# ---- the deck --------------------------------------------------------------------------------------------------------

SLIDE = "# One message\n\n![](01-figure)\n\nNote:\nWhat to say.\n"


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    write_figure(tmp_path / "figures", "01-figure", frames=3)
    return tmp_path / "figures"


def make(figures: Path, text: str) -> BeautifulSoup:
    source = figures.parent / "slides.md"
    source.write_text(text, encoding="utf-8")
    return BeautifulSoup(build_deck(source, figures, figures.parent / "slides.html").read_text(), "html.parser")


def test_a_figure_brings_caption_text_frames_and_both_themes(figures):
    made = make(figures, SLIDE)
    assert made.title.get_text() == "One message" and made.h2.get_text() == "One message"
    assert made.figcaption.get_text() == "The caption." and "What to say." in made.aside.get_text()
    alts = [frame.img["alt"] for frame in made.select(".frame")]
    assert alts == ["The title, step 1 of 3", "The title, step 2 of 3", "What the figure shows"]
    assert {img["class"][0] for img in made.select(".frame img")} == {"light", "dark"}
    assert len({img["src"] for img in made.find_all("img")}) == 6


def test_a_slide_knows_its_minutes(figures):
    made = make(figures, SLIDE.replace("What to say.", "What to say. *(2 minutes)*") + "---\n# Two\n\nNote:\nSay it.\n")
    assert [slide["data-minutes"] for slide in made.select(".slide")] == ["2.0", "0"]


@pytest.mark.parametrize(("title", "top"), [("A title with deep letters: gj", None), (None, 0.93), (None, 0.9)])
def test_a_figures_own_title_is_cut_off_and_nothing_else(tmp_path, title, top):
    """Some figures have none, and begin at the top."""
    figure, axes = style.new_figure(1, 2, title=title, **({"top": top} if top else {}))
    for ax in axes:
        ax.set_title("What these axes show: gj")
    (tmp_path / "figure.png").write_bytes(style.png(figure, style.SLIDE_DPI))
    assert deck._title(tmp_path / "figure.png") == (deck.TITLE if title else 0)


def test_of_the_talks_figures_those_with_a_title_lose_it(talk):
    named = [identifier for slide in talk for identifier in re.findall(r"!\[\]\(([^ )]+)", slide)]
    whole = [identifier for identifier in named if not deck._title(ROOT / "figures" / f"{identifier}.png")]
    assert whole == ["05-figure-1"]


def test_a_figure_can_be_shown_whole(figures):
    assert len(make(figures, SLIDE.replace("(01-figure)", '(01-figure "whole")')).select(".frame")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SLIDE.replace("01-figure", "01-figur"), r"slide 1 \(One .*'01-figur': .*Did you mean .01-figure"),
        (SLIDE.replace("# One", "One"), "slide 1 .*no title"),
        (SLIDE + "---\n# Two\n\nText\n", r"slide 2 \(Two\): it has no notes"),
        (SLIDE.replace("Note:", "![](01-figure)\n\nNote:"), "two figures"),
        (SLIDE.replace("What", r"$\unknown$"), "not understood"),
        (SLIDE.replace("![](01-figure)", "<img>"), "there is no figure ''"),
    ],
)
def test_mistakes_in_slides_name_the_slide_and_leave_the_old_deck(figures, text, message):
    make(figures, SLIDE)
    with pytest.raises(BatchError, match=message):
        make(figures, text)
    assert "One message" in (figures.parent / "slides.html").read_text()


def test_a_comment_before_the_first_slide_is_left_out():
    assert deck.split("<!-- a\n---\nb -->\n# One\n---\n\n# Two\n") == ["# One", "# Two"]


# ---- the talk --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talk() -> list[str]:
    return deck.split((ROOT / "notebooks" / "slides.md").read_text(encoding="utf-8"))


def test_the_talk_has_twenty_slides_of_the_thirty_minutes_that_it_promises(talk):
    """And nobody is to speak faster than 150 words a minute."""
    assert len(talk) == 20
    minutes = [int(re.search(r"\*\((\d) minutes?\)\*", slide)[1]) for slide in talk]
    assert sum(minutes) == 30
    words = [len(slide.partition("Note:")[2].split()) for slide in talk]
    assert max(said / time for said, time in zip(words, minutes, strict=True)) <= 150


def test_every_figure_of_the_talk_is_saved_by_a_notebook(talk):
    sources = {path.name[:2]: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    named = [identifier for slide in talk for identifier in re.findall(r"!\[\]\(([^ )]+)", slide)]
    assert len(named) >= 8
    there = [identifier for identifier in named if identifier[:2] in sources]
    assert len(there) >= 7
    assert not [identifier for identifier in there if f'\\"{identifier}\\"' not in sources[identifier[:2]]]


def test_every_decimal_number_of_the_talk_is_in_a_notebook_recorded_or_published(talk):
    """As it stands there, or rounded from there: 2.66 from the claim of 2.6559."""
    known = set(re.findall(r"\d+\.\d+", json.dumps([str(row) for row in published.PUBLISHED])))
    for record in records.read_all(ROOT / "notebooks" / "recorded").values():
        known.add(f"{100 * record.scores['ensemble']['error']:.2f}")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            known |= set(re.findall(r"\d+\.\d+", cell.source))
    text = re.sub(r"arXiv \d+\.\d+", "", "\n".join(talk))

    def found(number: str) -> bool:
        places = len(number.partition(".")[2])
        return any(f"{float(value):.{places}f}" == number for value in known if len(value) >= len(number))

    numbers = set(re.findall(r"\d+\.\d+", text))
    assert len(numbers) > 15
    assert not [number for number in sorted(numbers) if not found(number) and float(number) not in map(float, known)]
