"""Networks: the right number of parameters, the right quantizer sites."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

import lpsgld
from lpsgld import formats
from lpsgld.bnn.network import models
from lpsgld.bnn.network.quantizing import remove_quantizers
from lpsgld.rounding import Quantizer

BLOCK = formats.parse("block(8,0)")


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_resnet18_is_the_papers():
    assert count(models.build("resnet18", (3, 32, 32), 10)) == 11_173_962


def test_resnet34_is_the_usual_one():
    assert count(models.build("resnet34", (3, 32, 32), 10)) == 21_282_122


def test_small_models_have_the_parameters_of_their_formulas():
    assert count(models.build("logistic", (1, 28, 28), 10)) == 784 * 10 + 10
    assert count(models.build("mlp", (1, 28, 28), 10, width=100)) == 784 * 100 + 100 + 100 * 10 + 10


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 9, 5), (1, 1, 1)])
def test_logits_for_any_image(name, shape):
    torch.manual_seed(0)
    model = models.build(name, shape, 7, width=4)
    assert model(torch.randn(3, *shape)).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "sites", "count"),
    [
        ("resnet18", "paper", 2 + 8 * 3),  # two in the stem, three a block
        ("resnet18", "residual", 2 + 8 * 4),  # and the result of each block
        ("resnet18", "all", 2 + 8 * 4 + 1 + 3 + 1),  # and the image, three shortcuts, the pooled features
        ("mlp", "paper", 3),
        ("mlp", "residual", 3),
        ("mlp", "all", 4),
        ("logistic", "paper", 1),
    ],
)
def test_number_of_sites(name, sites, count):
    model = models.build(name, (3, 8, 8), 10, width=4, sites=sites)
    assert sum(isinstance(m, Quantizer) for m in model.modules()) == count


def test_the_papers_sites_are_the_default():
    """As in the released network: 26 of a ResNet-18."""
    model = models.build("resnet18", (3, 8, 8), 10, width=4)
    assert sum(isinstance(m, Quantizer) for m in model.modules()) == 26


@pytest.mark.parametrize(("sites", "rounded"), [("paper", False), ("residual", True), ("all", True)])
def test_only_the_papers_residual_stream_is_in_full_precision(sites, rounded):
    """What each block hands to the next one, forward, and the errors that come back."""
    torch.manual_seed(0)
    model = models.build("resnet10", (3, 8, 8), 10, width=4, activation=BLOCK, error=BLOCK, sites=sites)
    stream, errors = [], []

    def remember(block, _, result):
        stream.append(result.detach())
        result.register_hook(errors.append)

    for block in model.blocks:
        block.register_forward_hook(remember)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    on_grid = [torch.equal(lpsgld.quantize(x, BLOCK, "nearest"), x) for x in stream]
    assert len(stream) == len(errors) == 4 and on_grid == [rounded] * 4


def test_with_all_sites_every_operand_of_a_product_is_rounded():
    torch.manual_seed(0)
    model = models.build("resnet10", (3, 8, 8), 10, width=4, activation=BLOCK, sites="all")
    operands = []

    def remember(module, arguments):
        operands.append(arguments[0])

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_pre_hook(remember)
    model(torch.randn(4, 3, 8, 8))
    assert len(operands) == 1 + 4 * 2 + 3 + 1
    for x in operands:
        assert torch.equal(lpsgld.quantize(x, BLOCK, "nearest"), x)


def test_the_shortcut_is_left_alone_as_in_the_paper():
    model = models.build("resnet18", (3, 8, 8), 10, width=4, activation=BLOCK)
    assert not any(isinstance(m, Quantizer) for block in model.blocks for m in block.shortcut.modules())


def test_a_projection_is_the_strided_convolution():
    torch.manual_seed(0)
    projection = models.Projection(5, 7, 2).double()
    for size in (8, 9):
        x = torch.randn(4, 5, size, size, dtype=torch.float64, requires_grad=True)
        ours, theirs = projection(x), F.conv2d(x, projection.weight, stride=2)
        torch.testing.assert_close(ours, theirs)
        slopes = [torch.autograd.grad(y.square().sum(), [x, projection.weight]) for y in (ours, theirs)]
        torch.testing.assert_close(*slopes)


@pytest.mark.slow
def test_batches_that_threads_cannot_share_evenly_do_not_corrupt_memory():
    """torch's own strided convolution crashes on these (see `models.Projection`): hence a process of their own."""
    code = """
import torch
from lpsgld.bnn.network import models
torch.set_num_threads(2)
for batch, width, size in ((3, 4, 32), (5, 8, 32), (29, 8, 16), (29, 4, 32)):
    projection = models.Projection(width, 2 * width, 2).to(memory_format=torch.channels_last)
    for _ in range(20):
        x = torch.randn(batch, width, size, size).to(memory_format=torch.channels_last).requires_grad_()
        projection(x).square().sum().backward()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_formats_the_sites_change_nothing():
    torch.manual_seed(0)
    model = models.build("resnet10", (3, 8, 8), 10, width=4).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    remove_quantizers(model)
    assert not any(isinstance(m, Quantizer) for m in model.modules())
    assert torch.equal(model(x), expected)


def test_errors_are_rounded_on_the_way_back():
    torch.manual_seed(0)
    model = models.build("mlp", (1, 4, 4), 3, width=5, error=formats.parse("fixed(8,2)"))
    seen = []

    def before_rounding(layer, _, logits):
        logits.register_hook(seen.append)

    model.linear.register_forward_hook(before_rounding, prepend=True)
    model(torch.randn(8, 1, 4, 4)).square().sum().backward()
    assert seen and torch.equal(lpsgld.quantize(seen[0], formats.parse("fixed(8,2)"), "nearest"), seen[0])


def test_rounding_can_be_switched_to_nearest():
    torch.manual_seed(0)
    model = models.build("resnet10", (3, 8, 8), 10, width=4, activation=BLOCK).eval()
    x = torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(x), model(x))
    models.set_activation_rounding(model, "nearest")
    assert torch.equal(model(x), model(x))


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="there is no model 'resnet-18': choose from logistic, mlp"):
        models.build("resnet-18", (3, 32, 32), 10)
    with pytest.raises(ValueError, match="there is no set of sites 'inputs': choose from paper, residual, all"):
        models.build("resnet18", (3, 32, 32), 10, sites="inputs")
