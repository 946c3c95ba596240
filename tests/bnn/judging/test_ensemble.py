"""Averaging over posterior samples, against the same thing done all at once."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpsgld import metrics
from lpsgld.bnn.data import datasets
from lpsgld.bnn.judging import ensemble, records
from lpsgld.bnn.training import loop, runs
from lpsgld.bnn.training.runs import RunError
from lpsgld.storage import load_sample


def random_members(count: int = 6, images: int = 40, classes: int = 5) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, images, classes, generator=generator, dtype=torch.float64)
    return list(logits.softmax(2)), torch.randint(classes, (images,), generator=generator)


def evaluate(run, dataset=None, **options) -> ensemble.Evaluation:
    return ensemble.evaluate(run, dataset, progress=False, device="cpu", **options)


def test_streaming_equals_all_at_once():
    members, labels = random_members()
    e = ensemble.combine(iter(members), labels)
    stacked = torch.stack(members)
    torch.testing.assert_close(e.probabilities, stacked.mean(0))
    assert torch.equal(e.last, members[-1])
    torch.testing.assert_close(e.member_entropy, torch.stack([metrics.entropy(p) for p in members]).mean(0))
    assert torch.equal(e.label_draws[0], torch.stack([p.gather(1, labels[:, None])[:, 0] for p in members]))
    assert e.member_nll == pytest.approx(sum(metrics.nll(p, labels) for p in members) / len(members))
    assert e.scores["nll"] == metrics.nll(e.probabilities, labels) < e.member_nll
    assert e.scores["mutual_information"] == e.mutual_information.mean().item()
    for count, row in enumerate(e.curve, start=1):
        expected = metrics.summary(stacked[:count].mean(0), labels)
        assert row.pop("samples") == count and row == pytest.approx(expected, rel=1e-9)


def test_every_image_is_in_the_histogram_of_entropy():
    e = ensemble.combine(*random_members())
    h = e.entropy_histogram(8)
    wrong = e.probabilities.argmax(1) != e.labels
    assert h["edges"] == pytest.approx([math.log(5) * i / 8 for i in range(9)])
    assert (sum(h["right"]), sum(h["wrong"])) == ((~wrong).sum(), wrong.sum())
    assert sum(h["wrong"][5:]) == (e.entropy[wrong] >= h["edges"][5]).sum() > 0


def test_the_least_confident_images_of_several_sets_are_rejected_first():
    members, labels = random_members()
    one, other = ensemble.combine(members[:3], labels), ensemble.combine(members[3:], labels)
    both = [(p.max(), p.argmax() == y) for e in (one, other) for p, y in zip(e.probabilities, e.labels, strict=True)]
    both.sort(key=lambda row: -row[0])
    found = ensemble.accuracy_on_rest([one, other], [0.0, 0.5, 0.9])
    assert found == pytest.approx([sum(right for _, right in both[:kept]).item() / kept for kept in (80, 40, 8)])


def test_disagreement_counts_pairs():
    members, labels = random_members()
    predicted = torch.stack(members).argmax(2)
    pairs = [(predicted[i] != predicted[j]).double() for i in range(6) for j in range(i)]
    torch.testing.assert_close(ensemble.combine(members, labels).disagreement, torch.stack(pairs).mean(0))


def test_mutual_information_vanishes_where_members_agree():
    members, labels = random_members()
    assert ensemble.combine([members[0]] * 4, labels).mutual_information.max() < 1e-12
    assert ensemble.combine(members, labels).mutual_information.min() > 0


def test_evaluate_reads_the_samples_and_their_buffers(finished, digits):
    e = evaluate(finished, digits, rounding="nearest")
    model = finished.recipe.build_model(digits.image_shape, 10).eval()
    model.load_state_dict(load_sample(finished.samples[-1]).state)
    for module in model.modules():
        if hasattr(module, "rounding"):
            module.rounding = "nearest"
    with torch.no_grad():
        torch.testing.assert_close(e.last, model(digits.normalize(digits.test_images)).softmax(1).double())
    assert len(e.curve) == 3 and e.summary()["samples"] == 3


def test_evaluate_is_reproducible_and_leaves_the_callers_random_numbers(finished, digits):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first, again, other = (evaluate(finished, digits, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first.probabilities, again.probabilities)
    assert not torch.equal(first.probabilities, other.probabilities)  # activations are rounded stochastically


def test_the_last_samples_scores_are_those_of_the_last_epoch_up_to_rounding(finished, digits):
    e = evaluate(finished, digits)
    assert abs(e.summary()["last_sample"]["error"] - finished.history[-1]["test_error"]) <= 0.02


def test_predictions_for_other_images(finished, digits):
    noise = torch.randint(256, (7, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    shifted = dataclasses.replace(digits, test_images=noise, test_labels=digits.test_labels[:7])
    members = list(ensemble.predictions(finished, shifted, device="cpu"))
    assert len(members) == 3 and members[0].shape == (7, 10)


def test_the_runs_own_dataset_is_loaded_if_none_is_given(tmp_path, small):
    recipe = small.override(epochs=1, samples=1)
    loop.train(recipe, tmp_path, progress=False, device="cpu")
    assert len(evaluate(tmp_path).labels) == len(datasets.load("digits").test_labels)


def folder_of_images(path: Path, seed: int = 0) -> str:
    """The name of a dataset of 8 training and 8 test images of noise."""
    noise = np.random.default_rng(seed).integers(256, size=(2, 2, 4, 8, 8), dtype=np.uint8)
    for split, images in zip(("train", "test"), noise, strict=True):
        for name, of_class in zip("ab", images, strict=True):
            (path / split / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(of_class):
                Image.fromarray(image).save(path / split / name / f"{number}.png")
    return f"folder:{path}"


@pytest.mark.parametrize("subset", [None, (5, 6)])
@pytest.mark.parametrize("split", ["train", "test"])
def test_images_that_changed_after_training_are_not_scored_as_the_runs_own(tmp_path, small, subset, split):
    cache = {"cache": tmp_path / "cache"}
    recipe = small.override(dataset=folder_of_images(tmp_path / "images"), epochs=1, samples=1, batch_size=4)
    run = loop.train(recipe, tmp_path / "run", subset=subset, progress=False, device="cpu", **cache)
    assert len(evaluate(run, **cache).labels) == 8
    for path in (tmp_path / "images" / split).rglob("*.png"):
        Image.new("L", (8, 8)).save(path)
    with pytest.raises(RunError, match=f"was trained on other data than folder:.*{run.dataset['fingerprint']} then"):
        evaluate(run, **cache)
    changed = datasets.load(recipe.dataset, tmp_path / "cache")
    assert len(evaluate(run, changed).labels) == 8  # asked for by name
    told = records.make(run, evaluate(run, changed), dataset=changed).dataset
    then = run.dataset["fingerprint"]
    assert (told["fingerprint"], told["trained_on"]["fingerprint"]) == (changed.fingerprint, then)


def test_chains_are_merged_in_turn(tmp_path, digits, small, finished):
    recipe = small.override(epochs=8, samples=5)
    for chain in range(2):
        loop.train(recipe, tmp_path / f"chain-{chain}", dataset=digits, chain=chain, progress=False, device="cpu")
    chains = runs.open_all(tmp_path)
    assert [run.chain for run in chains] == [0, 1]
    e = evaluate(tmp_path, digits, rounding="nearest")
    alone = [evaluate(run, digits, rounding="nearest") for run in chains]
    torch.testing.assert_close(e.probabilities, (alone[0].probabilities + alone[1].probabilities) / 2)
    assert e.label_draws.shape == (2, 5, 200)
    assert torch.equal(e.label_draws[1], alone[1].label_draws[0])
    summary = e.summary()
    assert summary["chains"] == 2 and summary["samples"] == 10
    assert summary["rhat"]["median"] > 1  # two networks of 3 epochs each are no converged chain
    assert alone[0].summary()["rhat"] is None


def test_chains_of_unequal_length_give_as_many_draws_as_the_shortest():
    members, labels = random_members(5)
    e = ensemble.combine(members, labels, order=[0, 1, 0, 1, 0])
    assert e.label_draws.shape == (2, 2, 40)


def test_no_samples_is_an_error(tmp_path, digits, small, finished):
    unfinished = dataclasses.replace(finished, history=finished.history[:2])
    with pytest.raises(RunError, match="no posterior sample to evaluate"):
        evaluate(unfinished, digits)


def test_other_images_are_refused(finished, digits):
    larger = dataclasses.replace(digits, train_images=torch.zeros(1, 3, 8, 8), test_images=torch.zeros(1, 3, 8, 8))
    with pytest.raises(RunError, match=r"trained on images of shape \(1, 8, 8\) in 10 classes"):
        evaluate(finished, larger)


def test_entropy_of_the_ensemble_is_at_least_that_of_its_members(finished, digits):
    e = evaluate(finished, digits)
    assert bool((e.entropy - e.member_entropy > -1e-9).all()) and e.entropy.max() <= math.log(10)


def test_a_caller_between_two_predictions_has_its_own_random_numbers(finished, digits):
    torch.manual_seed(0)
    expected = torch.rand(4)
    torch.manual_seed(0)
    drawn = [torch.rand(1) for _ in ensemble.predictions(finished, digits, device="cpu")]
    assert torch.equal(torch.cat(drawn), expected[:3])


def test_a_run_is_a_posterior_too(finished, digits):
    """Activations rounded to nearest predict the same each time, so that the two ways are one."""
    posterior = ensemble.posterior(finished, digits, rounding="nearest", device="cpu")
    assert len(posterior) == 3

    def predict(net):
        return net(digits.prepared(digits.test_images)).softmax(-1)

    mean = evaluate(finished, digits, rounding="nearest").probabilities
    assert torch.allclose(posterior.average(predict).double(), mean, atol=1e-6)
    with pytest.raises(RunError, match="is a run, whose samples its training keeps: keep others in another folder"):
        posterior.keep()
    with pytest.raises(RunError, match="was trained on images of shape"):
        ensemble.posterior(finished, dataclasses.replace(digits, classes=digits.classes[::-1]))
