"""The loops do what the formulas do, bit for bit; their random numbers are random; and where they cannot run."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from qtorch import BlockFloatingPoint, FixedPoint, FloatingPoint
from scipy import stats

from lpsgld import SGHMC, SGLD, formats, kernels, quantize, variance, vc_quantize
from lpsgld.rounding import normal_like, uniform_like
from tests.checks import FALSE_ALARM, assert_law

ROOT = Path(__file__).parents[1]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- the same bits as the formulas -----------------------------------------------------------------------------------

SPREAD = torch.randn(6, 40, 5, 3, generator=generator()) * torch.logspace(-12, 9, 40)[:, None, None]
ENDS = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-45, -1e-45, 1e-40, 2.0**-126, 3.4e38, -3.4e38, 2.0**100]
ENDS = torch.tensor([*ENDS, 1.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.0625, 6.0, 7.5, 448.0, 480.0])  # ties, largest numbers
TENSORS = {
    "contiguous": SPREAD,
    "channels_last": SPREAD.to(memory_format=torch.channels_last),
    "transposed": SPREAD.transpose(0, 3),
    "sliced": SPREAD[:, ::2, :, ::2],
    "expanded": SPREAD[:1].expand(7, -1, -1, -1),
    "extremes in blocks": torch.stack([ENDS, ENDS.flip(0), torch.zeros(23), torch.ones(23)]),
    "extremes alone": ENDS[:, None],
    "finite extremes": ENDS[ENDS.isfinite()].expand(3, -1),
    "one axis": ENDS,
    "subnormal": torch.arange(-127, 128) * 2.0**-145,
    "zeros": torch.zeros(3, 40),
    "empty": torch.ones(0, 3),
    "no axis": torch.tensor(0.3),
    "long": torch.randn(40, 5000, generator=generator(1)),
}
FORMATS = """fixed(8,3) fixed(8,8) fixed(4,2,symmetric) fixed(8,3,unclamped) fixed(16,10) block(8,0) block(8,-1)
    block(4,1) block(2,0) block(16,0) float(4,3) float(5,2) float(8,7) float(8,23) e4m3 e5m2 e2m1 bfloat16 float16
    mxfp8(e4m3) mxfp8(e5m2) mxfp6(e2m3) mxfp6(e3m2) mxfp4 mxfp4(block=4) mxint8 mxint8(block=4,axis=0) nvfp4
    nvfp4(block=4,axis=0)
""".split()
VARIANCES = [0.0, 1e-9, 1e-5, 0.003, 0.1, 10.0, 1e20]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have the same bits, NaN for NaN, and zeros the same sign."""
    nan = a.isnan()
    return torch.equal(nan, b.isnan()) and torch.equal(a[~nan].view(torch.int32), b[~nan].view(torch.int32))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("x", TENSORS.values(), ids=TENSORS)
def test_the_same_bits_as_the_formulas(monkeypatch, x, fmt):
    """From the same random numbers: rounding to nearest, stochastic rounding, and Q^vc in all its branches."""
    if "block(4,1)" in fmt and x.dim() < 2:
        pytest.skip("a tensor without that axis")
    ways = [lambda rounding=r: quantize(x, fmt, rounding, generator(1)) for r in ("nearest", "stochastic")]
    if formats.parse(fmt).correctable:
        ways += [lambda v=v: vc_quantize(x, v, fmt, generator(2)) for v in VARIANCES]
    fused = [way() for way in ways]
    assert kernels.fuses(x)
    monkeypatch.setattr(kernels, "fuses", lambda x: False)
    assert all(same(a, way()) for a, way in zip(fused, ways, strict=True))
    assert all(a.stride() == torch.empty_like(x).stride() for a in fused)


@pytest.mark.parametrize("fmt", ["fixed(8,3)", "block(8,0)", "block(8,1)", "block(8,-1)", "float(4,3)", "mxfp8(e4m3)"])
@pytest.mark.parametrize("v", [0.0, 1e-5, 0.003, 0.1])
def test_the_branch_free_path_of_accelerators_takes_the_same_branches(monkeypatch, fmt, v):
    x = torch.randn(30, 20, generator=generator()) * torch.logspace(-3, 0, 20)
    each = torch.full_like(x, v)
    loops = vc_quantize(x, v, fmt, generator(2))
    on_the_cpu = vc_quantize(x, each, fmt, generator(2))
    monkeypatch.setattr(kernels, "fuses", lambda x: False)
    monkeypatch.setattr(variance, "eager_on_cpu", lambda x: False)
    for given in (v, each):
        assert same(vc_quantize(x, given, fmt, generator(2)), loops) and same(on_the_cpu, loops)


