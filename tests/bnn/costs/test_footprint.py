"""Bytes counted from shapes against real tensors, against another way to count, and against closed forms."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from lpsgld import formats, quantize
from lpsgld.bnn.costs import footprint
from lpsgld.bnn.training.recipes import RECIPES, Recipe
from lpsgld.storage import pack, squeeze

EIGHT = RECIPES["train_bfp"]
FULL = Recipe()


@pytest.mark.parametrize(
    "text",
    [
        *("full", "fixed(8,3)", "fixed(12,4)", "fixed(20,4)", "block(8,0)", "block(8,-1)", "block(8,1)", "float(4,3)"),
        *("e4m3", "bfloat16", "mxfp8(e5m2)", "mxfp6(e2m3,block=2)", "mxfp4", "mxfp4(block=4,axis=0)", "nvfp4"),
    ],
)
@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (7, 4)])
def test_a_tensor_takes_the_bytes_of_its_packed_codes(text, shape):
    fmt = formats.parse(text)
    packed = pack(quantize(torch.randn(shape), fmt), fmt)
    codes = packed.codes if fmt is None else squeeze(packed.codes, fmt.bits)
    assert footprint.total_bytes([shape, shape], fmt) / 2 == codes.nbytes + sum(
        scales.nbytes for scales in packed.scales
    )


@pytest.mark.parametrize("accumulator", ["full", "vc"])
def test_momentum_costs_another_copy(accumulator):
    """In hardware that of the earlier weights, in their format."""
    plain = EIGHT.override(accumulator=accumulator)
    for simulated in (False, True):
        without, ball = (footprint.memory(r, simulated=simulated) for r in (plain, plain.override(sampler="sghmc")))
        numbers = footprint.memory(FULL).weights if accumulator == "full" else without.weights
        assert ball.copy - without.copy == numbers and ball.weights == without.weights


@pytest.mark.parametrize("model", ["resnet18", "mlp", "logistic"])
@pytest.mark.parametrize("recipe", [FULL, EIGHT, RECIPES["train_fixed"]], ids=["full", "bfp", "fixed"])
def test_weights_gradients_and_activations_are_those_of_a_real_network(model, recipe):
    """Counted on the meta device, from shapes alone; this one is there."""
    recipe = recipe.override(model=model, width=6, batch_size=5)
    network = recipe.build_model((1, 8, 8), 10)
    images, labels = torch.randn(5, 1, 8, 8), torch.zeros(5, dtype=torch.int64)
    kept, _, needed = footprint.kept_for_backward(network, images, labels)
    F.cross_entropy(network(images), labels).backward()
    here = footprint.memory(recipe, (1, 8, 8), 10, simulated=True)
    assert here.weights == sum(p.nbytes for p in network.parameters())
    assert here.gradients == sum(p.grad.nbytes for p in network.parameters())
    assert here.activations == sum(t.untyped_storage().nbytes() for t in kept)
    assert footprint.memory(recipe, (1, 8, 8), 10).activations == -(-needed // 8)


@pytest.mark.parametrize("recipe", [FULL, EIGHT], ids=["full", "bfp"])
def test_what_is_kept_is_what_the_graph_holds(recipe):
    """Counted anew from the nodes of the graph, each of which names the tensors that it has saved."""
    network = recipe.override(width=8).build_model((3, 16, 16), 10)
    images, labels = torch.randn(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64)
    kept, held, _ = footprint.kept_for_backward(network, images, labels)
    loss = F.cross_entropy(network(images), labels)
    own = {t.data_ptr() for t in (*network.parameters(), *network.buffers())}
    saved = {}
    for node in footprint.graph(loss):
        for name in dir(node):
            if name.startswith("_saved_") and isinstance(tensor := getattr(node, name), torch.Tensor):
                saved[tensor.untyped_storage().data_ptr()] = tensor
    sizes = [t.untyped_storage().nbytes() for place, t in saved.items() if place not in own]
    assert sorted(sizes) == sorted(t.untyped_storage().nbytes() for t in kept)
    assert 8 * sum(sizes) == held


def test_an_mlp_by_hand():
    """In float32: the images, the ReLU's results, log-probabilities, labels and one number. In 8 bits: two codes."""
    recipe = Recipe(model="mlp", width=100, batch_size=32)
    kept = 4 * 32 * (784 + 100 + 10) + 8 * 32 + 4
    assert footprint.memory(recipe, (1, 28, 28), 10).activations == kept
    eight = recipe.override(activation="fixed(8,4)", sites="all")
    # rounded: images and hidden units, a byte each; a bit for each ReLU
    assert (
        footprint.memory(eight, (1, 28, 28), 10).activations == 32 * (784 + 100) + 32 * 100 / 8 + 4 * 320 + 8 * 32 + 4
    )


