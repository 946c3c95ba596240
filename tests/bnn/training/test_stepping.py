"""The training step: compiled equal in law to eager, one program for each size of a batch, no wait for a device."""

import dataclasses
import shutil

import pytest
import torch
from torch._dynamo.utils import counters
from tqdm.auto import tqdm

from lpsgld import formats, quantize
from lpsgld.bnn.data import arrays, datasets
from lpsgld.bnn.training import compiling, loop, stepping
from lpsgld.bnn.training.recipes import RECIPES
from lpsgld.bnn.training.runs import Run
from lpsgld.bnn.training.stepping import Stepper
from lpsgld.samplers.sgld import SGLD

compiler = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
needs_compiler = pytest.mark.skipif(compiler is None, reason="torch.compile needs a C++ compiler on the CPU (g++)")

MLP = RECIPES["train_bfp"].override(dataset="digits", model="mlp", width=16)
RESNET = MLP.override(model="resnet10", width=4)
CPU = torch.device("cpu")


@pytest.fixture
def shifted(digits):
    """Digits that may be shifted and mirrored, so that augmentation is part of the step: 500 = 3·128 + 116 images."""
    return dataclasses.replace(digits, pad=1, flip=True)


@pytest.fixture
def traced(monkeypatch):
    """torch.compile that traces, but generates no code: that takes minutes, for nothing that is looked at here."""
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, fullgraph, **_: original(f, backend="eager", dynamic=False))
    torch.compiler.reset()
    compiling.trial("cpu")  # is a program, too, once a process
    counters.clear()
    yield counters
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["decay", "cyclical"])
def test_a_schedule_compiles_nothing_again(tmp_path, shifted, schedule, traced):
    """Three programs whatever the number of steps: the optimizer, and the loss for each of two sizes of a batch."""
    recipe = MLP.override(schedule=schedule, epochs=6, samples=1)
    run = loop.train(recipe, tmp_path, dataset=shifted, device="cpu", progress=False, compile=True)
    assert traced["stats"]["unique_graphs"] == 3 and not traced["graph_break"]
    assert len({row["step_size"] for row in run.history}) > 2
    assert run.provenance["compiled"] is True and run.history[-1]["test_error"] < 0.6  # chance: 0.9


@pytest.mark.slow
def test_a_compiled_resnet_is_one_program(shifted, traced):
    """Augmentation, network with its quantizers, loss."""
    loss, hits = Stepper(RESNET, shifted, CPU, compile=True)._loss(torch.arange(16))
    loss.backward()
    assert traced["stats"]["unique_graphs"] == 1 and not traced["graph_break"]
    assert loss.isfinite() and 0 <= hits <= 16


@needs_compiler
def test_a_compiled_gradient_equals_the_eager_one(shifted):
    """Full precision and no augmentation leave no randomness; float32 sums in another order."""
    recipe = RECIPES["cifar10_sgd_float32"].override(dataset="digits", model="mlp", width=16)
    plain = dataclasses.replace(shifted, pad=0, flip=False)
    gradients = []
    for compile in (False, True):
        torch.manual_seed(0)
        stepper = Stepper(recipe, plain, CPU, compile)
        loss, hits = stepper._loss(torch.arange(100))
        loss.backward()
        gradients.append([loss, hits, *(p.grad for p in stepper.model.parameters())])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_a_look_at_a_batch_moves_nothing_and_a_move_takes_what_it_has_decided(digits):
    stepper = Stepper(MLP.override(lr=0.25), digits, CPU)
    before = [p.detach().clone() for p in stepper.model.parameters()]
    loss, hits = stepper.gradient(torch.arange(100), 0.5)
    assert loss.isfinite() and 0 <= hits <= 100 and stepper.optimizer.param_groups[0]["lr"] == 0.125
    assert all(map(torch.equal, stepper.model.parameters(), before))
    stepper.move()
    assert not any(map(torch.equal, stepper.model.parameters(), before))
    stepper.gradient(torch.arange(100), 0.5)
    assert stepper.optimizer.param_groups[0]["lr"] == 0.125, "a multiple of the base step size, not of the last one"


