"""Names, grids and refusals of the number formats."""

import re
from pathlib import Path

import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint

from lpsgld import formats, quantize, vc_quantize
from lpsgld.formats import FormatError
from lpsgld.formats.block import Block
from lpsgld.formats.fixed import Fixed
from lpsgld.formats.floating import Float


@pytest.mark.parametrize(
    "text",
    [
        "fixed(8,3)",
        "fixed(8,8)",
        "fixed(4,10,symmetric)",
        "fixed(8,3,unclamped)",
        "fixed(8,3,symmetric,unclamped)",
        "block(8,0)",
        "block(2,-1)",
        "float(4,3)",
        "full",
    ],
)
def test_a_name_reads_back(text):
    assert formats.name(formats.parse(text)) == text


def test_spaces_do_not_matter():
    assert formats.name(formats.parse(" fixed( 8 , 3 ) ")) == "fixed(8,3)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fixed(8,0.5)", "'0.5' is not a whole number"),
        ("fixed(0,3)", "word length W is 0, but must be from 1 to 24"),
        ("fixed(8,0)", "fractional bits F is 0"),
        ("fixed(25,3)", "is 25"),
        ("block(1,0)", "word length W is 1, but must be from 2"),
        ("block(8,-2)", "block axis DIM is -2"),
        ("block(8,0,symmetric)", "choose from fixed(W,F)"),
        ("float(9,3)", "exponent bits E is 9"),
        ("float(4,0)", "mantissa bits M is 0"),
        ("int8", "there is no number format"),
        ("fixed(8)", "there is no number format"),
        ("fixed(8,3,4)", "there is no number format"),
        ("full(8,3)", "there is no number format"),
        ("fixed(8,3", "there is no number format"),
        (8, "there is no number format"),
        ("fixd(8,3)", 'Did you mean "fixed(W,F)"?'),
        ("mxpf4", 'Did you mean "mxfp4"?'),
        ("mxfp8", "there is no number format"),
        ("mxfp4(block=24)", "block length is 24, but must be a power of two"),
        ("nvfp4(block=x)", "'x' is not a whole number"),
        ("mxfp4(32)", "there is no number format"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(text, says):
    with pytest.raises(FormatError) as error:
        formats.parse(text)
    assert says in str(error.value) and repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("descriptor", "name"),
    [
        (FixedPoint(8, 3), "fixed(8,3)"),
        (FixedPoint(8, 3, clamp=False, symmetric=True), "fixed(8,3,symmetric,unclamped)"),
        (BlockFloatingPoint(8, 0), "block(8,0)"),
        (FloatingPoint(4, 3), "float(4,3)"),
    ],
)
def test_a_format_is_said_in_three_ways(descriptor, name):
    fmt = formats.parse(name)
    assert formats.parse(descriptor) == fmt == formats.parse(fmt) and formats.name(descriptor) == name
    x = torch.randn(6, 5)
    ways = [quantize(x, way, "nearest") for way in (name, fmt, descriptor)]
    assert all(torch.equal(way, ways[0]) for way in ways)
    with pytest.raises(AttributeError):
        fmt.wl = 9  # frozen


def test_a_descriptor_that_cannot_be_simulated_is_refused():
    with pytest.raises(FormatError, match="word length W is 32, but must be from 1 to 24"):
        quantize(torch.ones(3), FixedPoint(32, 16))


@pytest.mark.parametrize("call", [quantize, lambda x, fmt: vc_quantize(x, 0.1, fmt)])
def test_a_block_axis_that_the_tensor_lacks(call):
    with pytest.raises(FormatError, match=r"block axis 2 .*shape \(3, 4\).*from 0 to 1"):
        call(torch.ones(3, 4), BlockFloatingPoint(8, 2))


def test_fixed_grid():
    g = formats.grid(Fixed(8, 3), torch.ones(1))
    assert (g.gap, g.low * g.gap, g.high * g.gap) == (1 / 8, -16.0, 16 - 1 / 8)
    assert formats.grid(Fixed(8, 3, symmetric=True), torch.ones(1)).low == -127
    assert formats.grid(Fixed(8, 3, clamp=False), torch.ones(1)).high == torch.finfo(torch.float32).max


