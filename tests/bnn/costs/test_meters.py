"""Meters against the counts. How fast anything is, is not tested; how much memory, with room for other libraries."""

import pytest

from lpsgld.bnn.costs import footprint, integers, meters
from lpsgld.bnn.training.recipes import RECIPES, Recipe

EIGHT = RECIPES["train_bfp"]


def test_a_process_grows_by_what_was_counted():
    recipe = EIGHT.override(width=16, batch_size=32, samples=1, accumulator="full")
    found, counted = meters.process_memory(recipe, device="cpu"), footprint.memory(recipe, simulated=True)
    assert list(found) == ["weights", "copy", "activations", "gradients"]
    assert found["activations"] == pytest.approx(counted.activations, rel=0.1)  # 55 MB; what else grows has a few
    assert sum(found.values()) == pytest.approx(counted.total - counted.samples, rel=0.2)


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
    assert "CPU" in machine.name and min(machine.bandwidth, machine.float32) > 0
    assert (machine.int8 is None) == bool(integers.missing())


def test_every_step_and_copy_is_timed_in_every_round():
    recipes = {"float32": Recipe(width=4, batch_size=2), "8 bits": EIGHT.override(width=4, batch_size=2)}
    seconds = meters.step_seconds(recipes, device="cpu", repetitions=2)
    assert list(seconds) == list(recipes)
    assert all(len(times) == 2 and min(times) > 0 for parts in seconds.values() for times in parts.values())
    copies = meters.copy_seconds(1000, 3, "cpu")
    assert {name: len(times) for name, times in copies.items()} == {"32 bits": 3, "8 bits": 3}