def test_a_schedule_reaches_every_group_of_parameters(digits, monkeypatch):
    def two_groups(recipe, model, num_data, compile):
        hidden, linear = model.hidden.parameters(), model.linear.parameters()
        return SGLD([{"params": hidden, "lr": 0.4}, {"params": linear}], lr=0.1, num_data=num_data)

    monkeypatch.setattr(stepping, "make_optimizer", two_groups)
    stepper = Stepper(MLP, digits, CPU)
    for multiplier in (0.5, 0.25, 1.0):
        stepper.gradient(torch.arange(10), multiplier)
        assert [group["lr"] for group in stepper.optimizer.param_groups] == [0.4 * multiplier, 0.1 * multiplier]


def test_batches_cover_an_epoch(digits):
    batches = Stepper(MLP, digits, CPU).batches()
    assert [len(batch) for batch in batches] == [128, 128, 128, 116]
    assert torch.cat(batches).sort().values.equal(torch.arange(500))


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [RESNET, RESNET.override(accumulator="full"), MLP.override(weight="fixed(8,8)"), MLP.override(sampler="sghmc")],
)
def test_an_epoch_never_asks_what_is_in_a_tensor(tmp_path, digits, shifted, recipe, monkeypatch):
    """On the meta device tensors hold no values: .item(), bool(), nonzero() and masks raise. The code that runs there
    is an accelerator's, since whatever is special in ours is special for the CPU."""
    meta = torch.device("meta")
    run = Run(tmp_path, recipe, 0, {}, {}, [])
    trainer = loop._Trainer(run, shifted, meta)
    monkeypatch.setattr(trainer.stepper, "batches", lambda: torch.arange(500, device=meta).split(128))
    sums, seen, _, shares, noise = trainer._steps(1, tqdm(disable=True))
    assert seen == 500 and {x.device for x in (sums, noise, *shares.values())} == {meta}
    with pytest.raises(RuntimeError):
        sums.tolist()  # which is what the end of the epoch does


# ---- the switches ----------------------------------------------------------------------------------------------


def test_compiled_is_decided_with_a_reason(monkeypatch):
    cuda = torch.device("cuda")
    assert compiling.compiled(False, CPU) == (False, "not compiled, as asked")
    assert not compiling.compiled("auto", CPU).on and "cpu" in compiling.compiled("auto", CPU).why
    monkeypatch.setattr(compiling, "trial", lambda kind: None)
    assert compiling.compiled("auto", cuda).on and compiling.compiled(True, CPU).on
    monkeypatch.setattr(compiling, "trial", lambda kind: "Cannot find a working triton installation")
    fallen = compiling.compiled("auto", cuda)
    assert not fallen.on and "slower" in fallen.why and "working triton" in fallen.why
    with pytest.raises(compiling.CompileError, match='working triton.*needs Triton.*use compile="auto"'):
        compiling.compiled(True, cuda)
    with pytest.raises(ValueError, match="compile is 'yes', but must be"):
        compiling.compiled("yes", CPU)


def test_a_missing_compiler_is_noticed_and_named(tmp_path, digits):
    compiling.trial.cache_clear()
    torch.compiler.reset()
    with torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "no-such-g++"),)}):
        with pytest.raises(compiling.CompileError, match=r"compile=True.*C\+\+ compiler \(g\+\+\)"):
            loop.train(MLP, tmp_path / "run", dataset=digits, device="cpu", progress=False, compile=True)
    compiling.trial.cache_clear()
    assert not (tmp_path / "run" / "recipe.json").exists()


@needs_compiler
def test_the_trial_passes_where_there_is_a_compiler():
    compiling.trial.cache_clear()
    assert compiling.trial("cpu") is None


def test_the_path_taken_is_shown(tmp_path, digits, capsys):
    loop.train(MLP.override(epochs=1, samples=1), tmp_path, dataset=digits, device="cpu")
    shown = capsys.readouterr().err
    assert "not compiled: on this kind of device (cpu)" in shown and "full float32 products" in shown


