"""Recipes: data that round-trips, and refuses what makes no sense."""

import dataclasses
import json
import re

import numpy as np
import pytest

from lpsgld.bnn.training import recipes
from lpsgld.bnn.training.recipes import RECIPES, Recipe, RecipeError


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    assert Recipe.from_json(RECIPES[name].to_json()) == RECIPES[name]


def test_the_papers_three_scripts():
    """Zhang, Wilson and De Sa (2022): the settings of their released training scripts."""
    fixed, block, cyclic = (RECIPES[name] for name in ("train_fixed", "train_bfp", "train_bfp_cyclic"))
    for r in (fixed, block, cyclic):
        assert (r.dataset, r.model, r.width, r.epochs, r.batch_size) == ("cifar10", "resnet18", 64, 245, 128)
        assert (r.lr, r.weight_decay, r.temperature) == (0.5, 5e-4, 1e-3)
    assert (fixed.weight, fixed.grad, fixed.activation, fixed.error) == ("fixed(8,8)", "fixed(8,8)", "full", "full")
    assert {block.weight, block.grad, block.activation, block.error} == {"block(8,0)"}
    assert (fixed.accumulator, block.accumulator, cyclic.accumulator) == ("full", "vc", "vc")
    assert (fixed.samples, block.samples) == (50, 50)
    assert block.differences(cyclic) == {"schedule": ("decay", "cyclical"), "cycles": (1, 7), "samples": (50, 35)}


@pytest.mark.parametrize("name", ["train_fixed", "train_bfp"])
def test_with_momentum_they_are_as_fast_and_otherwise_the_same(name):
    slow, ball = RECIPES[name], RECIPES[f"{name}_momentum"]
    assert set(ball.differences(slow)) == {"sampler", "lr"}
    assert ball.lr / (1 - ball.momentum) == pytest.approx(slow.lr)


def test_every_row_of_the_table_is_there_for_both_datasets():
    rows = {"sgld_float32", "sgd_float32", "sgld_block_vc_cyclical", "sgld_block_vc_released"}
    rows |= {f"sgld_{fmt}_{acc}" for fmt in ("fixed", "block") for acc in ("full", "naive", "vc")}
    rows |= {f"sgd_{fmt}_{acc}" for fmt in ("fixed", "block") for acc in ("full", "naive")}
    names = {f"{dataset}_{row}" for dataset in ("cifar10", "cifar100") for row in rows}
    scripts = {"train_fixed", "train_bfp"}
    others = {"train_bfp_cyclic", "prose", "reviews"} | {f"{name}_momentum" for name in scripts}
    assert set(RECIPES) == names | scripts | others
    for name in names:
        assert RECIPES[name].dataset == name.split("_")[0]
        assert (RECIPES[name].temperature == 0) == ("_sgd_" in name)


def test_samples_are_the_last_epochs():
    r = RECIPES["train_bfp"]
    assert [e for e in range(1, 246) if r.is_sampled(e)] == list(range(196, 246))


def test_cyclical_samples_are_the_last_epochs_of_each_cycle():
    r = RECIPES["train_bfp_cyclic"]
    sampled = [e for e in range(1, 246) if r.is_sampled(e)]
    assert sampled == [35 * cycle + e for cycle in range(7) for e in range(31, 36)]


def test_schedules_follow_the_fields():
    decay = RECIPES["train_bfp"].schedule_function()
    assert (decay(0), decay(0.7), decay(0.95)) == pytest.approx((1, 0.505, 0.01))
    cyclical = RECIPES["train_bfp_cyclic"].schedule_function()
    assert cyclical(0) == cyclical(1 / 7 + 1e-12) == pytest.approx(1)
    assert RECIPES["train_bfp"].override(schedule="constant").schedule_function()(0.99) == 1


