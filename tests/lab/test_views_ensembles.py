"""The views of notebook 09: what they draw is what `metrics` and `Evaluation` say of made-up predictions."""

import math

import numpy as np
import pytest
import torch

from lpsgld import metrics
from lpsgld.bnn.studies import control, shifts
from lpsgld.bnn.training.recipes import Recipe
from lpsgld.lab.views.networks import doubt
from lpsgld.lab.views.networks import ensembles as views
from tests.lab.checking import check_view

CLASSES = tuple("abcdef")
STRENGTHS = (0.0, 0.5, 1.0)
N = 120


@pytest.fixture(scope="module")
def labels():
    return torch.randint(6, (N,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def images():
    pictures = torch.randint(256, (N, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return shifts.series(pictures, STRENGTHS)


def made_up(labels, images, count: int, seed: int) -> dict:
    """Members' probabilities for each setting, less right with more strength."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.nn.functional.one_hot(labels, 6)
    return {
        (kind, s): (4 * (1 - 0.8 * s) * truth + 1.5 * torch.randn(count, N, 6, generator=generator)).softmax(2)
        for kind, s in images
    }


@pytest.fixture(scope="module")
def told(labels, images):
    return {
        who: made_up(labels, images, count, seed)
        for seed, (who, count) in enumerate(zip(views.ROLES, (5, 4, 1), strict=True))
    }


@pytest.fixture(scope="module")
def evaluated(told, labels):
    return {who: shifts.evaluations(by, labels) for who, by in told.items()}


@pytest.fixture(scope="module")
def all_views(told, evaluated, labels, images):
    sources = {"as they are": ("rotated", 0.0), "noisy": ("noisy", 1.0)}
    by_source = {who: {name: by[setting] for name, setting in sources.items()} for who, by in told.items()}
    return {
        "samples": views.samples(by_source, labels),
        "shifted": views.shifted(evaluated, images, CLASSES),
        "pictures": doubt.pictures(evaluated, images, CLASSES, strength=0.5),
        "abstention": doubt.abstention(evaluated),
    }


@pytest.mark.parametrize("name", ["samples", "shifted", "pictures", "abstention"])
def test_all_corners(all_views, name):
    check_view(all_views[name])


def test_the_samples_view_shows_the_scores_of_the_average(all_views, told, labels):
    view = all_views["samples"]
    _, artists = view.build(source="noisy", samples=1)
    for samples in (1, 3, 5):
        readout = view.update(artists, source="noisy", samples=samples)
        average, snapshots = (
            told[who]["noisy", 1.0][:samples].double().mean(0) for who in (views.SAMPLER, views.SNAPSHOTS)
        )
        assert readout["ECE"] == pytest.approx(metrics.ece(average, labels))
        assert readout["NLL"] == pytest.approx(metrics.nll(average, labels))
        assert readout["NLL of snapshots"] == pytest.approx(metrics.nll(snapshots, labels))
        assert readout["NLL of one network"] == pytest.approx(metrics.nll(told[views.RIVAL]["noisy", 1.0][0], labels))
        diagram = metrics.reliability(average, labels)
        drawn = diagram.count >= 5
        assert np.allclose(artists[views.SAMPLER].get_xdata(), diagram.confidence[drawn])
        assert np.allclose(artists[views.SAMPLER].get_ydata(), diagram.accuracy[drawn])
        assert artists["nll here"].get_ydata()[0] == pytest.approx(readout["NLL"])


def test_the_shifted_view_shows_entropy_and_its_part_from_disagreement(all_views, evaluated):
    view = all_views["shifted"]
    _, artists = view.build(kind="rotated", strength=0.0)
    readout = view.update(artists, kind="noisy", strength=1.0)
    sampler, rival = (evaluated[who]["noisy", 1.0] for who in (views.SAMPLER, views.RIVAL))
    assert readout["entropy"] == pytest.approx(sampler.entropy.mean().item())
    assert readout["its part from disagreement"] == pytest.approx(sampler.mutual_information.mean().item())
    assert readout["ECE of one network"] == pytest.approx(metrics.ece(rival.probabilities, rival.labels))
    shares = artists[f"{views.SAMPLER} entropy"].get_data().values
    assert shares.sum() == pytest.approx(1)
    edges = np.linspace(0, math.log(6), len(shares) + 1)
    beyond = (sampler.entropy > edges[12]).double().mean().item()
    assert shares[12:].sum() == pytest.approx(beyond)
    information = artists[f"{views.RIVAL} mutual information"].get_ydata()
    assert np.abs(information).max() < 1e-6, "one network does not disagree with itself"


def test_the_strip_puts_images_side_by_side_and_lets_the_paper_through():
    images = torch.arange(3 * 2 * 2, dtype=torch.uint8).reshape(3, 1, 2, 2)
    row = views.strip(images)
    assert row.shape == (2, 3 * 2 + 2 * 2, 4) and row.dtype == np.uint8
    for channel in range(3):
        assert (row[:, :2, channel] == images[0, 0].numpy()).all()
        assert (row[:, 8:, channel] == images[2, 0].numpy()).all()
    assert (row[0, :, 3] == [255, 255, 0, 0, 255, 255, 0, 0, 255, 255]).all()
    assert np.array_equal(views.strip(images.expand(3, 3, 2, 2)), row)


@pytest.mark.parametrize("by", ["entropy", "disagreement"])
def test_the_pictures_come_in_the_order_of_doubt(all_views, evaluated, images, labels, by):
    view, setting = all_views["pictures"], ("noisy", 0.5)
    _, artists = view.build(source="noisy", by=by, page=1)
    view.update(artists, source="noisy", by=by, page=2)
    evaluation = evaluated[views.SAMPLER][setting]
    doubts = evaluation.entropy if by == "entropy" else evaluation.mutual_information
    chosen = doubts.argsort(descending=True)[4:8]
    for column, index in enumerate(chosen.tolist()):
        assert (artists["pictures"][column].get_array()[:, :, 0] == images[setting][index, 0].numpy()).all()
        for name in (views.SAMPLER, views.RIVAL):
            heights = [bar.get_height() for bar in artists[name][column]]
            assert heights == pytest.approx(evaluated[name][setting].probabilities[index].tolist())
        guess, truth = int(evaluation.probabilities[index].argmax()), int(labels[index])
        expected = "right" if guess == truth else f"is {CLASSES[truth]}"
        assert artists["said"][column].get_text() == f"{CLASSES[guess]}, {expected}"


def test_abstention_shows_the_accuracy_on_the_rest(all_views, evaluated, labels):
    view = all_views["abstention"]
    _, artists = view.build(kind="noisy", strength=1.0, rejected=0.0)
    readout = view.update(artists, kind="noisy", strength=1.0, rejected=0.5)
    plain, noisy = (evaluated[views.SAMPLER][setting].probabilities for setting in (("rotated", 0.0), ("noisy", 1.0)))
    confident = plain.max(1).values.argsort(descending=True, stable=True)[: N // 2]
    right = (plain.argmax(1) == labels)[confident].double().mean().item()
    assert readout["accuracy on the rest"] == pytest.approx(right)
    both, twice = torch.cat([plain, noisy]), torch.cat([labels, labels])
    expected = metrics.abstention(both, twice, [0.5]).item()
    assert readout["with shifted ones"] == pytest.approx(expected)


def test_the_map_of_disagreement(told):
    members = told[views.SAMPLER]["noisy", 1.0]
    figure = views.disagreement(members)
    shares = figure.axes[0].images[0].get_array()
    assert shares.shape == (5, 5) and (np.diag(shares) == 0).all() and (shares == shares.T).all()
    assert shares[0, 3] == pytest.approx((members[0].argmax(1) != members[3].argmax(1)).double().mean().item())


def test_the_control_shows_cycles_and_the_average_of_all(labels):
    rows = {who: {source: {"cycle_nll": [[2.0, 1.0], [4.0, 1.0]], "nll": [1.0, 2.0], "last_nll": [3.0, 5.0]}
                  for source in control.SOURCES} for who in ("T = 0", "T = 0.1", "T = 1", "SGD")}  # fmt: skip
    recipe = Recipe(schedule="cyclical", cycles=2, samples=4, epochs=4, temperature=0.1)
    figure = views.control(control.Control(recipe, 2, {}, {}, rows))
    panel = figure.axes[1]
    by_cycle, every = (container.lines[0].get_xydata().tolist() for container in panel.containers[:2])
    assert by_cycle == [[1, 3], [2, 1]] and every == [[pytest.approx(3.3), 1.5]]
    assert len(panel.containers) == 6, "three temperatures, by cycle and in all"
    assert {line.get_label(): line.get_ydata()[0] for line in panel.lines}["one network of SGD"] == 4
