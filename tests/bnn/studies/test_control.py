"""The control of notebook 09: scores against the functions that they come from, a small study, and what is recorded."""

from pathlib import Path

import pytest
import torch

from lpsgld import metrics
from lpsgld.bnn.data import datasets
from lpsgld.bnn.judging.ensemble import combine
from lpsgld.bnn.studies import control
from lpsgld.bnn.studies.control import Control
from lpsgld.bnn.training.recipes import recipe
from lpsgld.storage import StorageError

RECORDED = Path(__file__).parents[3] / "notebooks" / "recorded" / "control" / "digits-mlp.json"


def members(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 40, 5, generator=generator).softmax(2), torch.randint(5, (40,), generator=generator)


def test_the_scores_of_a_chain():
    (of, labels), (plain, _) = members(0), members(1)
    told, average = control.scored(of, plain, labels, cycles=3), of.double().mean(0)
    assert told["nll"] == pytest.approx(metrics.nll(average, labels))
    assert told["last_error"] == metrics.error(of[-1], labels)
    assert told["member_nll"] == pytest.approx(sum(metrics.nll(p, labels) for p in of) / 6)
    assert told["cycle_nll"][1] == pytest.approx(metrics.nll(of[2:4].double().mean(0), labels))
    evaluations = [combine(iter(m), labels) for m in (plain, of)]
    doubts = torch.cat([e.mutual_information for e in evaluations])
    wrong = torch.cat([e.probabilities.argmax(1) != labels for e in evaluations])
    assert told["rejected_by_mutual_information"] == pytest.approx(wrong[doubts.argsort()[:40]].double().mean().item())


def test_a_small_study_survives_its_file_and_pairs_its_chains(tmp_path):
    small = recipe("train_bfp_cyclic").override(dataset="digits", model="mlp", width=4, epochs=7, samples=7)
    study = control.compute(small, (0.0, 1.0), 2, tmp_path, device="cpu")
    assert list(study.rows) == ["T = 0", "T = 1", "SGD"] and study.rows["SGD"].keys() == control.SOURCES.keys()
    study.write(tmp_path / "study.json")
    again = Control.read(tmp_path / "study.json")
    assert again.rows == study.rows and again.recipe == small
    first, second = (study.scores(who, "noisy", "nll") for who in ("T = 1", "T = 0"))
    mean, error = study.less("T = 1", "T = 0", "noisy", "nll")
    assert mean == pytest.approx((first - second).mean()) and error == pytest.approx(abs(first - second).std())
    assert again.in_errors("T = 1", "T = 0", "noisy", "nll") == pytest.approx(mean / error)
    rise = study.scores("T = 0", "noisy", "cycle_nll") @ [-1, 0, 0, 0, 0, 0, 1]
    assert again.drift("T = 0", "noisy") == pytest.approx(rise.mean() / rise.std())  # of two chains
    assert again.mixing("T = 0", "noisy").draws == 14
    assert "noisy" in again.table() and again.table().count("R-hat") == 12
    with pytest.raises(StorageError, match="no study"):
        Control.read(tmp_path / "SGD-0" / "recipe.json")


def test_what_is_recorded_is_of_these_digits_and_of_the_recipe_of_notebook_09():
    study, digits = Control.read(RECORDED), datasets.load("digits")
    assert study.dataset["fingerprint"] == digits.fingerprint and study.chains >= 3
    expected = recipe("train_bfp_cyclic").override(
        dataset="digits", model="mlp", width=100, epochs=140, samples=35, temperature=0.1
    )
    assert study.recipe == expected
    assert {"lpsgld", "torch", "device", "started"} <= study.provenance.keys()
