"""Networks, data and losses that are not ours: trained, resumed, evaluated, and refused in one sentence."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lpsgld import Quantizer, quantize, quantize_network
from lpsgld.__main__ import MISTAKE, main
from lpsgld.bnn import own
from lpsgld.bnn.data import datasets
from lpsgld.bnn.data.arrays import DatasetError, Tensors
from lpsgld.bnn.judging import ensemble, records
from lpsgld.bnn.network.quantizing import is_quantized
from lpsgld.bnn.training import loop, probe
from lpsgld.bnn.training.recipes import RecipeError
from lpsgld.bnn.training.runs import Run, RunError
from lpsgld.storage import StorageError, load_sample
from lpsgld.text import Mistake


class Tied(nn.Module):
    """The next word by a network whose first and last matrix are one; a norm, and a parameter that stays as it is."""

    def __init__(self, words: int = 7):
        super().__init__()
        self.words = nn.Embedding(words, 16)
        self.norm = nn.LayerNorm(16)
        self.out = nn.Linear(16, words, bias=False)
        self.out.weight = self.words.weight
        self.scale = nn.Parameter(torch.tensor(0.3), requires_grad=False)

    def forward(self, x):
        return self.scale * self.out(self.norm(self.words(x)))


def of_images(data):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, len(data.classes)))


def wider(data):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 17), nn.ReLU(), nn.Linear(17, len(data.classes)))


def with_its_own_sites(data):
    net = of_images(data)
    quantize_network(net, "block(8,0)", after="1")
    return net


def smoothed(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=0.1)


def doubled(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def words() -> Tensors:
    """Rows that count on from somewhere, modulo 7: the next word is certain."""
    rows = (torch.arange(7)[:, None] + torch.arange(6)) % 7
    rows = rows.repeat(20, 1)
    parts = rows[:, :-1], rows[:, 1:]
    return Tensors("counting", *parts, *(p[:21] for p in parts), tuple("abcdefg"), tuple("abcdefg"), "word")


def no_module(data):
    return 3


class Alone(nn.Module):
    """Nothing in it is of a type that `quantize_network` knows."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(64, 10))

    def forward(self, x):
        return x.flatten(1) @ self.matrix


def frozen(data):
    return of_images(data).requires_grad_(False)


def column(data):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))


def train(recipe, out, **options) -> Run:
    return loop.train(recipe, out, progress=False, device="cpu", **options)


NAME = f"{__name__}:of_images"


def test_a_network_of_ones_own_trains_goes_on_and_is_evaluated_like_ours(tmp_path, digits, small):
    whole = train(small, tmp_path / "whole", model=of_images, dataset=digits)
    cut = small.override(model=NAME)
    while not (run := train(cut, tmp_path / "cut", dataset=digits, time_limit=0)).finished:
        pass
    assert [a.read_bytes() for a in run.samples] == [b.read_bytes() for b in whole.samples]
    assert whole.recipe.model == run.recipe.model == NAME and whole.history[-1]["test_error"] < 0.4
    assert Run.open(whole.path) == whole
    told = ensemble.evaluate(whole, digits, device="cpu", progress=False)
    assert told.probabilities.shape == (200, 10) and told.scores["error"] < 0.4
    assert set(probe.numbers(whole, digits, device="cpu")) == {"1", "3"}


def test_a_run_goes_on_with_no_other_network_and_no_other_loss(tmp_path, digits, small):
    train(small, tmp_path / "a", model=of_images, loss=smoothed, dataset=digits, time_limit=0)
    for other, told in (
        ({"model": wider}, "model is"),
        ({"loss": "cross_entropy"}, "loss is"),
        ({"model": "mlp"}, "mlp"),
    ):
        with pytest.raises(RunError, match=f"holds another run: .*{told}"):
            train(small, tmp_path / "a", **({"model": of_images, "loss": smoothed} | other), dataset=digits)


def test_the_recipes_activations_are_rounded_after_all_known_parts_unless_the_network_says_where(digits, small):
    def sites(model, **fields):
        net = small.override(model=own.name_of("model", model, RecipeError), **fields).network(digits)
        return [name for name, part in net.named_modules() if is_quantized(part)]

    assert sites(of_images) == ["1", "3"] and sites(with_its_own_sites) == ["1"]
    assert sites(of_images, activation="full", error="full") == []
    net = small.override(model=NAME, error="e5m2").network(digits)
    formats = {(str(m.activation.name), str(m.error.name)) for m in net.modules() if isinstance(m, Quantizer)}
    assert formats == {("block(8,0)", "e5m2")}


