"""The literature's table as data: its rows are recipes, and its numbers bear out what the paper says of them."""

import pytest

from lpsgld.bnn.judging import published
from lpsgld.bnn.judging.published import PUBLISHED, SOURCES
from lpsgld.bnn.training.recipes import RECIPES


def test_every_row_is_a_recipe_and_a_source():
    assert {row.recipe for row in PUBLISHED} <= set(RECIPES)
    assert {row.source for row in PUBLISHED} == set(SOURCES)
    assert len(set(PUBLISHED)) == len(PUBLISHED) == 29
    assert all(0 < row.error < 100 and (row.ece is None or 0 < row.ece < 100) for row in PUBLISHED)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_paper_claims_what_its_numbers_say(dataset):
    """In all formats SGLD has the lower error and the lower ECE; with few bits, full accumulators beat low ones."""
    paper = {row.recipe.removeprefix(f"{dataset}_"): row for row in PUBLISHED if row.source == "B"}
    pairs = [("sgld_float32", "sgd_float32"), ("sgld_fixed_full", "sgd_fixed_full"),
             ("sgld_fixed_vc", "sgd_fixed_naive"), ("sgld_block_full", "sgd_block_full"),
             ("sgld_block_vc", "sgd_block_naive")]  # fmt: skip
    for sampler, optimizer in pairs:
        assert paper[sampler].error < paper[optimizer].error and paper[sampler].ece < paper[optimizer].ece
    for kind in ("fixed", "block"):
        assert paper[f"sgld_{kind}_full"].error < paper[f"sgld_{kind}_vc"].error
        (again,) = (row for row in published.of(f"{dataset}_sgld_{kind}_naive") if row.source == "T")
        assert paper[f"sgld_{kind}_vc"].error < again.error < paper[f"sgd_{kind}_naive"].error


def test_a_small_run_belongs_to_the_row_of_its_algorithm():
    small = dict(dataset="folder:images", width=16, epochs=7, samples=2, seed=3)
    assert published.row_of(RECIPES["train_bfp"].override(**small)) == "cifar10_sgld_block_vc"
    assert published.row_of(RECIPES["train_bfp"].override(**small), "cifar100") == "cifar100_sgld_block_vc"
    assert published.row_of(RECIPES["cifar100_sgd_float32"]) == "cifar10_sgd_float32"
    assert published.row_of(RECIPES["train_bfp"].override(**small, lr=0.1)) is None
    for name in RECIPES:
        if name.startswith("cifar10_"):
            assert published.row_of(RECIPES[name]) == name


def test_several_sources_may_have_measured_one_recipe():
    rows = published.of("cifar10_sgld_block_vc")
    assert [row.source for row in rows] == ["B", "J", "J"] and rows[1].note
    assert published.of("cifar10_sgld_block_vc_cyclical") == ()