def test_in_full_precision_too(monkeypatch):
    fused = [vc_quantize(x, 0.3, None, generator(3)) for x in TENSORS.values()]
    monkeypatch.setattr(kernels, "fuses", lambda x: False)
    assert all(same(a, vc_quantize(x, 0.3, None, generator(3))) for a, x in zip(fused, TENSORS.values(), strict=True))


def test_a_block_of_zeros_gets_its_noise_in_a_scaled_format():
    """Its scale comes from the noise; it once was the smallest there is, which clipped all of the noise away."""
    drawn = vc_quantize(torch.zeros(1000, 32), 0.01, "mxfp8(e4m3)", generator())
    assert abs(drawn.var() / 0.01 - 1) < 0.05  # standard error 0.8 %


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_take_the_formulas(dtype):
    assert not kernels.fuses(torch.ones(3, dtype=dtype)) and not kernels.fuses(torch.ones(3, device="meta"))
    x = SPREAD.to(dtype)
    assert quantize(x, "block(8,0)", generator=generator()).dtype == dtype


@pytest.fixture
def threads(monkeypatch):
    """Calls a function with 1, 2 and 3 threads, whatever torch had, then with 3 that are not torch's, and returns what
    it returned."""
    monkeypatch.setattr(kernels, "_ALONE", 1000)
    before = torch.get_num_threads()

    def called(function):
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(function())
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(kernels, "_team", lambda: None)
            return [*results, function()]

    yield called
    torch.set_num_threads(before)


@pytest.mark.parametrize("fmt", ["fixed(8,3)", "block(8,0)", "block(8,1)", "block(8,-1)", "float(4,3)", "mxfp4"])
def test_the_number_of_threads_changes_no_bit(threads, fmt):
    """Parts are cut between chunks of 1024 numbers, within rows and blocks."""
    x = torch.randn(61, 1000, generator=generator())

    def drawn() -> list[torch.Tensor]:
        rounded = [quantize(x, fmt, generator=generator(1)), vc_quantize(x, 0.01, fmt, generator(2))]
        return [*rounded, vc_quantize(x, 0.01, None, generator(3)), normal_like(x, generator(4))]

    alone, *others = threads(drawn)
    assert all(torch.equal(a, b) for other in others for a, b in zip(alone, other, strict=True))


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
@pytest.mark.parametrize("fmt", ["fixed(8,8)", "block(8,0)", "mxfp8(e4m3)"])
def test_nor_of_a_step(threads, sampler, accumulator, fmt):
    def weights() -> list[torch.Tensor]:
        p, g = torch.nn.Parameter(torch.randn(61, 1000, generator=generator())), generator(1)
        optimizer = sampler([p], 0.1, num_data=500, weight=fmt, grad=fmt, accumulator=accumulator, generator=g)
        for _ in range(2):
            p.grad = torch.randn(61, 1000, generator=g)
            optimizer.step()
        return [p.detach(), *optimizer.state[p].values()]

    alone, *others = threads(weights)
    assert all(torch.equal(a, b) for other in others for a, b in zip(alone, other, strict=True))


@pytest.mark.parametrize("team", [kernels._team, lambda: None])
def test_what_goes_wrong_in_a_thread_is_raised(threads, monkeypatch, team):
    monkeypatch.setattr(kernels, "_team", team)

    def fails(start: int, stop: int) -> None:
        if start > 0:
            raise KeyboardInterrupt

    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        kernels._in_parts(100_000, fails)


def test_a_generator_is_asked_once_a_call_whatever_is_drawn():
    expected = generator(5)
    for _ in range(3):
        kernels.key(expected)
    asked = generator(5)
    quantize(torch.ones(10), "fixed(8,3)", generator=asked)
    vc_quantize(torch.ones(10_000), 0.1, "block(8,-1)", asked)
    uniform_like(torch.ones(3, 3), asked)
    quantize(torch.ones(10), "fixed(8,3)", "nearest", asked)
    assert torch.equal(asked.get_state(), expected.get_state())


STEPS = [None, "fixed(8,8)", "fixed(16,12)", "block(8,0)", "block(8,-1)", "float(4,3)", "float(5,10)"]
STEPS += ["mxfp8(e4m3,axis=0)", "mxint8(block=4)", "nvfp4"]


