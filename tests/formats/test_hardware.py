"""The formats of hardware, bit for bit against torch and ml_dtypes, code by code; a new format is a row of FORMATS."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
import torch
from scipy import stats

from lpsgld import SGLD, Quantizer, formats, quantize, storage, vc_quantize
from lpsgld.formats import FormatError
from tests.checks import FALSE_ALARM


@dataclass(frozen=True)
class Row:
    """What a format must be. dtype: the oracle of its elements. values: how many finite numbers, zero once.

    scaled: the block length of a format whose blocks share a power of two, which `mx` computes anew.
    """

    name: str
    dtype: torch.dtype | type
    bits: int
    values: int
    largest: float
    smallest: float
    scaled: int = 0


FORMATS = [
    Row("e4m3", torch.float8_e4m3fn, 8, 253, 448, 2.0**-9),
    Row("e5m2", torch.float8_e5m2, 8, 247, 57344, 2.0**-16),
    Row("e2m3", ml_dtypes.float6_e2m3fn, 6, 63, 7.5, 2.0**-3),
    Row("e3m2", ml_dtypes.float6_e3m2fn, 6, 63, 28, 2.0**-4),
    Row("e2m1", ml_dtypes.float4_e2m1fn, 4, 15, 6, 0.5),
    Row("bfloat16", torch.bfloat16, 16, 2**16 - 2**8 - 1, torch.finfo(torch.bfloat16).max, 2.0**-133),
    Row("float16", torch.float16, 16, 2**16 - 2**11 - 1, 65504, 2.0**-24),
    Row("mxfp8(e4m3)", ml_dtypes.float8_e4m3fn, 8, 253, 448, 2.0**-9, 32),
    Row("mxfp8(e5m2)", ml_dtypes.float8_e5m2, 8, 247, 57344, 2.0**-16, 32),
    Row("mxfp6(e2m3)", ml_dtypes.float6_e2m3fn, 6, 63, 7.5, 2.0**-3, 32),
    Row("mxfp6(e3m2)", ml_dtypes.float6_e3m2fn, 6, 63, 28, 2.0**-4, 32),
    Row("mxfp4", ml_dtypes.float4_e2m1fn, 4, 15, 6, 0.5, 32),
    Row("mxint8", np.int8, 8, 255, 127 / 64, 1 / 64, 32),
]
ALONE = [row for row in FORMATS if not row.scaled]
SCALED = [row for row in FORMATS if row.scaled]
NAMES = [row.name for row in FORMATS] + ["nvfp4", "mxfp4(block=16,axis=0)", "nvfp4(block=8,axis=0)"]


def named(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def numbers(n: int, seed: int = 0) -> torch.Tensor:
    """Numbers of all sizes that the formats have, ties and neighbours of ties of e4m3's grid among them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator) * torch.randint(-20, 10, (n,), generator=generator).float().exp2()
    ties = (torch.randint(0, 64, (n,), generator=generator) / 2) * torch.randint(
        -16, 4, (n,), generator=generator
    ).exp2()
    beside = torch.nextafter(ties, torch.randn(n, generator=generator))
    return torch.cat([x, ties, -ties, beside, torch.zeros(1)])


def cast(x: torch.Tensor, row: Row) -> torch.Tensor:
    """x as the oracle rounds it to nearest, saturating."""
    x = x.clamp(-row.largest, row.largest)
    if isinstance(row.dtype, torch.dtype):
        return x.to(row.dtype).float()
    if row.dtype is np.int8:
        return torch.from_numpy(np.rint(x.double().numpy() * 64).clip(-127, 127) / 64).float()
    return torch.from_numpy(x.numpy().astype(row.dtype).astype(np.float32))


