"""Operations of a training step against closed forms and torch's own counter; bounds by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lpsgld.bnn.costs import roofline
from lpsgld.bnn.costs.roofline import Machine, Work
from lpsgld.bnn.training.recipes import Recipe

MACHINE = Machine("made up", bandwidth=100.0, rates={"float32": 1000.0, "int8": 4000.0})


@pytest.mark.parametrize(("width", "batch"), [(6, 5), (16, 2)])
def test_flops_are_those_of_torchs_counter(width, batch):
    model = Recipe(width=width).build_model((3, 16, 16), 10)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(torch.zeros(batch, 3, 16, 16)), torch.zeros(batch, dtype=torch.int64)).backward()
    work = roofline.step("resnet18", width, batch, (3, 16, 16), 10)
    assert work.flops.sum() == counter.get_total_flops()


def test_an_mlp_by_hand():
    b, d, h, c = 32, 784, 100, 10
    work = roofline.step("mlp", h, b, (1, 28, 28), c)
    forward, back_to_weights, back_to_hidden = 2 * b * (d * h + h * c), 2 * b * (d * h + h * c), 2 * b * h * c
    assert work.flops.sum() == forward + back_to_weights + back_to_hidden
    first = work.names.index("addmm")
    assert work.values[first] == h + b * d + d * h + b * h  # bias, images, weights, result
    weights = d * h + h + h * c + c
    assert work.names[-1] == "update" and work.values[-1] == 3 * weights
    relu = work.names.index("relu")
    assert (work.flops[relu], work.values[relu]) == (0, 2 * b * h)


def test_shapes_alone_give_the_operations_of_a_real_network():
    network = Recipe(width=24).build_model((3, 32, 32), 10)
    listed = roofline.operations(network, torch.zeros(6, 3, 32, 32), torch.zeros(6, dtype=torch.int64))
    work = roofline.step("resnet18", 24, 6)
    assert list(zip(work.names, work.flops, work.values, strict=True))[:-1] == listed


def test_bounds_by_hand():
    """The first operation waits for arithmetic, the second for memory, the third has no arithmetic."""
    work = Work(("a", "b", "c"), np.array([8000.0, 100.0, 0.0]), np.array([25.0, 50.0, 100.0]))
    assert work.seconds(MACHINE, "float32") == pytest.approx([8.0, 2.0, 4.0])
    assert work.seconds(MACHINE, "int8") == pytest.approx([2.0, 0.5, 1.0])
    assert work.bounds(MACHINE, "float32") == {"arithmetic": 8.0, "traffic": 2.0, "elementwise": 4.0}
    assert MACHINE.roof(work.intensity("float32"), "float32") == pytest.approx([1000, 50, 0])
    assert work.intensity("float32") == pytest.approx([80.0, 0.5, 0.0])
    assert list(work.products) == [True, True, False]


SLOW = Machine("slow", 100.0, {"float32": 1000.0})


@pytest.mark.parametrize("kind", roofline.BYTES)
@pytest.mark.parametrize("machine", [MACHINE, SLOW, roofline.H100], ids=lambda m: m.name)
def test_the_parts_of_a_step_add_up_to_its_bound(machine, kind):
    work = roofline.step("resnet18", 16, 8)
    assert sum(work.bounds(machine, kind).values()) == pytest.approx(work.seconds(machine, kind).sum())


def test_where_rates_grow_as_bytes_shrink_every_step_gains_by_that_factor():
    """An H100's int8 against the numbers that people train with there: neither width nor batch matters."""
    for width, batch in ((8, 1), (64, 128)):
        work = roofline.step("resnet18", width, batch)
        seconds = {kind: work.seconds(roofline.H100, kind) for kind in roofline.BYTES}
        assert seconds["TF32"] / seconds["int8"] == pytest.approx(4.0, rel=1e-3)
        assert seconds["bfloat16"] / seconds["int8"] == pytest.approx(2.0, rel=1e-3)


def test_without_an_int8_product_only_the_traffic_shrinks():
    work = Work(("a", "c"), np.array([8000.0, 0.0]), np.array([25.0, 100.0]))
    assert work.seconds(SLOW, "int8") == pytest.approx([8.0, 1.0])
    with pytest.raises(
        ValueError, match="there is no kind of number 'int16': choose from float32, TF32, bfloat16, int8"
    ):
        SLOW.rate("int16")