@pytest.mark.parametrize("sites", ["paper", "residual"])
def test_a_resnet_by_hand(sites):
    """ResNet-10 of width 8, 5 images of 8×8, 8-bit activations: what the backward pass needs, tensor by tensor."""
    recipe = Recipe(model="resnet10", width=8, batch_size=5, activation="fixed(8,4)", sites=sites)
    numbers = [5 * 8 * 2**stage * (8 // 2**stage) ** 2 for stage in range(4)]  # of an activation
    statistics = 4 * 2 * 8  # mean and inverse deviation of each channel of the first stage, in float32
    needed = 4 * 5 * 3 * 64  # the image
    needed += numbers[0] * (2 + 1 / 8) + statistics  # stem: after convolution and ReLU, a byte each; the ReLU's sign
    for stage, n in enumerate(numbers):
        needed += n * (3 + 1 / 8) + 2 * statistics * 2**stage  # two convolutions, a ReLU, its sign
        last = stage == 3
        # the block's result: its sign, and what the next block reads; the average over the image keeps nothing of it
        needed += n * (1 if sites == "residual" and not last else 0 if last else 4)
        needed += n / 8 if sites == "residual" or last else 0
        needed += 4 * n + statistics * 2**stage if stage > 0 else 0  # the shortcut's convolution, in float32
    needed += 4 * 5 * 64 + 4 * 5 * 10 + 8 * 5 + 4  # pooled features, log-probabilities, labels, one number
    assert footprint.memory(recipe, (3, 8, 8), 10).activations == needed


def test_the_parts_follow_the_recipe():
    samples = EIGHT.override(samples=10)
    assert 10 * footprint.memory(EIGHT.override(samples=1)).samples == footprint.memory(samples).samples
    copied, alone = footprint.memory(EIGHT.override(accumulator="full")), footprint.memory(EIGHT)
    assert copied.copy == 4 * 11_173_962 and alone.copy == 0
    assert dataclasses.replace(copied, copy=0) == alone
    assert footprint.memory(FULL) == footprint.memory(FULL, simulated=True), "nothing is simulated in full precision"
    assert alone.total == sum(dataclasses.astuple(alone))


def test_formats_by_names_are_counted_each():
    """An MLP of 64·16 + 16 and 16·10 + 10 numbers: biases in float32, else a byte, and a scale for each row."""
    recipe = EIGHT.override(model="mlp", width=16, weight={"*bias": None, "*": "block(8,0)"})
    rounded = 16 * 64 + 16 + 10 * 16 + 10
    assert footprint.memory(recipe, (1, 8, 8), 10).weights == rounded + 4 * 26
    copied = footprint.memory(recipe.override(accumulator="full"), (1, 8, 8), 10).copy
    assert copied == 4 * (16 * 64 + 10 * 16)


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    footprint._counted.cache_clear()
    footprint.memory(EIGHT.override(model="mlp"), (1, 8, 8), 10)
    assert torch.equal(torch.rand(4), expected)