@pytest.mark.parametrize(
    ("recipe", "choice", "on"),
    [
        ("train_bfp", "auto", True),
        ("train_fixed", "auto", False),  # activations in full precision
        ("cifar10_sgld_float32", "auto", False),
        ("train_fixed", True, True),
        ("train_bfp", False, False),
    ],
)
def test_tf32_is_used_where_operands_have_few_bits(recipe, choice, on):
    assert compiling.tf32(choice, RECIPES[recipe], torch.device("cuda")).on is on
    assert not compiling.tf32(choice, RECIPES[recipe], CPU).on


def to_tf32(x: torch.Tensor) -> torch.Tensor:
    """float32 rounded to 10 stored bits of mantissa, nearest, ties to even."""
    bits = x.view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("name", ["fixed(8,8)", "fixed(8,3)", "block(8,0)", "block(8,-1)", "float(4,3)", "fixed(12,6)"])
def test_tf32_leaves_the_operands_of_few_bits_alone(name):
    """Over twenty powers of two, stochastic rounding at work; bfloat16 does, too, up to 8 bits."""
    fmt = formats.parse(name)
    x = torch.randn(20, 10_000) * 2.0 ** torch.arange(-10, 10)[:, None]
    on_grid = quantize(x, fmt)
    assert fmt.significant_bits <= 11
    assert torch.equal(to_tf32(on_grid), on_grid)
    if fmt.significant_bits <= 8:
        assert torch.equal(on_grid.bfloat16().float(), on_grid)


def test_tf32_rounds_everything_else():
    x = torch.randn(10_000)
    assert (to_tf32(x) != x).float().mean() > 0.99
    assert ((to_tf32(x) - x).abs() <= 2.0**-11 * x.abs()).all()
    wide = quantize(x, formats.parse("block(14,-1)"))
    assert formats.parse("block(14,-1)").significant_bits == 13 and not torch.equal(to_tf32(wide), wide)


@pytest.mark.parametrize("sites", ["paper", "residual", "all"])
def test_operands_that_tf32_rounds_are_the_ones_that_are_named(shifted, sites):
    """The table above `compiling`: of all weights, inputs and errors, the image, the residual stream and the errors of
    shortcuts."""
    stepper = Stepper(RESNET.override(sites=sites), shifted, CPU)
    rounded = set()

    def note(what: str, name: str, *operands: torch.Tensor) -> None:
        if not all(torch.equal(to_tf32(x), x) for x in operands):
            rounded.add((what, name))

    def hook(name: str):
        def after(conv, inputs, output):
            note("forward", name, conv.weight, *inputs)
            output.register_hook(lambda error: note("error", name, error))

        return after

    convolutions = {n: m for n, m in stepper.model.named_modules() if isinstance(m, torch.nn.Conv2d)}
    for name, conv in convolutions.items():
        conv.register_forward_hook(hook(name), prepend=True)  # what it computes, before that is rounded
    stepper.gradient(torch.arange(64))
    shortcuts = {("error", name) for name in convolutions if "shortcut" in name}
    stream = {("forward", f"blocks.{i}.{name}") for i in (1, 2, 3) for name in ("conv1", "shortcut.0")}
    assert len(convolutions) == 12 and len(shortcuts) == 3
    image = {("forward", "conv1")}
    assert rounded == {"paper": image | stream | shortcuts, "residual": image | shortcuts, "all": set()}[sites]


def test_the_image_moves_by_less_than_a_tenth_of_a_grey_level():
    """The one operand of the first convolution that TF32 rounds, with the paper's mean and standard deviation."""
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    std = torch.tensor(datasets._PAPER["std"]).view(1, -1, 1, 1)
    x = arrays.normalize(images, **datasets._PAPER)
    assert ((to_tf32(x) - x).abs() * std * 255).max() < 0.06


@pytest.mark.parametrize(("shape", "share"), [((64, 4096), 0.064), ((128, 16, 32, 32), 0.046)])
def test_rounding_to_bfloat16_first_changes_activations(shape, share):
    """Why a convolution's output stays in float32 until it is quantized."""
    torch.manual_seed(0)
    x, block = torch.randn(shape), formats.parse("block(8,0)")
    changed = quantize(x.bfloat16().float(), block, "nearest") != quantize(x, block, "nearest")
    assert changed.float().mean() == pytest.approx(share, abs=0.005)


def test_convolutions_puts_cudnn_back():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    with compiling.convolutions(not before[0]):
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == (not before[0], True)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before
