"""int8 products against float64, and the simulation in float32 against int8 products."""

import pytest
import torch

from lpsgld import formats, quantize
from lpsgld.bnn.costs import integers
from lpsgld.bnn.costs.integers import NoIntegerProduct
from lpsgld.bnn.network import models
from lpsgld.formats import FormatError
from lpsgld.storage import pack

needs_product = pytest.mark.skipif(bool(integers.missing()), reason=integers.missing() or "-")


@needs_product
@pytest.mark.parametrize("shape", [(17, 64, 24), (1, 1, 1), (3, 5, 7), (32, 5000, 8)])
def test_the_product_is_exact(shape):
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-128, 128, (rows, inner), generator=generator, dtype=torch.int8)
    b = torch.randint(-128, 128, (inner, columns), generator=generator, dtype=torch.int8)
    found = integers.product(a, b)
    assert found.dtype == torch.int32 and torch.equal(found.double(), a.double() @ b.double())


@needs_product
@pytest.mark.parametrize("weight", ["block(8,0)", "block(8,-1)", "fixed(8,8)", "fixed(5,2)"])
@pytest.mark.parametrize("activation", ["block(8,0)", "block(4,-1)", "fixed(8,4)"])
def test_the_simulation_in_float32_computes_what_int8_units_do(activation, weight):
    """Bit for bit, for the longest rows that are exact whatever the codes, and values of very different sizes."""
    generator = torch.Generator().manual_seed(1)
    first, second = formats.parse(activation), formats.parse(weight)
    x = torch.randn(20, 1040, generator=generator) * 2.0 ** torch.randint(-20, 3, (20, 1), generator=generator)
    x = quantize(x, first, generator=generator)
    w = quantize(0.1 * torch.randn(12, 1040, generator=generator), second, generator=generator)
    assert torch.equal(integers.linear(pack(x, first), pack(w, second)), x @ w.T)


def test_float32_is_exact_up_to_the_longest_sum_of_extreme_codes():
    longest = integers.LONGEST_EXACT
    ones = torch.full((1, longest), 127.0)
    odd = ones.clone()
    odd[0, 0] = 126.0  # an odd sum, which float32 could not hold above 2^24
    assert (ones @ odd.T).item() == 127 * 127 * longest - 127 < 2**24
    assert 127 * 127 * (longest + 1) > 2**24


@pytest.mark.parametrize("text", ["float(4,3)", "fixed(12,4)", "block(8,1)", "block(16,0)", "full"])
def test_formats_without_8_bit_codes_are_refused(text):
    fmt = formats.parse(text)
    x = pack(quantize(torch.randn(4, 4), fmt), fmt)
    with pytest.raises(FormatError, match="one gap a row"):
        integers.linear(x, x)


def test_where_there_is_no_product_the_reason_is_told(monkeypatch):
    monkeypatch.delattr(torch, "_int_mm")
    integers.missing.cache_clear()
    try:
        with pytest.raises(NoIntegerProduct, match="no _int_mm"):
            integers.product(torch.zeros(2, 2, dtype=torch.int8), torch.zeros(2, 2, dtype=torch.int8))
    finally:
        integers.missing.cache_clear()


@pytest.mark.parametrize(
    "wrong", [lambda a, b: a.float() @ b.float(), lambda a, b: (a.int() @ b.int()).clamp(max=2**15)]
)
def test_an_inexact_product_is_not_used(monkeypatch, wrong):
    """Of another type, or saturating, as some processors do."""
    monkeypatch.setattr(torch, "_int_mm", wrong)
    integers.missing.cache_clear()
    try:
        assert "not exact" in integers.missing()
    finally:
        integers.missing.cache_clear()


@pytest.mark.cuda
def test_the_product_on_a_gpu_is_exact():
    if reason := integers.missing("cuda"):
        pytest.skip(reason)
    a = torch.randint(-128, 128, (64, 256), dtype=torch.int8, device="cuda")
    assert torch.equal(integers.product(a, a.T.contiguous()).cpu().double(), a.cpu().double() @ a.cpu().double().T)


@pytest.mark.parametrize(("sites", "rounded", "exact"), [("paper", 9, 3), ("residual", 19, 8), ("all", 20, 9)])
def test_which_convolutions_of_a_resnet_integers_could_compute(sites, rounded, exact):
    """The paper's network: the second one of each block, and the first block's first. Terms: as in width 64."""
    torch.manual_seed(0)
    network = models.build("resnet18", (3, 8, 8), 10, width=64, activation="block(8,0)", sites=sites)
    hooks = [len(m._forward_hooks) for m in network.modules()]
    told = integers.convolutions(network, torch.randn(2, 3, 8, 8), "block(8,0)")
    assert len(told) == 20 and told[0].terms == 27 and max(c.terms for c in told) == 4608
    assert sum(c.rounded for c in told) == rounded
    assert sum(c.rounded and c.terms <= integers.LONGEST_EXACT for c in told) == exact
    assert told[1].operations == 2 * (64 * 9) * (2 * 64 * 8 * 8)
    assert [len(m._forward_hooks) for m in network.modules()] == hooks, "it leaves the network as it was"
