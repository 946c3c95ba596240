"""The views of notebook 08, on made-up predictions: what they draw is what `metrics` says."""

import numpy as np
import pytest
import torch

from lpsgld import metrics
from lpsgld.lab.style import png
from lpsgld.lab.views.networks import cifar as views
from tests.lab.checking import check_view


@pytest.fixture(scope="module")
def members():
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.randn(6, 300, 10, generator=generator)).softmax(-1)


@pytest.fixture(scope="module")
def labels():
    return torch.randint(10, (300,), generator=torch.Generator().manual_seed(1))


def test_all_corners(members, labels):
    view = views.ensemble(members, labels)
    check_view(view)


def test_the_slider_shows_the_scores_of_the_average(members, labels):
    view = views.ensemble(members, labels)
    figure, artists = view.build(samples=1)
    for samples in (1, 4, 6):
        readout = view.update(artists, samples=samples)
        average = members[:samples].double().mean(0)
        assert readout["NLL"] == pytest.approx(metrics.nll(average, labels))
        assert readout["ECE"] == pytest.approx(metrics.ece(average, labels))
        assert readout["error"] == pytest.approx(metrics.error(average, labels))
        drawn = torch.from_numpy(np.array(artists["bins"].get_offsets()))
        diagram = metrics.reliability(average, labels)
        filled = diagram.count > 0
        assert torch.allclose(drawn[:, 0].double(), diagram.confidence[filled])
        assert torch.allclose(drawn[:, 1].double(), diagram.accuracy[filled])


def test_identical_samples_can_be_drawn(labels):
    same = torch.full((2, 300, 10), 0.1)
    figure, _ = views.ensemble(same, labels).build(samples=2)
    assert len(png(figure)) > 10_000


def test_training_curves_shade_the_epochs_that_gave_a_sample():
    history = [
        {"epoch": e, "train_error": 1 / e, "test_error": 1 / e, "train_loss": 2 / e, "test_nll": 1e6 / e**9,
         "step_size": 0.5, "sampled": e > 3}
        for e in range(1, 6)
    ]  # fmt: skip
    figure = views.training_curves(history, "made up")
    assert [len(ax.patches) for ax in figure.axes] == [2, 2, 2]
    assert figure.axes[1].get_ylim()[1] < 5, "a huge first test loss does not hide the others"


def test_both_noises_are_variances_of_a_step():
    rows = [{"epoch": e, "step_size": 0.1 * e, "gradient_variance": 1e-5, "sampled": e == 2} for e in (1, 2)]
    (panel,) = views.noise(rows, 1e-3, 1000).axes
    drawn = {line.get_label(): line.get_ydata() for line in panel.lines}
    assert drawn["added by mini-batches, lr² Var(g)"] == pytest.approx([1e-7, 4e-7])
    assert drawn["injected, v = 2 lr T / N"] == pytest.approx([2e-7, 4e-7])
    assert len(views.noise(rows, 0.0, 1000).axes[0].lines) == 1, "at T = 0 nothing is injected"