def test_block_grid_has_one_exponent_for_each_index_of_its_axis():
    x = torch.tensor([[0.3, -1.0], [5.0, 0.1], [0.0, 0.0]])
    gap = formats.grid(Block(8, 0), x).gap
    assert gap.shape == (3, 1)
    assert gap[:2].flatten().tolist() == [2.0**-6, 2.0 ** (2 - 6)]
    assert formats.grid(Block(8, 1), x).gap.shape == (1, 2)
    assert formats.grid(Block(8, -1), x).gap.shape == (1, 1)
    assert formats.grid(Block(8, 0), x[0]).gap.tolist() == [2.0**-8, 2.0**-6]  # 1-D: one block each


def test_exponents_are_exact_around_powers_of_two():
    """floor(log2 x) is wrong for most predecessors of powers of two; frexp is not."""
    k = torch.arange(-126, 128)
    powers = torch.ldexp(torch.ones(len(k)), k)
    assert torch.equal(formats.exponent(powers), k.int())
    assert torch.equal(formats.exponent(torch.nextafter(powers, torch.zeros(()))), (k - 1).int())
    wrong = torch.floor(torch.log2(torch.nextafter(powers, torch.zeros(())))).int() != (k - 1).int()
    assert wrong.float().mean() > 0.5
    assert formats.exponent(torch.tensor([2.0**-149, 3 * 2.0**-149])).tolist() == [-149, -148]


@pytest.mark.parametrize("wl", range(3, 17))
def test_head_room_is_enough_and_at_most_one_bit(wl):
    generator = torch.Generator().manual_seed(wl)
    x = torch.randn(20_000, 1, generator=generator).exp2_()
    reach = 1e-4 * x.min()
    tight = formats.grid(Block(wl, 0), x).gap
    roomy = formats.grid(Block(wl, 0), x, reach=reach)
    assert (x.abs() + reach + 2 * roomy.gap <= roomy.high * roomy.gap).all()
    bits = torch.log2(roomy.gap / tight)
    assert (bits >= 0).all() and (wl < 5 or (bits <= 1).all())
    if wl >= 8:
        assert (bits == 1).float().mean() < 0.06


def test_head_room_of_a_float_format_keeps_the_gap_uniform():
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).exp2_()
    fmt = Float(5, 3)
    g = formats.grid(fmt, x, reach=0.01)
    top = x.abs() + 0.01 + 2 * g.gap
    assert (formats.grid(fmt, top).gap <= g.gap * 2).all()
    for edge in (x - 0.01 - 2 * g.gap, x + 0.01 + 2 * g.gap):  # a multiple of the gap stays on the format's own grid
        on_gap = (edge / g.gap).trunc() * g.gap
        assert torch.equal(quantize(on_gap, fmt, "nearest"), on_gap)


def test_two_bits_leave_no_head_room():
    with pytest.raises(FormatError, match="at least 3"):
        vc_quantize(torch.ones(3), 0.1, BlockFloatingPoint(2, 0))


@pytest.mark.parametrize("text", ["fixed(3,1)", "fixed(8,8)", "fixed(5,2,symmetric)", "float(2,1)", "float(4,3)"])
def test_the_values_of_a_format_are_those_that_rounding_gives(text):
    sizes = 2.0 ** torch.linspace(-20, 18, 200_001, dtype=torch.float64)
    rounded = quantize(torch.cat([-sizes, torch.zeros(1), sizes]), text, "nearest").unique()
    assert torch.equal(formats.parse(text).values().double(), rounded)


@pytest.mark.parametrize("largest", [1.5, 0.2])
def test_the_values_of_a_block_are_those_that_rounding_gives(largest):
    values = formats.parse("block(5,-1)").values(largest)
    reached = values[values.abs() <= largest + (values[1] - values[0]) / 2]
    assert torch.equal(reached, quantize(torch.linspace(-largest, largest, 10_001), "block(5,-1)", "nearest").unique())


def test_nothing_outside_asks_what_kind_a_format_is():
    """No other room imports a family of formats, or qtorch and its descriptors."""
    room = Path(formats.__file__).parent
    for path in set(room.parent.rglob("*.py")) - set(room.glob("*.py")):
        imported = re.findall(r"^\s*(?:from|import) ((?:lpsgld\.formats\.|qtorch)\w*)", path.read_text(), re.M)
        assert set(imported) <= {"lpsgld.formats.base"}, path
