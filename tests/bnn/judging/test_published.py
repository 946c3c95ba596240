"""The literature's table as data: its rows are recipes, and a run finds its own."""

from lpsgld.bnn.judging import published
from lpsgld.bnn.judging.published import PUBLISHED, SOURCES
from lpsgld.bnn.training.recipes import RECIPES


def test_every_row_is_a_recipe_and_a_source():
    assert {row.recipe for row in PUBLISHED} <= set(RECIPES)
    assert {row.source for row in PUBLISHED} == set(SOURCES)
    assert len({row[:3] for row in PUBLISHED}) == len(PUBLISHED), "a row stands there twice"


def test_a_small_run_belongs_to_the_row_of_its_algorithm():
    small = dict(dataset="folder:images", width=16, epochs=7, samples=2, seed=3)
    assert published.row_of(RECIPES["train_bfp"].override(**small)) == "cifar10_sgld_block_vc"
    assert published.row_of(RECIPES["train_bfp"].override(**small), "cifar100") == "cifar100_sgld_block_vc"
    assert published.row_of(RECIPES["cifar100_sgd_float32"]) == "cifar10_sgd_float32"
    assert published.row_of(RECIPES["train_bfp"].override(**small, lr=0.1)) is None
    for name in RECIPES:
        if name.startswith("cifar10_"):
            assert published.row_of(RECIPES[name]) == name


def test_what_was_published_is_found_by_the_recipe():
    found = [row for name in RECIPES if not name.endswith("_released") for row in published.of(name)]
    assert sorted(found, key=str) == sorted(PUBLISHED, key=str)
    assert published.of(None) == ()


def test_the_papers_corrected_blocks_carry_a_mark_and_no_other_row_does():
    marked = {(row.recipe, row.source) for row in PUBLISHED if "noise is lost" in row.note}
    assert marked == {("cifar10_sgld_block_vc", "B"), ("cifar100_sgld_block_vc", "B")}
    released = RECIPES["train_bfp"].override(accumulator="vc-released")
    assert published.row_of(released) == "cifar10_sgld_block_vc_released"
    assert published.of("cifar10_sgld_block_vc_released") == published.of("cifar10_sgld_block_vc") != ()