def scaled(data):
    net = of_images(data)
    net.append(Alone())
    net[-1].matrix = nn.Parameter(0.1 * torch.eye(10))
    return net


def test_what_no_quantizer_sees_is_told(tmp_path, digits, small, capsys):
    loop.train(small, tmp_path, model=scaled, dataset=digits, device="cpu", time_limit=0)
    told = "errors are rounded at 2 sites of Sequential; not rounded: 4 computes with matrix itself"
    assert told in capsys.readouterr().err


def test_words_with_a_label_each_a_tied_matrix_and_a_frozen_number(tmp_path, small):
    recipe = small.override(model=f"{__name__}:Tied", dataset=f"{__name__}:words", epochs=12, batch_size=20, lr=2.0)
    cut = train(recipe, tmp_path / "cut", time_limit=0)
    assert not cut.finished
    run = train(recipe, tmp_path / "cut")
    assert run.finished and run.history[-1]["test_error"] < 0.2  # chance: 6/7
    assert run.history[-1]["train_error"] < 0.2
    sample = load_sample(run.samples[-1])
    assert torch.equal(sample.state["out.weight"], sample.state["words.weight"])
    assert sample.weight["words.weight"].name == "block(8,0)" and sample.state["scale"].item() == pytest.approx(0.3)
    assert run.dataset["input_shape"] == [5] and len(run.dataset["vocabulary"]) == 16
    told = ensemble.evaluate(run.path, device="cpu", progress=False)
    assert told.probabilities.shape == (21 * 5, 7) and told.labels.shape == (21 * 5,)
    record = records.make(run, told)
    records.write(tmp_path / "words.json", record)
    assert records.read(tmp_path / "words.json") == record
    with pytest.raises(RunError, match="counts other words"):
        other = Tensors("other", *words().parts, tuple("abcdefg"), tuple("gfedcba"))
        ensemble.evaluate(run, other, device="cpu", progress=False)


def test_formats_by_names_are_trained_stored_and_looked_at(tmp_path, digits, small):
    formats = {"1.bias": None, "3.*": "block(16,0)", "*": "block(8,0)"}
    recipe = small.override(model=NAME, weight=formats, grad={"*weight": "block(8,0)", "*": None}, activation="full")
    run = train(recipe, tmp_path / "run", dataset=digits)
    assert Run.open(run.path) == run and run.history[-1]["test_error"] < 0.4
    sample = load_sample(run.samples[-1])
    assert {name: fmt and fmt.name for name, fmt in sample.weight.items()} == {
        "1.weight": "block(8,0)", "1.bias": None, "3.weight": "block(16,0)", "3.bias": "block(16,0)"
    }  # fmt: skip
    for name, fmt in sample.weight.items():
        assert torch.equal(quantize(sample.state[name], fmt, "nearest"), sample.state[name])
    assert probe.numbers(run, digits, device="cpu")["3"].weights.fmt == "block(16,0)"
    ensemble.evaluate(run, digits, device="cpu", progress=False)
    turned = dict(reversed(formats.items()))
    with pytest.raises(RunError, match="holds another run: weight is"):
        train(recipe.override(weight=turned), tmp_path / "run", dataset=digits)
    with pytest.raises(RecipeError, match="does not fit the network: there is no parameter '2"):
        train(recipe.override(weight={"2*": None, "*": "block(8,0)"}), tmp_path / "other", dataset=digits)


def test_the_noise_is_that_of_all_labels(tmp_path, small):
    """A mean loss over N·L labels is the log likelihood over N·L."""
    stepper = loop.Stepper(small.override(model=f"{__name__}:Tied"), words(), torch.device("cpu"))
    assert {group["num_data"] for group in stepper.optimizer.param_groups} == {140 * 5}


