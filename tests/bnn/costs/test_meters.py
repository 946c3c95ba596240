"""Meters: what they measure is there; files are as long as was counted. Time and memory themselves are not tested."""

import pytest

from lpsgld.bnn.costs import footprint, integers, meters
from lpsgld.bnn.training.recipes import RECIPES, Recipe

EIGHT = RECIPES["train_bfp"]


@pytest.mark.slow
def test_a_fresh_process_measures_every_part():
    found = meters.process_memory(EIGHT.override(width=4, batch_size=2), device="cpu")
    assert list(found) == ["weights", "copy", "activations", "gradients"]
    assert all(isinstance(grown, int) for grown in found.values())


@pytest.mark.slow
def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no device 'abacus'"):
        meters.process_memory(EIGHT.override(width=4), device="abacus")


@pytest.mark.parametrize("recipe", [Recipe(), EIGHT, RECIPES["train_fixed"]], ids=["full", "bfp", "fixed"])
def test_a_file_holds_the_numbers_that_were_counted(recipe):
    recipe = recipe.override(width=8, samples=1)
    file, numbers = meters.sample_file(recipe)
    assert numbers == footprint.memory(recipe).samples < file < 1.2 * numbers


def test_the_machine_is_measured():
    machine = meters.measure_machine("cpu", size=64, megabytes=1, repetitions=1)
    assert "CPU" in machine.name and min(machine.bandwidth, *machine.rates.values()) > 0
    assert set(machine.rates) == ({"float32"} if integers.missing() else {"float32", "int8"})


def test_every_step_and_copy_is_timed_in_every_round():
    recipes = {"float32": Recipe(width=4, batch_size=2), "8 bits": EIGHT.override(width=4, batch_size=2)}
    seconds = meters.step_seconds(recipes, device="cpu", repetitions=2)
    assert list(seconds) == list(recipes)
    assert all(len(times) == 2 and min(times) > 0 for parts in seconds.values() for times in parts.values())
    copies = meters.copy_seconds(1000, 3, "cpu")
    assert {name: len(times) for name, times in copies.items()} == {"32 bits": 3, "8 bits": 3}
