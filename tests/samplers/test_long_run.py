"""The optimizer in the long run: independent one-dimensional chains in a parameter, against exact laws.

The energy is θ²/2, the step size α, and when (1 - α)^steps = 0.007 of the start is left, the last state of each chain
is tested by chi-square: independent draws, a false alarm once in 10^7 tests. With 50,000 chains a law whose standard
deviation is off by 3 % is found nearly always: the statistic grows by 2·50,000·0.03² = 90, and its limit is about 70
above its mean for 50 cells. (20,000 chains of a group: by 5 %.)
"""

import numpy as np
import pytest
import torch
from scipy import stats

from lpsgld import SGLD
from lpsgld.toy.exact import Law, stationary
from lpsgld.toy.targets import Gaussian
from tests.checks import assert_law
from tests.test_variance import algorithm_1

CHAINS, ALPHA, STEPS = 50_000, 0.01, 500


def run(optimizer: SGLD, steps: int = STEPS, noise: float = 0.0) -> None:
    """Steps with the mean loss θ²/(2·num_data), whose gradient has so much noise."""
    random = torch.Generator().manual_seed(99)
    for _ in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                slope = p + noise * torch.randn(p.shape, generator=random) if noise else p
                p.grad = slope.detach() / group["num_data"]
        optimizer.step()


def chains(shape=(CHAINS,)) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(shape))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counts(points: np.ndarray, sample: torch.Tensor) -> np.ndarray:
    """How often each of the sorted points was drawn. Every draw is one of them."""
    sample = sample.detach().flatten().double().numpy()
    index = np.searchsorted(points, sample)
    assert np.array_equal(points[np.minimum(index, len(points) - 1)], sample)
    return np.bincount(index, minlength=len(points))


def assert_on_law(p: torch.Tensor, law: Law) -> None:
    assert_law(counts(law.points, p), np.maximum(law.probabilities, 0))


def assert_continuous_law(theta: torch.Tensor, law: Law, cells: int = 50) -> None:
    """Chi-square in cells of about equal probability; the law has equally wide, much narrower bins."""
    cell = np.minimum((np.cumsum(law.probabilities) * cells).astype(int), cells - 1)
    width = law.points[1] - law.points[0]
    bins = np.rint((theta.double().numpy() - law.points[0]) / width).astype(int).clip(0, len(cell) - 1)
    assert len(np.unique(cell)) == cells
    assert_law(np.bincount(cell[bins], minlength=cells), np.bincount(cell, law.probabilities))


def seen_through_rounding(law: Law, gap: float) -> Law:
    """The law of Q^s(θ), θ from this one: a point takes its neighbours' mass in a triangle, up to a gap away."""
    points = np.arange(-128, 128) * gap
    triangle = np.maximum(1 - np.abs(law.points[None] - points[:, None]) / gap, 0)
    return Law(points, triangle @ law.probabilities)


# ---- fixed point -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accumulator", "num_data", "noise", "grad"),
    [
        ("full", 1, 0.1, "fixed(8,3)"),
        ("naive", 1, 0.1, "fixed(8,3)"),
        ("vc", 1, 0.1, "fixed(8,3)"),
        ("vc", 50, 0, None),
    ],
)
def test_the_optimizer_samples_the_exact_law(accumulator, num_data, noise, grad):
    p = chains()
    settings = dict(num_data=num_data, weight="fixed(8,3)", grad=grad, accumulator=accumulator)
    optimizer = SGLD([p], ALPHA * num_data, generator=generator(), **settings)
    run(optimizer, noise=noise)
    law = stationary(Gaussian(), ALPHA, "fixed(8,3)", accumulator, noise, grad)
    if accumulator == "full":
        assert_continuous_law(optimizer.state[p]["theta"], law)
        law = seen_through_rounding(law, 2.0**-3)
    assert_on_law(p, law)


def test_each_group_samples_the_law_of_its_own_settings():
    """Formats, accumulators, temperatures and step sizes of four groups, of which none has another's law."""
    groups = [
        dict(weight="fixed(8,3)", accumulator="naive", lr=0.01),
        dict(weight="fixed(6,2)", accumulator="vc", lr=0.02),
        dict(weight="fixed(8,4)", accumulator="full", lr=0.01),
        dict(weight="fixed(8,3)", accumulator="vc", lr=0.01, temperature=0.5),
    ]
    params = [chains((20_000,)) for _ in groups]
    optimizer = SGLD(
        [{"params": [p]} | group for p, group in zip(params, groups, strict=True)],
        0.5,
        num_data=1,
        generator=generator(1),
    )
    run(optimizer)
    laws = [
        stationary(Gaussian(), g["lr"], g["weight"], g["accumulator"], temperature=g.get("temperature", 1.0))
        for g in groups
    ]
    assert_continuous_law(optimizer.state[params[2]]["theta"], laws[2])
    laws[2] = seen_through_rounding(laws[2], 2.0**-4)
    for p, law in zip(params, laws, strict=True):
        assert_on_law(p, law)
        for other in laws:
            if other is not law:
                with pytest.raises(AssertionError):
                    assert_on_law(p, other)