def test_a_run_can_be_given_the_function_that_moved(tmp_path, digits, small, monkeypatch):
    run, function = train(small, tmp_path / "run", model=of_images, dataset=digits), of_images
    monkeypatch.delattr(sys.modules[__name__], "of_images")
    with pytest.raises(RecipeError, match="there is no 'of_images' in"):
        ensemble.evaluate(run, digits, device="cpu", progress=False)
    with pytest.raises(
        StorageError, match=r"of another network than .*:wider makes here: .*\(\(16, 64\), not \(17, 64"
    ):
        ensemble.evaluate(run, digits, model=wider, device="cpu", progress=False)
    monkeypatch.setattr(sys.modules[__name__], "moved", function, raising=False)
    ensemble.evaluate(run, digits, model=f"{__name__}:moved", device="cpu", progress=False)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"model": "nowhere.at.all:mine"}, RecipeError, "there is no module 'nowhere'"),
        ({"model": f"{__name__}:mine"}, RecipeError, "there is no 'mine' in"),
        ({"model": f"{__name__}:NAME"}, RecipeError, "is str, but must be a function"),
        ({"model": no_module}, RecipeError, "returned int, but must return a torch.nn.Module"),
        ({"model": frozen}, RecipeError, "without a parameter to be sampled"),
        ({"model": Alone}, RecipeError, "cannot be rounded, since Alone has no part of a known type: .* yourself"),
        ({"model": column}, RecipeError, r"returned shape \(128, 1\) .* logits of shape \(128, 10\)"),
        ({"model": lambda data: None}, RecipeError, "not found again by a name"),
        ({"model": nn.Linear(2, 2)}, RecipeError, "not found again by a name"),
        ({"model": "mpl"}, RecipeError, 'or "package.module:function". Did you mean "mlp"'),
        ({"loss": doubled}, RecipeError, r"returned shape \(128,\), but must return one number"),
        ({"loss": "crossentropy"}, RecipeError, 'Did you mean "cross_entropy"'),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_sentence_and_leaves_nothing(
    tmp_path, digits, small, fields, error, message
):
    assert issubclass(error, Mistake)
    with pytest.raises(error, match=message):
        train(small, tmp_path / "run", dataset=digits, **fields)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_images_networks_refuse_words_and_data_must_be_data(tmp_path, small):
    with pytest.raises(RecipeError, match=r"a model .mlp. reads images, but counting has sequences of shape \(5,\)"):
        train(small, tmp_path / "run", dataset=words())
    with pytest.raises(DatasetError, match="returned Linear, but must return a Dataset or Tensors"):
        datasets.load(f"{__name__}:a_layer")
    with pytest.raises(DatasetError, match="asks for an argument, but is called with none"):
        datasets.load(NAME)
    with pytest.raises(DatasetError, match="999 training sequences were asked for, but counting has 140"):
        words().subset(999, 1)
    short = Tensors("short", torch.zeros(3, 2), torch.zeros(3), torch.zeros(2, 2), torch.zeros(2), ("a", "b"))
    with pytest.raises(DatasetError, match="there must be int64 labels"):
        train(small, tmp_path / "run", model=of_images, dataset=short)


def a_layer():
    return nn.Linear(2, 2)


def test_what_a_module_of_the_users_lacks_is_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "module_that_lacks.py").write_text("import something_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there"):
        own.find("model", "module_that_lacks:f", RecipeError)


def test_the_command_line_finds_modules_where_it_is_called(tmp_path, monkeypatch, capsys):
    (tmp_path / "networks_of_a_test.py").write_text(
        "from torch import nn\n\ndef mine(data):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "\ndef no_module(data):\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    common = ["--dataset", "digits", "--set", "epochs=1", "--set", "samples=1", "--quiet", "--device", "cpu"]
    given = ["train", "train_bfp", "--out", "run", *common]
    assert main([*given, "--model", "networks_of_a_test:mine"]) == 0
    assert main(["evaluate", "run", "--quiet", "--device", "cpu"]) == 0
    assert "ensemble of 1" in capsys.readouterr().out
    for name in ("networks_of_a_test:no_module", "networks_of_a_test:gone", "gone:mine"):
        assert main([*given[:3], "other", *common, "--model", name]) == MISTAKE
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and said[0].startswith("lpsgld: model ")
    assert main([*given, "--model", "mlp"]) == MISTAKE and "holds another run: model is" in capsys.readouterr().err
