"""Cutting a tensor into pieces changes no result, whatever its layout; and the accelerators' path has the same law."""

import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint

from lpsgld import SGLD, formats, pieces, quantize, rounding, variance, vc_quantize
from tests.checks import assert_mean

ALL = [
    FixedPoint(8, 3),
    BlockFloatingPoint(8, 0),
    BlockFloatingPoint(8, 1),
    BlockFloatingPoint(8, -1),
    FloatingPoint(4, 3),
]
DENSE = torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(0))
LAYOUTS = {
    "contiguous": DENSE,
    "channels_last": DENSE.to(memory_format=torch.channels_last),
    "transposed": DENSE.transpose(0, 3),
    "sliced": DENSE[:, ::2, :, ::2],
    "expanded": DENSE[:1].expand(7, -1, -1, -1),
    "one long row": DENSE.reshape(1, -1, 1, 1).expand(-1, -1, 1, 2),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "_SIZE", 16)


@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, 9])
def test_every_element_is_in_one_piece(small_pieces, x, axis):
    seen = torch.zeros(x.shape, dtype=torch.int)
    row = torch.arange(x.size(1))[None, :, None, None]
    parts = list(pieces.pieces(seen, x, row, axis=axis))
    for part, same, broadcast in parts:
        assert part.shape == same.shape and torch.broadcast_shapes(part.shape, broadcast.shape) == part.shape
        assert axis is not None or part.numel() <= 16
        if axis in (0, 1):
            assert all(part.size(a) == x.size(a) for a in range(4) if a != axis), "cut along the axis only"
        part += 1 + broadcast
    assert torch.equal(seen, (1 + row).expand(x.shape).int())
    assert len(parts) == 1 if axis in (-1, 9) else len(parts) > 1 or x.size(axis or 0) == 1


@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
def test_pieces_change_no_bit_of_nearest_rounding(monkeypatch, x, fmt):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        whole = quantize(x.to(dtype), fmt, "nearest")
        with monkeypatch.context() as patch:
            patch.setattr(pieces, "_SIZE", 16)
            cut = quantize(x.to(dtype), fmt, "nearest")
        assert torch.equal(whole, cut) and whole.stride() == cut.stride() and whole.dtype == cut.dtype


@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
def test_pieces_keep_mean_grid_and_gradients_off(small_pieces, fmt):
    """Means within 6 standard errors: a bias of 0.4 gaps is found. Pieces at a wrong place are off by many gaps."""
    x = LAYOUTS["channels_last"].clone().requires_grad_()
    drawn = torch.stack([quantize(x, fmt, generator=generator(i)) for i in range(60)])
    varied = torch.stack([vc_quantize(x, 0.01, fmt, generator(i)) for i in range(60)])
    for y, gap in ((drawn, formats.grid(fmt, x).gap), (varied, formats.grid(fmt, x, reach=0.6).gap)):
        assert not y.requires_grad and torch.equal(quantize(y[0], fmt, "nearest"), y[0])
        standard = ((y - x.detach()).mean(0) / (gap * gap / 4 + 0.01) ** 0.5).flatten() * len(y) ** 0.5
        assert standard.abs().max() < 6


@pytest.mark.parametrize("weight", ALL, ids=formats.name)
def test_a_step_in_pieces_cuts_no_block(small_pieces, weight):
    """Were a block cut, its parts would get exponents of their own, and some weights would leave the block's grid."""
    p = torch.nn.Parameter(DENSE.clone() * torch.logspace(-2, 1, 5)[:, None])
    for accumulator in ("full", "naive", "vc"):
        optimizer = SGLD([p], 0.1, num_data=1000, weight=weight, grad=weight, accumulator=accumulator)
        p.grad = torch.ones_like(p)
        before = p.detach().clone()
        optimizer.step()
        assert torch.equal(quantize(p.detach(), weight, "nearest"), p)
        assert_mean((p.detach() - before).flatten(), -0.1, float((p.detach() - before).std()))


def test_formats_that_share_an_axis_can_be_cut_together():
    axis = formats.whole_blocks_axis
    assert axis() is axis(None, FixedPoint(8, 3)) is axis(FloatingPoint(4, 3), None) is None
    assert (
        axis(FixedPoint(8, 3), BlockFloatingPoint(8, 1))
        == axis(BlockFloatingPoint(4, 1), BlockFloatingPoint(8, 1))
        == 1
    )
    assert axis(BlockFloatingPoint(8, 0), BlockFloatingPoint(8, 1)) == axis(BlockFloatingPoint(8, -1), None) == -1


@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
def test_the_number_of_threads_changes_no_bit(fmt):
    x = torch.randn(600, 1000, generator=generator())
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append([quantize(x, fmt, generator=generator(1)), vc_quantize(x, 0.01, fmt, generator(2))])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("fmt", ALL, ids=formats.name)
@pytest.mark.parametrize("v", [0.0, 1e-5, 0.003, 0.1])
def test_the_branch_free_path_of_accelerators_takes_the_same_branches(monkeypatch, fmt, v):
    """Few enough numbers that both paths draw the same ones: then they must agree in every bit."""
    x = torch.randn(30, 20, generator=generator()) * torch.logspace(-3, 0, 20)

    def draw():
        as_tensor = vc_quantize(x, torch.tensor(v), fmt, generator(2))
        return quantize(x, fmt, generator=generator(1)), as_tensor, vc_quantize(x, v, fmt, generator(2))

    on_the_cpu = draw()
    for module in (pieces, rounding, variance):
        monkeypatch.setattr(module, "eager_on_cpu", lambda x: False)
    assert all(torch.equal(a, b) for a, b in zip(on_the_cpu, draw(), strict=True))


def test_shapes_alone_take_no_steps():
    x = torch.empty(3, 5, 2, 2, device="meta").to(memory_format=torch.channels_last)
    out = pieces.elementwise(lambda x: 1 / 0, x)
    assert (out.shape, out.dtype, out.device, out.stride()) == (x.shape, x.dtype, x.device, x.stride())
