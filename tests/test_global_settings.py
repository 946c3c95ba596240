"""What the user has set for all of torch and numpy does not change a bit."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lpsgld import SGLD, Quantizer, formats, quantize, storage, vc_quantize
from lpsgld.toy import exact
from lpsgld.toy.targets import Banana, Gaussian, Mixture, MultivariateGaussian

FORMATS = ["fixed(8,3)", "block(8,0)", "float(4,3)", "e4m3", "mxfp4(block=4)", "mxint8(block=4)", "nvfp4(block=4)"]


@contextlib.contextmanager
def undone(change, back, old):
    change()
    try:
        yield
    finally:
        back(old)


SETTINGS = {
    "float64": lambda: undone(
        lambda: torch.set_default_dtype(torch.float64), torch.set_default_dtype, torch.get_default_dtype()
    ),
    "float16": lambda: undone(
        lambda: torch.set_default_dtype(torch.float16), torch.set_default_dtype, torch.get_default_dtype()
    ),
    "another device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": lambda: undone(
        lambda: torch.use_deterministic_algorithms(True), torch.use_deterministic_algorithms, False
    ),
    "numpy raises": lambda: np.errstate(all="raise"),
}


def results(fmt: str) -> list[torch.Tensor]:
    def generator(seed):
        return torch.Generator("cpu").manual_seed(seed)

    out = []
    for shape in ((6, 8), (600, 800)):  # the second one is cut into pieces
        x = torch.randn(shape, generator=generator(0), dtype=torch.float32, device="cpu")
        out += [quantize(x, fmt, rounding, generator(1)) for rounding in ("nearest", "stochastic")]
        if formats.parse(fmt).correctable:
            each = torch.full(shape, 0.01, dtype=torch.float32, device="cpu")
            out += [vc_quantize(x, v, fmt, generator(2)) for v in (1e-6, 0.1, each)]
        p = torch.nn.Parameter(x.clone())
        optimizer = SGLD([p], 0.1, num_data=10, weight=fmt, grad=fmt, generator=generator(3))
        for _ in range(2):
            p.grad = p.detach().clone()
            optimizer.step()
        leaf = x.clone().requires_grad_()
        y = Quantizer(fmt, fmt, generator=generator(4))(leaf)
        y.backward(x)
        out += [p.detach(), optimizer.state[p]["theta"], y.detach(), leaf.grad]
    return [*out, storage.unpack(storage.pack(quantize(x, fmt, "nearest"), fmt)), formats.parse(fmt).values()]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("fmt", FORMATS)
def test_the_same_bits_in_the_same_type_on_the_same_device(setting, fmt):
    usual = results(fmt)
    with SETTINGS[setting]():
        under = results(fmt)
    for a, b in zip(usual, under, strict=True):
        assert (a.dtype, a.device) == (b.dtype, b.device) and torch.equal(a, b)


def test_who_draws_first_in_inference_mode_draws_elsewhere_later():
    """In a thread of its own, which has drawn nothing before."""

    def both() -> list[torch.Tensor]:
        with torch.inference_mode():
            inside = quantize(torch.ones(3), "fixed(8,3)")
        return [inside, quantize(torch.ones(3), "fixed(8,3)"), vc_quantize(torch.ones(3), 0.01, "fixed(8,3)")]

    with ThreadPoolExecutor(1) as pool:
        inside, outside, _ = pool.submit(both).result()
    assert inside.is_inference() and not outside.is_inference()


@pytest.mark.parametrize("accumulator", ["full", "naive", "vc"])
@pytest.mark.parametrize("temperature", [1.0, 0.01])  # at the second one, tails underflow
@pytest.mark.parametrize("target", [Gaussian(), Mixture()], ids=["gaussian", "mixture"])
def test_an_exact_law_is_the_same_where_numpy_raises(accumulator, temperature, target):
    def law():
        found = exact.stationary(target, 0.01, "fixed(8,3)", accumulator, temperature=temperature)
        return [found.mean, found.std, *found.probabilities, *target.density(np.linspace(-60, 60, 7))]

    usual = law()
    with np.errstate(all="raise"):
        assert law() == usual


@pytest.mark.parametrize("target", [MultivariateGaussian([0, 0], np.eye(2)), Banana()], ids=["gaussian", "banana"])
def test_densities_in_the_plane_underflow_to_zero_where_numpy_raises(target):
    with np.errstate(all="raise"):
        assert target.density(np.full(2, 60.0)) == 0