def test_override_changes_only_what_it_names():
    r = RECIPES["train_bfp"].override(width=8, lr=1)
    assert r.differences(RECIPES["train_bfp"]) == {"width": (8, 64), "lr": (1.0, 0.5)}
    assert isinstance(r.lr, float)
    assert RECIPES["train_bfp"].width == 64


def test_formats_are_written_in_one_way():
    assert Recipe(weight=" block( 8 , 0 ) ").weight == "block(8,0)"


def test_recipes_are_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPES["train_bfp"].lr = 1.0
    assert len({Recipe(), Recipe(), Recipe(seed=1)}) == 2


def test_a_recipe_prints_every_field():
    text = str(RECIPES["train_fixed"])
    assert all(re.search(rf"^{field} ", text, re.M) for field in Recipe.__dataclass_fields__)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.1}, "there is no field 'learning_rate'"),
        ({"weigth": "full"}, 'Did you mean "weight"'),
        ({"lr": 0.0}, "lr is 0.0, but must be a finite number above 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": "0.5"}, "lr is '0.5', but must be a number"),
        ({"epochs": 2.5}, "epochs is 2.5, but must be a whole number"),
        ({"epochs": True}, "epochs is True"),
        ({"sites": "inputs"}, "there is no set of sites 'inputs': choose from paper, residual, all"),
        ({"all_inputs": False}, "there is no field 'all_inputs'"),
        ({"epochs": 0}, "epochs is 0, but must be at least 1"),
        ({"temperature": -1}, "temperature is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"weight": "fixed(8,0.5)"}, "weight: 'fixed.8,0.5.': '0.5' is not a whole number"),
        ({"error": "fixed(0,1)"}, "error: .*word length W is 0"),
        ({"sampler": "shmc"}, 'choose from sgld, sghmc. Did you mean "sghmc"'),
        ({"momentum": 1.0}, "momentum is 1.0, but must be ≥ 0 and below 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"model": "resnet-18"}, 'Did you mean "resnet18"'),
        ({"dataset": "cifar"}, 'choose from digits, .*"folder:PATH".*Did you mean "cifar10"'),
        ({"accumulator": "low"}, "choose from full, naive, vc"),
        ({"schedule": "cosine"}, "choose from constant, decay, cyclical"),
        ({"cycles": 5}, 'the schedule "decay" has none'),
        ({"schedule": "cyclical", "cycles": 50}, "epochs is 245, but must be a multiple of cycles, 50"),
        ({"schedule": "cyclical", "cycles": 7}, "samples is 50, but must be a multiple of cycles, 7"),
        ({"epochs": 10}, "samples is 50, but a run of 10 epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        Recipe().override(**fields)


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match='Did you mean "train_bfp"'):
        recipes.recipe("train_bpf")


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"lrr": 1}', '"train_bfp"', "", "null", "[" * 100_000, '{"lr": 1, "lr": 2}', '{"lr": NaN}', b"\xff\0"]
    + ['{"epochs": ' + "9" * 5000 + "}", "[" + "1," * 100_000 + "1]", '{"model": "' + "x" * 100_000 + '"}'],
    ids=lambda text: repr(text)[:20],
)
def test_bad_json_is_refused_in_one_short_line(text):
    with pytest.raises(RecipeError) as told:
        Recipe.from_json(text)
    assert len(str(told.value)) < 500 and "\n" not in str(told.value)


def test_numbers_of_numpy_are_numbers():
    made = Recipe(epochs=np.int64(60), lr=np.float32(0.25), seed=np.uint8(3))
    assert made == Recipe(epochs=60, lr=0.25, seed=3)
    assert Recipe.from_json(made.to_json()) == made


def test_overrides_as_typed():
    assert recipes.parse_field("lr=0.1") == ("lr", 0.1)
    assert recipes.parse_field(" epochs = 3 ") == ("epochs", 3)
    assert recipes.parse_field("epochs=1e2") == ("epochs", 100)
    assert recipes.parse_field("dataset=folder:a=b") == ("dataset", "folder:a=b")
    assert recipes.parse_field("sites=residual") == ("sites", "residual")
    for text, message in [
        ("lr", "no override"),
        ("lr=", "no override"),
        ("epochs=2.5", "must be a whole number"),
        ("lrr=1", 'Did you mean "lr"'),
    ]:
        with pytest.raises(RecipeError, match=message):
            recipes.parse_field(text)


