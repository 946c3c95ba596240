"""Which notebook draws which figure, and the list of them."""

import json

import pytest

from lpsgld.batch import BatchError
from lpsgld.publish import catalogue

TWO = 'lab.save_figure(\n    lambda: views.law.figure(alpha=1e-4),\n    "01-law",\n    title="The law",\n)\n'
TWO += 'x = "01-not-a-figure"\nlab.save_figure(views.map, "01-a-map", caption="It has 10-12 cells")'


@pytest.fixture
def known(folder):
    folder.notebook("01_first", TWO)
    folder.notebook("02_second", 'for _ in range(2):\n    lab.save_figure(draw, "02-only", alt="")')
    folder.notebook("03_none", "print(1)")
    return catalogue.catalogue(folder.path)


def test_the_catalogue_is_read_from_the_calls(known):
    assert known == {"01-a-map": "01_first", "01-law": "01_first", "02-only": "02_second"}


def test_choosing_some_or_all(known):
    assert catalogue.choose(["02-only"], known) == {"02-only": "02_second"}
    assert catalogue.choose([], known) == known


def test_an_unknown_figure_names_the_nearest(known):
    with pytest.raises(BatchError, match="there is no figure '01-lwa': choose from 01-a-map, .*Did you mean .01-law"):
        catalogue.choose(["01-law", "01-lwa"], known)


def test_the_list_has_captions_of_what_is_drawn(known, tmp_path):
    rows = {"01-law": {"title": "The law", "caption": "Where it lands."}}
    (tmp_path / "manifest.json").write_text(json.dumps({"figures": rows}))
    assert catalogue.describe(known, tmp_path).splitlines() == [
        "01-a-map: not drawn yet (01_first)",
        "    Draw it to see its caption.",
        "01-law: The law (01_first)",
        "    Where it lands.",
        "02-only: not drawn yet (02_second)",
        "    Draw it to see its caption.",
    ]


def test_a_notebook_that_cannot_be_read_is_named(folder):
    (folder.path / "01_first.ipynb").write_text("no json")
    with pytest.raises(BatchError, match="notebook 01_first: not a valid notebook"):
        catalogue.catalogue(folder.path)