# ---- block floating point: a block for each chain --------------------------------------------------------------------

# In block(4,k), a block of one element holds 0 and ±4, ±5, ±6, ±7 times a power of two: three significant bits. There
# is no 8: beyond 7 the block saturates, and a naive chain shrinks. 1/√(1 - α/2) = 1.0127 is the unrounded chain's.
BLOCK, BLOCK_ALPHA = "block(4,0)", 0.05
STDS = {"naive": 0.9270, "vc": 1.0135}


def naive_block_chain(sigma: float) -> Law:
    """The law of Q^s_block(x), x normal with mean (1 - α)θ: its matrix from integrals of the normal density.

    Numbers below 2^-10 are one state, 0: the chain spends less than 0.1 % of its time there, and how far from 0 it was
    moves the next step by a three-thousandth of σ at most.
    """
    positive = np.array([code * 2.0 ** (e - 2) for e in range(-10, 4) for code in (4, 5, 6, 7)])
    points = np.concatenate([-positive[::-1], [0.0], positive])

    def rounds_up_to(mean):
        """P(x rounds to each of the positive points): it comes from the cells on both sides, with weights."""
        gaps = np.repeat(2.0 ** (np.arange(-10, 4) - 2), 4)
        codes = np.tile([4, 5, 6, 7], 14)
        ends = np.append(positive, positive[-1] + gaps[-1])
        mass = np.diff(stats.norm.cdf(ends, mean, sigma))
        first = mean * mass - sigma**2 * np.diff(stats.norm.pdf(ends, mean, sigma))  # ∫ x p(x) dx of each cell
        up = first / gaps - codes * mass  # E of the distance from the lower end, in gaps
        stay = mass - np.where(codes == 7, 0.0, up)  # beyond 7 a block saturates, there is no code 8
        return stay + np.append(0.0, np.where(codes == 7, 0.0, up)[:-1])

    matrix = []
    for theta in points:
        mean = (1 - BLOCK_ALPHA) * theta
        above, below = rounds_up_to(mean), rounds_up_to(-mean)[::-1]
        matrix.append(np.concatenate([below, [1 - above.sum() - below.sum()], above]))
    return Law(points, long_run(np.array(matrix)))


def corrected_block_chain(sigma: float) -> Law:
    """The law of Q^vc in block(4): Algorithm 1 on the narrowest grid whose fifth code is beyond |mean| + 6σ."""
    points = np.unique([code * gap for gap in (0.5, 1.0, 2.0) for code in range(-7, 8) if abs(code * gap) <= 8])
    matrix = np.zeros((len(points), len(points)))
    for row, theta in enumerate(points):
        mean = (1 - BLOCK_ALPHA) * theta
        gap = 2.0 ** np.ceil(np.log2((abs(mean) + 6 * sigma) / 5))
        codes = np.arange(-40, 41)
        drawn = algorithm_1(mean, sigma**2, gap, codes)
        inside = np.abs(codes) <= 7
        assert drawn[~inside].sum() < 1e-8
        reached = (codes[inside] * gap).clip(-8, 8)  # beyond it the chain is once in 10^12 steps
        np.add.at(matrix[row], np.searchsorted(points, reached), drawn[inside])
    return Law(points, long_run(matrix / matrix.sum(1, keepdims=True)))


def long_run(matrix: np.ndarray) -> np.ndarray:
    """The row that all rows of matrix^n tend to."""
    for _ in range(12):
        matrix = matrix @ matrix
    return matrix[0]


@pytest.mark.parametrize("accumulator", ["naive", "vc"])
def test_blocks_in_the_long_run(accumulator):
    """Each chain is its own block, so that its exponent moves with it: a finite Markov chain, counted out here."""
    sigma = (2 * BLOCK_ALPHA) ** 0.5
    law = {"naive": naive_block_chain, "vc": corrected_block_chain}[accumulator](sigma)
    p = chains((CHAINS, 1))
    run(SGLD([p], BLOCK_ALPHA, num_data=1, weight=BLOCK, accumulator=accumulator, generator=generator(2)), steps=200)
    small = p.abs() < 2.0**-10
    assert_on_law(p.masked_fill(small, 0.0), law)
    assert law.mean == pytest.approx(0, abs=1e-9) and law.std == pytest.approx(STDS[accumulator], abs=1e-4)