@pytest.mark.parametrize(
    "name",
    ["fixed_full", "fixed_vc", "block_full", "block_vc", "block_vc_cyclical", "block_vc_released", "float32"],
)
def test_the_point_estimate_of_a_sampler_is_the_papers_sgd(name):
    rival = name.replace("vc", "naive").removesuffix("_cyclical").removesuffix("_released")
    assert RECIPES[f"cifar10_sgld_{name}"].as_sgd() == RECIPES[f"cifar10_sgd_{rival}"]


@pytest.mark.parametrize("weight", ["nvfp4", "block(2,0)"])
def test_a_format_that_cannot_be_corrected_is_refused_with_the_recipe(weight):
    with pytest.raises(RecipeError, match="weight: .*variance-corrected"):
        Recipe(weight=weight, accumulator="vc")
    with pytest.raises(RecipeError, match='weight: in fixed.* use the accumulator "vc"'):
        Recipe(weight="fixed(8,8)", accumulator="vc-released")
    assert Recipe(weight=weight, accumulator="naive").weight == weight


# ---- formats by names ------------------------------------------------------------------------------------------------

BY_NAME = {"*norm*": None, "*bias": "fixed(16,12)", "*": " block( 8 , 0 ) "}
WRITTEN = '{"*norm*": "full", "*bias": "fixed(16,12)", "*": "block(8,0)"}'


def test_formats_may_be_told_by_names_and_keep_their_order_wherever_they_are_stored():
    made = Recipe(weight=BY_NAME, grad={"*": "block(8,0)"})
    assert made.weight == WRITTEN and len({made, made.override(seed=1), Recipe(weight=WRITTEN, grad=made.grad)}) == 2
    assert list(made.by_name("weight").items()) == [("*norm*", "full"), ("*bias", "fixed(16,12)"), ("*", "block(8,0)")]
    assert [fmt and fmt.name for fmt in made.every("weight")] == [None, "fixed(16,12)", "block(8,0)"]
    assert Recipe.from_json(made.to_json()) == made
    assert json.loads(made.to_json())["weight"] == json.loads(WRITTEN)  # an object, for whoever edits it
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict(), sort_keys=True))) == made
    turned = Recipe(weight=dict(reversed(BY_NAME.items())), grad=made.grad)
    assert turned != made and set(turned.differences(made)) == {"weight"}
    assert made.by_name("activation") == "full" and "block(8,0)" in str(made)


def test_formats_by_names_as_typed():
    name, value = recipes.parse_field('weight={"*norm*": null, "*bias": "fixed(16,12)", "*": "block(8,0)"}')
    assert Recipe().override(**{name: value}).weight == WRITTEN


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight": {"*": "block(8,O)"}}, "weight: 'block.8,O.'"),
        ({"weight": '{"*": "fixd(8,0)"}'}, 'weight: there is no number format .*Did you mean "fixed'),
        ({"weight": '{"*": "block(8,0)"'}, "weight: "),
        ({"weight": '{"a": "full", "a": "block(8,0)"}'}, "weight: 'a' is given twice"),
        ({"weight": {}}, "weight is {}, but must name formats by patterns"),
        ({"grad": {1: "full"}}, "grad is {1: 'full'}, but must name"),
        ({"activation": {"*": "full"}}, "activation is .*, but must be text"),
        ({"activation": '{"*": "full"}'}, "activation: there is no number format"),
        ({"weight": {"*": "block(8,0)", "b": "nvfp4"}, "accumulator": "vc"}, "weight: .*variance-corrected"),
    ],
)
def test_formats_by_names_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        Recipe(**fields)
