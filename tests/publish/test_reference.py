"""The reference: each public name has its entry and its docstring, no link is dead, and no word is lost on the way."""

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from bs4 import BeautifulSoup

import lpsgld
from lpsgld.__main__ import main
from lpsgld.publish import build_book, build_reference, reference
from tests.publish.made_up import write_book_sources

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference on its own."""
    return build_reference(tmp_path_factory.mktemp("made") / "reference").parent


@cache
def pages(folder: Path) -> dict[str, BeautifulSoup]:
    return {path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in folder.glob("*.html")}


def dead_links(folder: Path) -> set[tuple[str, str]]:
    """Each link within the folder that leads nowhere, with the page that it is on."""
    found = pages(folder)
    return {
        (name, link["href"])
        for name, page in found.items()
        for link in page.find_all("a", href=lambda href: not href.startswith("https:"))
        for file, fragment in [urldefrag(unquote(link["href"]))]
        if (file or name) not in found or (fragment and not found[file or name].find(id=fragment))
    }


def public(module: str) -> set[str]:
    """Functions and classes that a module says are its own, or that it defines under a public name."""
    held = vars(import_module(module))
    named = held.get("__all__") or [name for name, one in held.items() if getattr(one, "__module__", "") == module]
    things = {name: getattr(import_module(module), name) for name in named if not name.startswith("_")}
    return {name for name, thing in things.items() if inspect.isfunction(thing) or inspect.isclass(thing)}


@pytest.mark.parametrize("module", reference.MODULES)
def test_every_public_name_has_an_entry_with_a_docstring(folder, module):
    page = pages(folder)[f"{module}.html"]
    listed = reference.entries(module)
    assert public(module) <= {entry.key for entry in listed}
    for entry in (each for top in listed for each in (top, *top.parts)):
        assert entry.docstring, f"{module}.{entry.key} has no docstring"
        section = page.find(id=entry.key).parent
        assert section.find("pre") and re.search(r"\w", section.get_text())


def test_the_packages_own_names_are_all_there(folder):
    assert {entry.key for entry in reference.entries("lpsgld")} == set(lpsgld.__all__)
    call = pages(folder)["lpsgld.html"].find(id="SGLD").parent.pre.get_text()
    assert call.startswith("class SGLD(\n    params,\n") and "\n    accumulator: Literal['full', 'naive'," in call


@pytest.mark.parametrize("module", reference.MODULES)
def test_no_word_is_lost_on_the_way_to_html(folder, module):
    """Markdown might take a star, brackets and angles for its own."""

    def bare(text: str) -> str:
        return re.sub(r"[\s`]|\*\*", "", text)

    shown = bare(pages(folder)[f"{module}.html"].main.get_text())
    for entry in (each for top in reference.entries(module) for each in (top, *top.parts)):
        for paragraph in entry.docstring.split("\n\n"):
            assert bare(paragraph) in shown, f"{module}.{entry.key}: {paragraph}"


def test_no_link_is_dead_and_names_in_the_text_are_links(folder):
    assert not dead_links(folder)
    sgld = pages(folder)["lpsgld.html"].find(id="SGLD").parent
    leads = {link.get_text(): link["href"] for link in sgld.find_all("a")}
    assert leads["accumulators.accumulate"] == "lpsgld.samplers.accumulators.html#accumulate"
    assert leads["raise_if_nonfinite"] == "lpsgld.html#SGLD.raise_if_nonfinite"


def test_a_dead_link_would_be_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html">b</a><a href="#x">x</a><a href="a.html#y">y</a><p id="y">')
    assert dead_links(tmp_path) == {("a.html", "b.html"), ("a.html", "#x")}


def test_what_the_readme_imports_is_in_the_reference():
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    told = {f"{module}.{entry.key}" for module in reference.MODULES for entry in reference.entries(module)}
    imported = {
        f"{node.module}.{alias.name}"
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert len(imported) > 8 and imported <= told | set(reference.MODULES)


def test_the_book_holds_the_reference(tmp_path):
    write_book_sources(tmp_path)
    book = tmp_path / "book"
    build_book(["01_one", "02_two"], tmp_path / "runs" / "laptop", book, tmp_path / "notebooks")
    assert pages(book)["index.html"].main.find("a", href="reference.html")
    assert not {link for link in dead_links(book) if not link[0].startswith("0")}


def test_the_command_makes_it_alone_and_leaves_other_folders_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reference"]) == 0
    assert "open reference/index.html" in capsys.readouterr().out and (tmp_path / "reference" / "lpsgld.html").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main(["reference", "--out", "mine"]) == 2
    assert "mine is there already and is not a book" in capsys.readouterr().err
