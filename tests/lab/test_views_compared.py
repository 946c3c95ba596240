"""Recorded results beside each other: what is drawn and written is what `records.compare` says of the pairs."""

import dataclasses

import pytest

from lpsgld.bnn.judging import records
from lpsgld.lab.views.networks import compared as views
from tests.lab.checking import check_view
from tests.lab.test_views_recorded import made_up

LABEL = "JPEG files"


@pytest.fixture(scope="module")
def results():
    return {
        "w16-sgld_fixed_vc": made_up("cifar10_sgld_fixed_vc", 4, LABEL),
        "w16-sgld_fixed_naive": made_up("cifar10_sgld_fixed_naive", 6, LABEL),
        "w16-sgld_block_vc": made_up("train_bfp", 3, LABEL),
        "w16-sgd_float32": made_up("cifar10_sgd_float32", 1, LABEL),
    }


def test_differences_from_any_of_them(results):
    """Dots and bars are `records.compare`; a reference differs nowhere from itself; the axes stay."""
    view = views.compared(results)
    check_view(view)
    names = view.controls[0].values
    errors = [results[name].scores["ensemble"]["error"] for name in names]
    assert errors == sorted(errors) and len(names) == 4
    figure, artists = view.build()
    limits = [ax.get_xlim() for ax in figure.axes]
    for reference in names:
        readout = view.update(artists, reference=reference)
        pairs = [records.compare(results[name], results[reference]) for name in names]
        for score in ("error", "nll", "ece"):
            bars, dots, texts = artists[score]
            assert list(dots.get_xdata()) == [pair[score].value for pair in pairs]
            ends = [segment[:, 0] for segment in bars.get_segments()]
            assert [end[1] - end[0] for end in ends] == pytest.approx([4 * p[score].standard_error for p in pairs])
            unseen = [0 < abs(pair[score].standard_errors) < 2 for pair in pairs]
            assert [text.get_text() != "" for text in texts] == unseen
            assert dots.get_xdata()[names.index(reference)] == 0
        assert readout["its error"] == results[reference].scores["ensemble"]["error"]
    assert [ax.get_xlim() for ax in figure.axes] == limits


def test_the_table_of_pairs(results):
    one, other, blocks, sgd = results
    lines = views.table(results, [(one, other), (blocks, one), (sgd, one)]).splitlines()
    found = records.compare(results[one], results[other])["error"]
    assert f"| sgld_fixed_vc minus sgld_fixed_naive | {100 * found.value:+.2f} ± " in lines[2]
    assert lines[2].endswith("| -0.43 % [J] |"), "of B and T, neither has both"
    assert lines[3].endswith("| -1.23 % [J] |"), "the paper's 5.51 has a remark, and so has one of J's two"
    assert lines[4].endswith("| -2.42 % [B] |")
    assert all(line.count("|") == 7 for line in lines)


def test_two_seeds_of_a_recipe_and_both_together(results):
    """Of them nothing was published apart. How well chains agree is told of several alone."""
    one = results["w16-sgld_fixed_vc"]
    again = dataclasses.replace(one, recipe=one.recipe.override(seed=1))
    rhat = {"median": 1.234, "above_1.01": 0.876, "ess": 5.04}
    both = dataclasses.replace(one, scores=one.scores | {"samples": 8, "chains": 2, "rhat": rhat})
    assert views.table({"vc": one, "vc_again": again}, [("vc_again", "vc")]).endswith("| one recipe |")
    released = made_up("cifar10_sgld_block_vc_released", 3, LABEL)
    pair = {"vc": results["w16-sgld_block_vc"], "released": released}
    assert views.table(pair, [("vc", "released")]).endswith("| none has both |"), "what is published may be of either"
    line = "vc_both, R-hat of the probability of the true class: median 1.23, above 1.01 for 88% of the images; "
    assert views.mixing({"vc": one, "vc_both": both}) == line + "effective samples: median 5.0 of 8"


def test_pairs_that_are_not_all_recorded_are_left_out(results, capsys):
    views.show_table(results, [("w16-sgld_fixed_vc", "w16-sgd_float32"), ("w16-sgld_fixed_vc", "w16-missing")])
    assert capsys.readouterr().out.count("minus") == 2, "the heading and one row"


@pytest.mark.parametrize(
    ("number", "text"), [(950.4, "950"), (999.9, "1k"), (12_345, "12k"), (1.26e6, "1.3M"), (7e9, "7G")]
)
def test_numbers_of_images_are_short(number, text):
    assert views._count(number) == text