@pytest.mark.parametrize("fmt", STEPS)
@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
def test_a_whole_step_has_the_bits_of_its_formula(monkeypatch, sampler, fmt, accumulator, lr):
    """Three steps; also with gradients laid out otherwise, without noise, and with more noise than a gap. The formula
    runs in torch from end to end. With momentum, displacements are the same as well."""
    if (fmt, accumulator) == ("nvfp4", "vc"):
        pytest.skip("nvfp4 has no variance correction")
    shapes = [(7, 6, 3, 3), (300, 40), (4000,), (1, 1), (3, 0)] + [()] * ("axis" not in (fmt or ""))

    def weights(temperature: float, weight_decay: float) -> list[torch.Tensor]:
        params = [torch.nn.Parameter(0.1 * torch.randn(shape, generator=generator(1))) for shape in shapes]
        params[0].data = params[0].data.to(memory_format=torch.channels_last)
        noise = dict(num_data=500, temperature=temperature, weight_decay=weight_decay, generator=generator(2))
        optimizer = sampler(params, lr, weight=fmt, grad=fmt, accumulator=accumulator, **noise)
        for i in range(3):
            for p in params:
                p.grad = 0.3 * torch.randn(p.shape, generator=generator(i))
            optimizer.step()
        return [x.detach() for p in params for x in (p, *optimizer.state.get(p, {}).values())]

    settings = [(1.0, 0.01), (0.0, 0.0), (50.0, 0.01)]
    fused = [weights(*setting) for setting in settings]
    monkeypatch.setattr(kernels, "fuses", lambda x: False)
    for a, setting in zip(fused, settings, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, weights(*setting), strict=True))


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
def test_a_step_is_fused(monkeypatch, sampler):
    """Where it was not, the test above would compare formulas with formulas."""
    p, calls = torch.nn.Parameter(torch.ones(3, 4)), []
    moved = kernels.moved
    monkeypatch.setattr(kernels, "moved", lambda *arguments: calls.append(moved(*arguments)))
    for accumulator in ("full", "naive", "vc"):
        optimizer = sampler([p], 0.1, num_data=10, weight="block(8,0)", grad="fixed(8,8)", accumulator=accumulator)
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert len(calls) == 3


# ---- random numbers --------------------------------------------------------------------------------------------------


def words(n: int, seed: int = 0, stream: int = 0) -> np.ndarray:
    u = kernels.drawn(torch.empty(n), "uniform", seed, stream).numpy()
    assert u.min() >= 0 and u.max() < 1
    return (u * 2.0**24).astype(np.int64)


