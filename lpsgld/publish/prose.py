"""Markdown as HTML whose formulas are MathML, so that a page needs neither a script nor a network to show them.

Why MathML: KaTeX and MathJax draw a little more beautifully, but the first needs its style sheet and 20 fonts beside
each page, the second a large script that runs at each opening, and both come from npm. Chromium, Firefox and
Safari draw MathML themselves: it scales, follows the colours of the page, and screen readers speak it. `math_core` was
chosen over `latex2mathml` by looking at all formulas of the notebooks: it alone sets capital Greek letters and
one-letter operators upright, and bars, slashes and thousands without stray spaces.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, NavigableString
from math_core import LatexError, LatexToMathML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from lpsgld.batch.errors import BatchError

_FORMULA = re.compile(r"\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$]+?)\$", re.S)
_VERBATIM = ("code", "pre", "script", "style", "math")


def to_soup(markdown: str) -> BeautifulSoup:
    """The Markdown as a tree of HTML, with formulas as MathML. Raises BatchError for a formula that is not TeX."""
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    return typeset(BeautifulSoup(MarkdownWithMath(renderer=renderer).render(markdown), "html.parser"))


def typeset(soup: BeautifulSoup, strict: bool = True) -> BeautifulSoup:
    """Replace $...$ and $$...$$ in the tree's texts, but for code, by MathML; the tree itself is returned.

    It works on the tree and not on Markdown, since solutions to exercises are HTML in which JupyterLab, too, sees
    formulas. Raises BatchError for a formula that is not TeX; unless `strict`, it stays as it is.
    """
    for text in soup.find_all(string=lambda string: "$" in string):
        if text.find_parent(_VERBATIM):
            continue
        parts: list[NavigableString | BeautifulSoup] = []
        end = 0
        for match in _FORMULA.finditer(text):
            parts.append(NavigableString(text[end : match.start()]))
            try:
                formula = mathml(match["display"] or match["inline"], display=bool(match["display"]))
                parts.append(BeautifulSoup(formula, "html.parser"))
            except BatchError:
                if strict:
                    raise
                parts.append(NavigableString(match[0]))
            end = match.end()
        text.replace_with(*parts, NavigableString(text[end:]))
    return soup


def mathml(tex: str, display: bool = False) -> str:
    """One formula as a `<math>` element. Raises BatchError if it is not TeX."""
    try:
        return LatexToMathML(fancy_error=False).convert_with_local_state(tex, displaystyle=display)
    except LatexError as error:
        raise BatchError(f"the formula {tex.strip()!r} is not understood: {' '.join(str(error).split())}") from error
