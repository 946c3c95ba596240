"""The reference: a page for each module whose names are public, made from their docstrings.

pdoc tells what a module holds, how its functions are called and what is said of them; the pages are the book's own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin

from markupsafe import Markup
from pdoc import doc
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

import lpsgld
from lpsgld.publish import prose
from lpsgld.publish.page import Page, render

MODULES = (
    "lpsgld",
    "lpsgld.formats",
    "lpsgld.samplers.sgld",
    "lpsgld.samplers.sghmc",
    "lpsgld.samplers.accumulators",
    "lpsgld.bnn.network.quantizing",
    "lpsgld.bnn.training.recipes",
    "lpsgld.bnn.training.loop",
    "lpsgld.bnn.data.arrays",
    "lpsgld.storage",
    "lpsgld.metrics",
    "lpsgld.diagnostics",
    "lpsgld.toy.targets",
    "lpsgld.toy.chains",
    "lpsgld.toy.momentum",
    "lpsgld.toy.exact",
    "lpsgld.toy.mixing",
    "lpsgld.toy.distances",
    "lpsgld.toy.theory",
    "lpsgld.toy.metropolis",
)


class Entry(NamedTuple):
    """A public name: `key` is its place in its module, `call` how it is called, `parts` the methods of a class."""

    key: str
    call: Markup
    docstring: str
    parts: tuple[Entry, ...] = ()


def entries(module: str) -> list[Entry]:
    """The public names of a module, in its order; of a class, also what it has from its bases in this package."""
    found = import_module(module)
    for name in getattr(found, "__all__", ()):
        getattr(found, name)  # `lpsgld` imports them when they are asked for
    return [_entry(member) for member in doc.Module(found).members.values() if _is_shown(member)]


def write(folder: Path, overview: str = "reference.html") -> None:
    """Write the pages into the folder of a book; `overview` is the file of the one that names all modules."""
    book = {module: entries(module) for module in MODULES}
    places = {module: f"{module}.html" for module in MODULES}
    for module, listed in book.items():
        for entry in (each for top in listed for each in (top, *top.parts)):
            places[f"{module}.{entry.key}"] = f"{module}.html#{entry.key}"
    pages = [_page(module, listed, places) for module, listed in book.items()]
    listed = list(zip(pages, book.values(), strict=True))
    body = render("reference.html.j2", module="", modules=listed)
    pages.insert(0, _as_page(overview, "Reference", body))
    common = {"pages": pages, "version": lpsgld.__version__, "smoke": False}
    for previous, page, following in zip([None, *pages], pages, [*pages[1:], None], strict=False):
        html = render("page.html.j2", page=page, previous=previous, next=following, **common)
        (folder / page.file).write_text(html, encoding="utf-8")


def _page(module: str, listed: Sequence[Entry], places: dict[str, str]) -> Page:
    said = doc.Module(import_module(module)).docstring

    def text(docstring: str, key: str = "") -> Markup:
        soup = prose.to_soup(docstring)
        for code in soup.find_all("code"):
            if not code.find_parent(["a", "pre"]) and (place := _place(code.get_text(), module, key, places)):
                code.wrap(soup.new_tag("a", href=place))
        return Markup(str(soup))

    body = render("reference.html.j2", module=module, text=text(said), entries=listed, said=text)
    summary = re.split(r"(?<=\.)\s|\n\n", said, maxsplit=1)[0]
    return _as_page(f"{module}.html", module, body, summary, tuple((entry.key, entry.key) for entry in listed))


def _as_page(file: str, title: str, body: str, summary: str = "", sections: tuple = ()) -> Page:
    return Page(file, title, summary, minutes="", body=body, sections=sections, claims=0, moves=False, smoke=False)


def _place(code: str, module: str, key: str, places: dict[str, str]) -> str | None:
    """Where a name in backquotes leads: to what is nearest, in the class, the module, the package, or anywhere if there
    is only one."""
    match = re.fullmatch(r"([a-zA-Z_][\w.]*)(\(.*\))?", code)
    if match is None:
        return None
    name = match[1]
    own = key.partition(".")[0]
    for near in (f"{module}.{own}.{name}", f"{module}.{name}", f"lpsgld.{name}", name):
        if near in places:
            return None if near == f"{module}.{key}" else places[near]
    ends = [place for full, place in places.items() if full.endswith(f".{name}")]
    return ends[0] if len(ends) == 1 else None


def _entry(member: doc.Doc) -> Entry:
    parts = ()
    if isinstance(member, doc.Class):
        parts = tuple(_entry(part) for part in member.members.values() if _is_shown(part))
        call = "class " + _call(member.obj, member.name)
    elif isinstance(member, doc.Function):
        call = _call(member.obj, member.name, method="." in member.qualname and not member.is_staticmethod)
    else:
        call = member.name + re.sub(r"\b(?:[a-z_]\w*\.)+", "", member.annotation_str)  # types without their modules
    coloured = Markup(highlight(call, PythonLexer(), HtmlFormatter()))
    return Entry(member.qualname, coloured, _said(member), parts)


def _said(member: doc.Doc) -> str:
    """The docstring; of a function its own, not that of what it overrides."""
    return inspect.cleandoc(member.obj.__doc__ or "") if isinstance(member, doc.Function) else member.docstring


def _is_shown(member: doc.Doc) -> bool:
    """Names of this package that are public; parts of a class and variables only where something is said of them."""
    ours = member.taken_from[0].partition(".")[0] == lpsgld.__name__
    needs_words = "." in member.qualname or isinstance(member, doc.Variable)
    return ours and not member.name.startswith("_") and (bool(_said(member)) or not needs_words)


class _Source(str):
    """What a signature shows as it stands in the source, without quotes."""

    __repr__ = str.__str__


def _call(thing: Callable, name: str, method: bool = False) -> str:
    """How it is called, a parameter a line if it is long; a type that is one of a few words is told by these."""
    known = vars(import_module(thing.__module__))
    literals = {word: str(held)[len("typing.") :] for word, held in known.items() if get_origin(held) is Literal}

    def annotation(given: Any) -> Any:
        source = getattr(given, "__forward_arg__", given)
        if not isinstance(source, str):
            return given
        return _Source(re.sub(r"\w+", lambda word: literals.get(word[0], word[0]), source))

    def default(given: Any) -> Any:
        return next((_Source(word) for word, held in known.items() if held is given and "<" in repr(held)), given)

    try:
        signature = inspect.signature(thing)
    except ValueError:  # an exception that is made as all are
        return name
    shown = [
        each.replace(annotation=annotation(each.annotation), default=default(each.default))
        for each in list(signature.parameters.values())[method:]
    ]
    if [str(each) for each in shown] == ["*args", "**kwargs"]:  # nothing to make, or as it likes
        return name
    result = inspect.Signature.empty if inspect.isclass(thing) else annotation(signature.return_annotation)
    call = name + str(signature.replace(parameters=shown, return_annotation=result))
    if len(call) <= 90:
        return call
    inside, _, after = call[len(name) + 1 :].rpartition(")")
    return f"{name}(\n    " + re.sub(r", (?=\*{0,2}\w+(?:: |=)|\*, |\*\*)", ",\n    ", inside) + f",\n){after}"