def philox(counter: int, key: int, stream: int, rounds: int = 7) -> list[int]:
    """Philox4x32 as its paper has it, in whole numbers of any size."""
    c0, c1, c2, c3 = counter & 0xFFFFFFFF, counter >> 32, stream, 0
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(rounds):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def test_the_numbers_are_philox():
    """Ten rounds give the published known answer (Random123), so the seven that are used are rounds of it."""
    assert philox(0, 0, 0, rounds=10) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    for key, stream in itertools.product([0, 1, 2**64 - 1, 0x0123456789ABCDEF], [0, 1, 2]):
        found = words(2500, key, stream)
        for i in (0, 1, 255, 256, 1023, 1024, 2499):
            chunk, place = divmod(i, 1024)
            assert found[i] == philox(256 * chunk + place % 256, key, stream)[place // 256] >> 8


@pytest.mark.parametrize("step", [1, 256, 1024])
def test_uniform_and_independent_of_the_number_beside(step):
    """Bytes, and pairs of the top four bits at distances within and between chunks: chi-square."""
    w = words(2_000_000, 1)
    pairs = (w[:-step] >> 20) * 16 + (w[step:] >> 20)
    for byte in (w & 255, w >> 8 & 255, w >> 16, pairs):
        assert_law(np.bincount(byte, minlength=256), np.full(256, 1 / 256))


@pytest.mark.parametrize("other", [(1, 1), (2, 0), (1 + 2**32, 0), (2**63 + 1, 0)], ids=str)
def test_independent_of_other_streams_and_keys(other):
    """Of neighbouring keys and streams, in the same place: pairs of top bits, and every bit against its counterpart."""
    a, b = words(2_000_000, 1), words(2_000_000, *other)
    assert_law(np.bincount((a >> 20) * 16 + (b >> 20), minlength=256), np.full(256, 1 / 256))
    flips = [stats.binomtest(int((((a ^ b) >> bit) & 1).sum()), len(a), 0.5).pvalue for bit in range(24)]
    assert min(flips) > FALSE_ALARM / 24


def test_successive_calls_with_one_generator_are_independent():
    shared = generator(9)
    calls = np.stack([uniform_like(torch.empty(1), shared).numpy() for _ in range(20_000)]).ravel()
    assert stats.kstest(calls, "uniform").pvalue > FALSE_ALARM
    assert abs(np.corrcoef(calls[:-1], calls[1:])[0, 1]) < stats.norm.isf(FALSE_ALARM / 2) / len(calls) ** 0.5


def test_birthday_spacings():
    """Marsaglia's: of the gaps between 512 sorted numbers below 2^24, 512³/(4·2^24) = 2 come twice, on average."""
    twice = [511 - len(np.unique(np.diff(np.sort(words(512, 100 + k))))) for k in range(2000)]
    assert stats.poisson.cdf(sum(twice), 4000) > FALSE_ALARM and stats.poisson.sf(sum(twice) - 1, 4000) > FALSE_ALARM
    assert_law(np.bincount(twice, minlength=30)[:30], stats.poisson.pmf(np.arange(30), 2))


def test_normal_numbers_are_normal():
    """Moments up to the fourth within 6 standard errors, Kolmogorov-Smirnov, the tails, and pairs from one angle."""
    n = 4_000_000
    x = kernels.drawn(torch.empty(n), "normal", 3, 2).double().numpy()
    for power, mean, var in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - mean) < 6 * (var / n) ** 0.5
    assert stats.kstest(x, "norm").pvalue > FALSE_ALARM
    for bound in (2.0, 3.0, 4.0, 4.5):
        for tail in (x > bound, x < -bound):
            assert stats.binomtest(int(tail.sum()), n, stats.norm.sf(bound)).pvalue > FALSE_ALARM
    assert np.abs(x).max() < 6.67
    quarters = x[: n // 1024 * 1024].reshape(-1, 4, 256)
    for i, j in itertools.combinations(range(4), 2):
        a, b = quarters[:, i].ravel(), quarters[:, j].ravel()
        for f, g in ((a, b), (a * a, b * b), (np.abs(a), b)):
            assert abs(np.corrcoef(f, g)[0, 1]) < 6 / len(a) ** 0.5


# ---- where loops cannot run, or are compiled first -----------------------------------------------------------------

ROUND = "import torch; from lpsgld import quantize"
ROUND += "; print(quantize(torch.full((3,), 0.3), 'fixed(8,3)', 'nearest').tolist())"


def run(code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


@pytest.mark.slow
def test_without_numba_the_formulas_run_and_say_so_once():
    code = "import sys; sys.modules['numba'] = None; " + ROUND + "; quantize(torch.ones(3), 'block(8,0)')"
    process = run(code)
    out, err = process.communicate()
    assert process.returncode == 0 and out == "[0.25, 0.25, 0.25]\n"
    assert err.count("without numba") == 1 and len(err.splitlines()) == 1


@pytest.mark.slow
def test_importing_the_package_does_not_import_numba():
    code = "import sys, lpsgld.samplers.sgld; print('numba' in sys.modules, 'lpsgld.loops' in sys.modules)"
    assert run(code).communicate()[0] == "False False\n"


@pytest.mark.slow
def test_two_processes_at_once_compile_once_and_say_so(tmp_path):
    first, second = run(ROUND, NUMBA_CACHE_DIR=str(tmp_path)), run(ROUND, NUMBA_CACHE_DIR=str(tmp_path))
    for process in (first, second):
        out, err = process.communicate()
        assert (process.returncode, out) == (0, "[0.25, 0.25, 0.25]\n")
        assert err.splitlines() in (["lpsgld: compiling its loops for this processor, once (some 20 seconds)"], [])
    out, err = run(ROUND, NUMBA_CACHE_DIR=str(tmp_path)).communicate()
    assert out == "[0.25, 0.25, 0.25]\n" and err == "", "from the disk"


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_into_is_no_error():
    process = run(ROUND, NUMBA_CACHE_DIR="/proc/no/such/folder", HOME="/proc/no/such/home")
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "[0.25, 0.25, 0.25]\n"), err


@pytest.mark.slow
def test_a_fork_has_threads_of_its_own():
    code = """
import os, torch
from lpsgld import quantize
torch.set_num_threads(2)
x, g = torch.randn(1_000_000), torch.Generator()
mine = quantize(x, "fixed(8,3)", generator=g.manual_seed(1)).numpy()
if (child := os.fork()) == 0:  # where torch's own threads, of which there are none, are waited for without end
    os._exit(0 if (quantize(x, "fixed(8,3)", generator=g.manual_seed(1)).numpy() == mine).all() else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(code).communicate()[0] == "0\n"


# ---- formats and their axes ------------------------------------------------------------------------------------------


def test_formats_that_share_an_axis_can_be_cut_together():
    axis = formats.whole_blocks_axis
    assert axis() is axis(None, FixedPoint(8, 3)) is axis(FloatingPoint(4, 3), None) is None
    assert (
        axis(FixedPoint(8, 3), BlockFloatingPoint(8, 1))
        == axis(BlockFloatingPoint(4, 1), BlockFloatingPoint(8, 1))
        == 1
    )
    assert axis(BlockFloatingPoint(8, 0), BlockFloatingPoint(8, 1)) == axis(BlockFloatingPoint(8, -1), None) == -1