def mx(x: np.ndarray, row: Row, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of x rounded in blocks along the last axis, and the scales: the OCP's rule once more, block by block."""
    out, scales = np.empty_like(x), []
    top = int(np.floor(np.log2(row.largest)))
    for i, line in enumerate(x):
        for start in range(0, len(line), block):
            part = line[start : start + block]
            largest = np.abs(part).max()
            scale = 2.0 ** max(np.frexp(np.float64(largest))[1] - 1 - top, -127) if largest else 2.0**-127
            scales.append(scale)
            ratio = torch.from_numpy((part.astype(np.float64) / scale).astype(np.float32))
            out[i, start : start + block] = cast(ratio, row).double().numpy() * scale
    return out, np.array(scales)


# ---- nearest -----------------------------------------------------------------------------------------------------


@named(ALONE)
def test_nearest_is_the_cast_of_torch_or_ml_dtypes(row):
    x = numbers(50_000)
    ours = quantize(x, row.name, "nearest")
    assert torch.equal(ours, cast(x, row)) and torch.equal(torch.signbit(ours), torch.signbit(cast(x, row)))
    assert quantize(torch.tensor([torch.inf, -torch.inf]), row.name, "nearest").tolist() == [row.largest, -row.largest]
    assert quantize(torch.tensor([torch.nan]), row.name).isnan().all()


@named(SCALED)
@pytest.mark.parametrize("block", [32, 4])
def test_nearest_in_scaled_blocks_is_the_ocp_rule_with_the_cast_of_ml_dtypes(row, block):
    x = numbers(3000)[: 12 * 950].reshape(12, 950)  # 950 = 29·32 + 22: the last block is shorter
    x[3, 64:128] = 0
    x[4, :32] *= 2.0**-120
    inside = f"block={block}" if row.name.endswith("4") or row.name == "mxint8" else None
    name = f"{row.name}({inside})" if inside else row.name.replace(")", f",block={block})")
    found, scales = mx(x.numpy(), row, block)
    ours = quantize(x, name, "nearest")
    assert np.array_equal(ours.numpy(), found)
    assert torch.equal(quantize(x.T, name.replace(f"block={block}", f"block={block},axis=0"), "nearest"), ours.T)
    packed = storage.pack(ours, name)
    wanted = torch.from_numpy(scales.astype(np.float32)).to(torch.float8_e8m0fnu).view(torch.uint8)
    occupied = torch.from_numpy(found.reshape(-1) != 0).any() and packed.scales[0].flatten() > 0
    assert torch.equal(packed.scales[0].flatten()[occupied], wanted[occupied])


@named(SCALED)
def test_scales_at_the_edges_of_exponents(row):
    edges = [1.0, 1 - 2.0**-24, 2.0, 2 - 2.0**-23, 1.75, 1.76, 2.0**-126, 2.0**126, 0.0]
    x = torch.zeros(len(edges), 32)
    x[:, 7] = torch.tensor(edges)
    x[:, 8] = x[:, 7] / 3
    assert np.array_equal(quantize(x, row.name, "nearest").numpy(), mx(x.numpy(), row, 32)[0])


def test_nvfp4_is_e2m1_times_e4m3_times_one_scale():
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    ours = quantize(x, "nvfp4", "nearest").double().numpy()
    tensor = float(x.abs().max()) / (6 * 448)
    for i, line in enumerate(x.double().numpy()):
        for start in range(0, 50, 16):
            part = line[start : start + 16]
            scale = float(ml_dtypes.float8_e4m3fn(np.abs(part).max() / 6 / tensor)) * tensor
            wanted = (part / scale).clip(-6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float64) * scale
            # the tensor's scale has 18 significant bits here
            np.testing.assert_allclose(ours[i, start : start + 16], wanted, rtol=2.0**-17)
    assert np.abs(ours).max() == pytest.approx(float(x.abs().max()), rel=2.0**-17)


# ---- codes -------------------------------------------------------------------------------------------------------


@named(ALONE)
def test_every_code_is_the_word_of_the_hardware(row):
    fmt = formats.parse(row.name)
    codes = torch.arange(2**row.bits)
    if isinstance(row.dtype, torch.dtype):
        words = codes.to(torch.uint8 if row.bits == 8 else torch.uint16).view(row.dtype).float()
    else:
        words = torch.from_numpy(codes.numpy().astype(np.uint8).view(row.dtype).astype(np.float32))
    ours = fmt.decode(codes)
    assert torch.equal(ours.nan_to_num(nan=-1.5e38), words.nan_to_num(nan=-1.5e38))
    finite = ours.isfinite()
    again = fmt.encode(ours[finite])[0].long() & (2**row.bits - 1)
    assert torch.equal(again, codes[finite])
    assert torch.equal(quantize(ours[finite], fmt), ours[finite])


@named(FORMATS)
def test_what_the_table_of_formats_says(row):
    fmt = formats.parse(row.name)
    values = fmt.values(row.largest)  # in a block with the scale 1
    assert (fmt.bits, len(values)) == (row.bits, row.values)
    assert values.max() == row.largest and values[values > 0].min() == row.smallest
    assert torch.equal(values, -values.flip(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.parametrize("shape", [(5, 70), (3, 2, 17), (33,), (), (0, 4)], ids=str)
def test_what_is_rounded_packs_into_the_bits_that_it_claims_and_comes_back(name, rounding, shape):
    generator = torch.Generator().manual_seed(1)
    x = quantize(torch.randn(shape, generator=generator), name, rounding, generator)
    packed = storage.pack(x, name)
    assert torch.equal(storage.unpack(packed), x)
    fmt = formats.parse(name)
    squeezed = storage.squeeze(packed.codes, fmt.bits)
    assert squeezed.nbytes + sum(scales.nbytes for scales in packed.scales) == fmt.nbytes(shape)
    spread = storage.spread(squeezed, fmt.bits, shape)
    assert torch.equal(storage.unpack(storage.Packed(fmt, spread, packed.scales)), x)


@pytest.mark.parametrize("name", ["e2m1", "mxfp6(e2m3)", "mxfp4", "nvfp4", "bfloat16"])
def test_a_sample_on_disk_takes_those_bits(name, tmp_path):
    net = torch.nn.Linear(64, 64)
    SGLD(net.parameters(), 0.1, num_data=10, weight=name, accumulator="naive")
    storage.save_sample(tmp_path / "s", net, name, {})
    loaded = storage.load_sample(tmp_path / "s")
    assert all(torch.equal(loaded.state[key], value) for key, value in net.state_dict().items())
    size = (tmp_path / "s").stat().st_size
    assert sum(formats.parse(name).nbytes(p.shape) for p in net.parameters()) < size < 64 * 65 * 32 // 8 + 1000


# ---- stochastic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_stochastic_rounding_chooses_the_neighbours_by_distance(name):
    """Chi-square of 300 binomial counts against the neighbours among `values`, themselves checked above."""
    generator = torch.Generator().manual_seed(2)
    fmt, n = formats.parse(name), 4000
    x = torch.rand(300, 1, generator=generator) * 1.9 - 0.95
    block = torch.cat([x, torch.ones(300, 1)], 1)  # the 1 sets the scale, and is a number of all formats
    block = block.T if fmt.name.endswith("axis=0)") else block
    drawn = torch.stack([quantize(block, fmt, generator=generator) for _ in range(n)])
    drawn = (drawn.mT if fmt.name.endswith("axis=0)") else drawn)[..., 0].double()
    values = fmt.values(1.0).double()
    above = torch.searchsorted(values, x[:, 0].double())
    low, high = values[above - 1], values[above]
    assert bool(((drawn == low) | (drawn == high)).all())
    p = (x[:, 0].double() - low) / (high - low)
    count = (drawn == high).sum(0)
    chi2 = ((count - n * p) ** 2 / (n * p * (1 - p)).clamp(min=1e-9))[(p * n > 10) & ((1 - p) * n > 10)]
    assert stats.chi2.sf(float(chi2.sum()), len(chi2)) > FALSE_ALARM


def test_what_exceeds_the_largest_element_saturates_also_stochastically():
    x = torch.full((1000, 32), 1.0)
    x[:, 0] = 7.9
    assert quantize(x, "mxfp4")[:, 0].unique().tolist() == [6.0]
    assert quantize(x, "mxfp8(e4m3)")[:, 0].unique().tolist() == [7.0]


# ---- variance correction -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if "nvfp4" not in name])
@pytest.mark.parametrize("ratio", [0.05, 0.25, 2.0])
def test_variance_corrected_rounding_has_mean_and_variance(name, ratio):
    """Mean and variance of 10,000 draws in 24 places, within 5.3 standard errors each (1e-7 each, 1e-5 of a case)."""
    generator = torch.Generator().manual_seed(3)
    fmt, n = formats.parse(name), 10_000
    mu = torch.linspace(0.5, 0.93, 24)
    block = mu[:, None] if "axis=0" in name else mu[None]
    v = ratio * float(torch.as_tensor(formats.grid(fmt, block, reach=0.0).gap).max()) ** 2
    gap = torch.as_tensor(formats.grid(fmt, block, reach=6 * v**0.5).gap).double().flatten()
    many = block.expand(n, -1, -1) if "axis=0" not in name else block.repeat(1, n)
    drawn = vc_quantize(many, v, fmt, generator)
    drawn = (drawn.T if "axis=0" in name else drawn).reshape(n, 24).double()
    f = (mu.double() / gap) % 1
    variance = torch.maximum(torch.tensor(v, dtype=torch.float64), f * (1 - f) * gap**2)
    error = (variance / n).sqrt()
    assert bool(((drawn.mean(0) - mu).abs() < 5.3 * error + 1e-7).all())
    spread = drawn.var(0)
    # below v0: a rounding to one of two neighbours, and with probability h each a jump up or down
    h = ((v / gap**2 - f * (1 - f)) / 2).clamp(min=0)
    law = [(-1, (1 - f) * h), (0, (1 - f) * (1 - 2 * h) + f * h), (1, f * (1 - 2 * h) + (1 - f) * h), (2, f * h)]
    exact = sum(p * ((k - f) * gap) ** 4 for k, p in law)
    fourth = torch.where(v > gap**2 / 4, ((drawn - mu) ** 4).mean(0), exact)
    error = ((fourth - variance**2).clamp(min=0) / n).sqrt()
    assert bool(((spread - variance).abs() < 5.3 * error + 1e-4 * variance).all())


@pytest.mark.parametrize("name", [name for name in NAMES if "nvfp4" not in name])
def test_variance_corrected_numbers_are_numbers_of_the_format(name):
    generator = torch.Generator().manual_seed(4)
    for variance in (1e-8, 1e-4, 1.0):
        x = vc_quantize(torch.randn(64, 45, generator=generator), variance, name, generator)
        assert torch.equal(storage.unpack(storage.pack(x, name)), x)


def test_nvfp4_says_why_it_cannot_be_corrected():
    with pytest.raises(FormatError, match="no power of two.*Use mxfp4"):
        vc_quantize(torch.ones(4), 0.1, "nvfp4")


# ---- in use ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_quantizers_and_optimizers_take_it(name):
    net = torch.nn.Sequential(torch.nn.Linear(33, 20), Quantizer(name, name), torch.nn.Linear(20, 3))
    vc = "naive" if "nvfp4" in name else "vc"
    for accumulator in ("full", "naive", vc):
        optimizer = SGLD(net.parameters(), 0.1, num_data=100, weight=name, grad=name, accumulator=accumulator)
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.randn(8, 33)).square().mean().backward()
            optimizer.step()
        for p in net.parameters():
            storage.pack(p, name)  # refuses what is no number of the format
    assert f"activation={name}" in repr(net)


def test_blocks_run_along_an_axis_that_is_there():
    with pytest.raises(FormatError, match=r"run along axis 1, but the tensor has shape \(3,\).*from -1 to 0"):
        quantize(torch.ones(3), "mxfp4(axis=1)")


def test_a_nan_and_an_infinity_in_a_block():
    x = torch.ones(2, 40)
    x[0, 3], x[1, 3] = torch.nan, torch.inf
    y = quantize(x, "mxfp8(e4m3)", "nearest")
    assert y[0, :32].isnan().all() and (y[0, 32:] == 1).all()
    assert y.isfinite()[1].all() and y[1, 3] == 448 * 2.0 ** (127 - 8)
