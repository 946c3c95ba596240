"""The bits sweep: its chains against scikit-learn and exact laws, its files, and what is recorded."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lpsgld import formats, metrics
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import Dataset
from lpsgld.bnn.devices import seeded
from lpsgld.bnn.network import models
from lpsgld.bnn.studies import sweep
from lpsgld.bnn.studies.sweep import Point, Settings, Sweep, SweepError
from lpsgld.samplers.optimizer import NonFiniteGradient
from lpsgld.toy.exact import stationary
from lpsgld.toy.targets import Gaussian

RECORDED = Path(__file__).parents[3] / "notebooks" / "recorded" / "sweeps"
CPU = torch.device("cpu")
TINY = Settings(bits=(1, 4), burn_in=8, steps=16, networks=4, seeds=2, width=5)


def without_seconds(result: Sweep) -> dict:
    return {name: {k: v for k, v in row.items() if k != "seconds"} for name, row in result.rows.items()}


# ---- what is computed ------------------------------------------------------------------------------------------------


def test_sgd_in_float32_finds_the_mode_that_scikit_learn_finds(digits):
    """A constant input stands for the bias, which has the same prior as the weights."""
    settings = Settings(seeds=1, lr=0.2, burn_in=500, steps=128, networks=8, batch_size=256)
    x, x_test = (
        np.pad(sweep.inputs(digits, images).numpy(), ((0, 0), (0, 1)), constant_values=1.0)
        for images in (digits.train_images, digits.test_images)
    )
    oracle = LogisticRegression(C=settings.prior_std**2, fit_intercept=False, tol=1e-8, max_iter=2000)
    probabilities = oracle.fit(x, digits.train_labels.numpy()).predict_proba(x_test)
    expected = metrics.nll(torch.from_numpy(probabilities), digits.test_labels)
    with seeded(CPU, 0):
        row = sweep._measure(Point("sgd", "full", None), settings, digits, CPU)
    assert row["nll"]["8"][0] == pytest.approx(expected, rel=0.02)  # batches are drawn with replacement


@pytest.mark.parametrize(("accumulator", "bits"), [("full", None), ("full", 2), ("naive", 4), ("vc", 2)])
def test_without_data_the_weights_sample_their_prior_as_the_exact_law_says(accumulator, bits):
    """Black images carry no information: each of 3,200 weights is a chain of its own on N(0, 0.3²)."""
    black = torch.zeros(200, 1, 8, 8, dtype=torch.uint8)
    labels = torch.arange(200) % 10
    data = Dataset("black", black, labels, black, labels, tuple("0123456789"), (0.0,), (1.0,))
    settings = Settings(burn_in=400, steps=1, networks=1)  # 400 steps are nine relaxation times
    with seeded(CPU, 1):
        networks = next(sweep.draw_networks(Point("sgld", accumulator, bits), settings, data, CPU))
    fmt = formats.parse("full" if bits is None else f"fixed({bits + 3},{bits})")
    exact = stationary(Gaussian(0.0, 0.3), settings.lr / 200, fmt, accumulator).std
    measured = networks.accumulator[:, :640].std().item()
    # relative standard error of a Gaussian's std, for grids a little less; false alarm below 1e-6
    assert measured == pytest.approx(exact, rel=5 / math.sqrt(2 * 3200))
    if bits is not None:
        assert torch.equal(networks.weights * 2**bits, (networks.weights * 2**bits).round())
    assert torch.equal(networks.weights, networks.accumulator) == (accumulator != "full" or bits is None)


def test_scores_are_means_over_sets_of_networks_at_equal_distances():
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(4, 2, 30, 10, generator=generator).softmax(-1)
    labels = torch.randint(10, (30,), generator=generator)
    scores = sweep.ensemble_scores(members, labels, (1, 2, 4))
    for seed in range(2):
        one = np.mean([metrics.nll(p, labels) for p in members[:, seed]])
        two = np.mean([metrics.nll((members[i, seed] + members[i + 2, seed]) / 2, labels) for i in range(2)])
        assert scores["nll"]["1"][seed] == pytest.approx(one, rel=1e-4)
        assert scores["nll"]["2"][seed] == pytest.approx(two, rel=1e-4)
        assert scores["error"]["4"][seed] == pytest.approx(metrics.error(members[:, seed].mean(0), labels), rel=1e-4)


def test_inputs_are_as_long_on_every_dataset():
    digits = datasets.load("digits")
    big = dataclasses.replace(digits, train_images=digits.train_images.repeat_interleave(3, 2).repeat_interleave(3, 3))
    for data in (digits, big):
        x = sweep.inputs(data, data.train_images)
        assert x.square().sum(1).mean().item() == pytest.approx(64, rel=1e-3)


def test_a_full_accumulator_is_scored_rounded_and_not(finished):
    rows = finished[0].rows
    for name, row in rows.items():
        same = np.array(row["unrounded"]) == pytest.approx(np.array(row["nll"]["4"]), rel=1e-3)
        assert same == ("full" not in name or name.endswith("float32")), name
    assert finished[0].unrounded(1).tolist() == rows["sgld-full-1"]["unrounded"]


def test_chains_of_a_layer_are_those_of_the_network_itself(digits):
    """The networks of all chains at once, against `models.build` with the weights of each."""
    with seeded(CPU, 0):
        drawn = next(sweep.draw_networks(Point("sgd", "full", None), TINY, digits, CPU))
    x = sweep.inputs(digits, digits.test_images[:7])
    network = models.build("logistic", digits.image_shape, 10, width=5)
    for row, told in zip(drawn.weights, drawn.predict(drawn.weights, x), strict=True):
        torch.nn.utils.vector_to_parameters(row, network.parameters())
        torch.testing.assert_close(network(x).softmax(-1), told)


def test_a_step_that_is_too_large_is_told(digits, tmp_path):
    wild = dataclasses.replace(TINY, lr=1e30, integer_bits=10, batch_size=500)
    with pytest.raises(NonFiniteGradient, match="smaller step size"):
        sweep.compute(wild, tmp_path, dataset=digits, progress=False)


# ---- settings, files, resuming ---------------------------------------------------------------------------------------


def test_the_points_of_a_sweep():
    names = [str(point) for point in TINY.points()]
    assert names[:4] == ["sgd-full-float32", "sgld-full-float32", "sgd-full-1", "sgd-full-4"]
    assert len(names) == len(set(names)) == 12 and "sgd-vc-1" not in names
    assert TINY.counts == (1, 2, 4)
    assert not any(point.sampler == "sgd" for point in dataclasses.replace(TINY, samplers=("sgld",)).points())


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("samplers", ("sgd", "adam"), "adam"),
        ("bits", (4, 1), "rising order"),
        ("networks", 3, "power of two"),
        ("steps", 18, "divides steps"),
    ],
)
def test_settings_that_make_no_sense(field, value, said):
    with pytest.raises(SweepError, match=said):
        dataclasses.replace(TINY, **{field: value})


def test_unknown_settings_are_told():
    with pytest.raises(SweepError, match="there is no setting 'learning_rate'"):
        Settings.from_dict({"learning_rate": 0.1})


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory) -> tuple[Sweep, Path]:
    folder = tmp_path_factory.mktemp("sweep")
    return sweep.compute(TINY, folder, dataset=digits, progress=False), folder


def test_a_sweep_that_was_cut_off_goes_on(finished, digits, tmp_path):
    whole, folder = finished
    for path in folder.glob("sg*.json"):
        if "vc" not in path.name:
            (tmp_path / path.name).write_text(path.read_text())
    kept = tmp_path / "sgd-full-1.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"std": ["kept"]}))
    again = sweep.compute(TINY, tmp_path, dataset=digits, progress=False)
    assert again.rows["sgd-full-1"]["std"] == ["kept"], "a finished point is not computed again"
    for name in ("sgld-vc-1", "sgld-vc-4"):
        assert without_seconds(again)[name] == without_seconds(whole)[name], "bit for bit"


def test_a_point_does_not_depend_on_the_others(finished, digits, tmp_path):
    alone = sweep.compute(dataclasses.replace(TINY, bits=(4,)), tmp_path, dataset=digits, progress=False)
    whole = without_seconds(finished[0])
    assert all(row == whole[name] for name, row in without_seconds(alone).items())


@pytest.mark.parametrize(
    ("field", "value"), [("lr", 0.1), ("seeds", 3), ("steps", 32), ("seed", 1), ("burn_in", 4), ("model", "mlp")]
)
def test_a_point_of_other_settings_is_refused(finished, digits, field, value):
    before = {path.name: path.read_bytes() for path in finished[1].glob("*.json")}
    with pytest.raises(
        SweepError, match=f"sgd-full-float32.json is of another sweep: {field} is .* and {value!r} here"
    ):
        sweep.compute(dataclasses.replace(TINY, **{field: value}), finished[1], dataset=digits, progress=False)
    assert {path.name: path.read_bytes() for path in finished[1].glob("*.json")} == before


def test_a_point_of_other_images_or_of_another_point_is_refused(finished, digits, tmp_path):
    folder = shutil.copytree(finished[1], tmp_path / "sweep")
    with pytest.raises(SweepError, match="is of another sweep: images is"):
        sweep.compute(TINY, folder, dataset=digits.subset(100, 50), progress=False)
    shutil.copy(folder / "sgld-vc-1.json", folder / "sgld-vc-4.json")
    with pytest.raises(SweepError, match="sgld-vc-4.json is of another sweep: point is 'sgld-vc-1' there"):
        sweep.compute(TINY, folder, dataset=digits, progress=False)


@pytest.mark.parametrize("name", ["sgd-full-1.json", "about.json"])
@pytest.mark.parametrize("content", ["", '{"nll"', "[]", "{}", '{"x": 1}', "[" * 100_000], ids=lambda text: text[:5])
def test_a_file_in_the_place_of_a_point_is_told_and_left(finished, digits, tmp_path, name, content):
    folder = shutil.copytree(finished[1], tmp_path / "sweep")
    (folder / name).write_text(content)
    with pytest.raises(SweepError, match=f"{name} holds no sweep .*move it away"):
        sweep.compute(TINY, folder, dataset=digits, progress=False)
    assert (folder / name).read_text() == content


def test_strangers_in_the_folder_of_a_sweep_stay(digits, tmp_path):
    strangers = [tmp_path / ".notes.tmp", tmp_path / "sub" / ".notes.tmp"]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    alone = dataclasses.replace(TINY, bits=(4,), samplers=("sgd",))
    sweep.compute(alone, tmp_path, dataset=digits, progress=False)
    assert [path.read_text() for path in strangers] == ["mine", "mine"]


def test_a_sweep_replaces_no_other_file(finished, tmp_path):
    (tmp_path / "x.json").write_text("my thesis")
    with pytest.raises(SweepError, match="x.json holds no sweep"):
        finished[0].write(tmp_path / "x.json")
    assert (tmp_path / "x.json").read_text() == "my thesis"


def test_a_sweep_survives_its_file(finished, tmp_path):
    result, _ = finished
    path = tmp_path / "recorded" / "some.json"
    result.write(path)
    assert Sweep.read(path) == result
    assert sweep.find(dataclasses.replace(TINY, bits=(1, 2), seeds=9), path.parent) == result
    assert sweep.find(dataclasses.replace(TINY, lr=0.1), path.parent) is None
    assert sweep.find(TINY, tmp_path / "nowhere") is None


def test_a_file_that_is_no_sweep(finished, tmp_path):
    path = tmp_path / "other.json"
    with pytest.raises(SweepError, match="cannot read .*other.json: No such file"):
        Sweep.read(path)
    for content in ("{", "[]", "5", "[" * 100_000, '{"settings": 5, "rows": {}}', '{"settings": {}}'):
        path.write_text(content)
        with pytest.raises(SweepError, match="holds no sweep"):
            Sweep.read(path)
    result, _ = finished
    dataclasses.replace(result, rows={}).write(path)
    with pytest.raises(SweepError, match="lacks sgd-full-float32"):
        Sweep.read(path)


# ---- what is read from it --------------------------------------------------------------------------------------------


def made(nll: dict[int | None, list[float]]) -> Sweep:
    settings = Settings(samplers=("sgld",), bits=(1, 2, 3), networks=1, steps=1, seeds=2)
    rows = {str(point): {"nll": {"1": nll[point.bits]}} for point in settings.points()}
    return Sweep(settings, {}, {}, rows)


def test_excess_and_needed_bits():
    result = made({None: [0.19, 0.21], 1: [0.5, 0.5], 2: [0.2, 0.2], 3: [0.24, 0.26]})
    mean, error = result.excess("sgld", "vc")
    assert mean == pytest.approx([0.3, 0.0, 0.05])
    assert error == pytest.approx([0.01, 0.01, math.sqrt(2) * 0.01])
    assert sweep.standard_errors(np.array([1.0, 3.0]), np.array([0.0, 0.0])) == pytest.approx(2.0)
    assert result.needed_bits("sgld", "vc", 0.4) == 1
    assert result.needed_bits("sgld", "vc", 0.1) == 2
    assert result.needed_bits("sgld", "vc", 0.01) is None, "two bits fit, but three do not: not enough from two on"
    assert result.needed_bits("sgld", "vc", 0.051) == 2 and result.needed_bits("sgld", "vc", 0.051, errors=2) is None
    assert result.needed_bits("sgld", "vc", 0.049) is None and result.needed_bits("sgld", "vc", 0.049, errors=-2) == 2
    assert result.seen("sgld", "vc") == 1, "with two bits the excess is 0, and what comes after does not count"


def test_a_power_of_the_gap_has_the_error_that_repetitions_show():
    """Excess 0.4·Δ^1.5 measured by 5 chains, 400 times: the errors told are those that happen, to 15 % (the standard
    error of a standard deviation of 400 is 3.5 %; five chains know their own spread less well)."""
    rng, bits = np.random.default_rng(0), (1, 2, 3)
    settings = Settings(samplers=("sgld",), bits=bits, networks=1, steps=1, seeds=5)
    found = []
    for _ in range(400):
        level = {None: 0.2} | {b: 0.2 + 0.4 * 2.0 ** (-1.5 * b) for b in bits}
        rows = {
            str(p): {"nll": {"1": (level[p.bits] + 0.003 * rng.standard_normal(5)).tolist()}} for p in settings.points()
        }
        found.append(Sweep(settings, {}, {}, rows).power("sgld", "vc"))
    powers, errors = np.array(found).T
    assert powers.mean() == pytest.approx(1.5, abs=5 * powers.std() / 20)
    assert np.median(errors) == pytest.approx(powers.std(), rel=0.15)


def test_sgd_predicts_alone_and_sgld_with_all_its_networks(finished):
    result, _ = finished
    for sampler, count in (("sgd", "1"), ("sgld", "4")):
        rows = [result.rows[f"{sampler}-naive-{bits}"]["nll"] for bits in TINY.bits]
        assert result.scores(sampler, "naive").tolist() == [row[count] for row in rows]
        assert result.reference(sampler).tolist() == result.rows[f"{sampler}-full-float32"]["nll"][count]
        mean, std = result.spread(sampler, "naive", count=2)
        assert mean == pytest.approx([sum(row["2"]) / 2 for row in rows])
        assert std == pytest.approx([abs(a - b) / math.sqrt(2) for a, b in (row["2"] for row in rows)])


@pytest.mark.parametrize("name", ["sgld-full-float32", "sgld-naive-1", "sgld-naive-4"])
def test_a_density_of_weights_has_their_mass_and_their_width(finished, name):
    """Its second moment is that of the weights, which was measured apart: on the grid exactly, else within a bin."""
    result, _ = finished
    bits = None if name.endswith("float32") else int(name[-1])
    heights, edges = result.density(Point(*name.split("-")[:2], bits))
    mass, middles = heights * np.diff(edges), (edges[1:] + edges[:-1]) / 2
    assert mass.sum() == pytest.approx(1, rel=1e-3)
    assert np.diff(edges) == pytest.approx(0.5 if bits == 1 else 1 / 16)
    within = 1 / 16**2 / 12 if bits is None else 0  # of the even spread within a bin
    measured = np.mean(np.square(result.rows[name]["std"]))
    assert (mass * middles**2).sum() - within == pytest.approx(measured, rel=2e-3 if bits else 0.02)


# ---- what is recorded ------------------------------------------------------------------------------------------------


def test_recorded_sweeps_say_where_they_come_from():
    found = [Sweep.read(path) for path in RECORDED.glob("*.json")]
    assert len(found) >= 3
    for result in found:
        assert {"lpsgld", "torch", "python", "device", "started", "seconds"} <= result.provenance.keys()
        assert {"name", "train", "test", "fingerprint"} <= result.dataset.keys()
        if result.settings.dataset == "digits":
            data = sweep.reduced(datasets.load("digits"), result.settings)
            assert result.dataset["fingerprint"] == data.fingerprint


@pytest.mark.slow
def test_this_code_gives_the_recorded_numbers():
    """SGD in float32 does not round, so that other machines give nearly the same."""
    result = Sweep.read(RECORDED / "digits-logistic.json")
    point = Point("sgd", "full", None)
    with seeded(CPU, result.settings.seed, *point.key):
        row = sweep._measure(point, result.settings, datasets.load("digits"), CPU)
    assert row["nll"]["32"] == pytest.approx(result.rows[str(point)]["nll"]["32"], rel=1e-3)
