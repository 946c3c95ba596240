"""What others measured: the CIFAR tables of the literature as data, to be set beside one's own results.

Sources, named by a letter as in every table that prints them:

B   Zhang, Wilson and De Sa, ICML 2022, as reprinted in the chapter on low-precision sampling of the BDL book
T   the follow-up on Hamiltonian dynamics, TMLR, arXiv 2310.16320: its rows of SGLD are re-runs
J   an independent reproduction in JAX, on an H100

All train a ResNet-18 of width 64. Its ECE has the 9 bins of the released code: compare it with `metrics.ece_paper`.
The paper's row of corrected blocks presumably comes from that code, too, whose step in blocks has no noise where
v < v0 (`variance.vc_released`); it carries a note.
"""

from __future__ import annotations

from typing import NamedTuple

from lpsgld.bnn.training.recipes import RECIPES, Recipe

SOURCES = {"B": "the paper (ICML 2022)", "T": "TMLR follow-up's re-run", "J": "JAX reproduction"}


class Published(NamedTuple):
    """Test error and ECE, in percent, of one recipe by one source.

    recipe: its name in RECIPES. error_se: standard error over 3 runs, or None. ece: None where none is given.
    note: where the source departs from the recipe.
    """

    recipe: str
    source: str
    error: float
    error_se: float | None = None
    ece: float | None = None
    note: str = ""


# per row of the paper: CIFAR-10 error, its standard error, CIFAR-100 error, its standard error, both ECE
_PAPER = {
    "sgld_float32": (4.65, 0.06, 22.58, 0.18, 1.11, 3.92),
    "sgd_float32": (4.71, 0.02, 22.64, 0.13, 2.53, 4.97),
    "sgld_fixed_full": (5.12, 0.06, 23.30, 0.09, 1.12, 4.42),
    "sgd_fixed_full": (5.20, 0.14, 23.84, 0.12, 3.05, 6.80),
    "sgld_fixed_vc": (7.13, 0.01, 26.62, 0.16, 0.60, 3.19),
    "sgd_fixed_naive": (8.53, 0.08, 28.86, 0.10, 3.40, 10.38),
    "sgld_block_full": (4.58, 0.07, 22.59, 0.18, 1.19, 3.78),
    "sgd_block_full": (4.75, 0.05, 22.90, 0.13, 2.76, 5.20),
    "sgld_block_vc": (5.51, 0.01, 25.22, 0.18, 0.60, 5.82),
    "sgd_block_naive": (5.86, 0.18, 26.19, 0.11, 4.23, 12.97),
}
_INNER_FULL = "activations and errors in full precision"
# of the paper's numbers, by row: what is likely, but not said
_LIKELY = {"sgld_block_vc": "presumably from the released code, whose noise is lost where v < v0"}

PUBLISHED: tuple[Published, ...] = (
    *(Published(f"cifar10_{n}", "B", row[0], row[1], row[4], _LIKELY.get(n, "")) for n, row in _PAPER.items()),
    *(Published(f"cifar100_{n}", "B", row[2], row[3], row[5], _LIKELY.get(n, "")) for n, row in _PAPER.items()),
    Published("cifar10_sgld_fixed_naive", "T", 7.81, 0.07),
    Published("cifar100_sgld_fixed_naive", "T", 27.15, 0.35),
    Published("cifar10_sgld_block_naive", "T", 5.75, 0.05),
    Published("cifar100_sgld_block_naive", "T", 26.11, 0.38),
    Published("cifar10_sgld_fixed_full", "J", 5.21, None, 1.45),
    Published("cifar10_sgld_fixed_vc", "J", 6.68, None, 1.44),
    Published("cifar10_sgld_fixed_naive", "J", 7.11, None, 2.21),
    Published("cifar10_sgld_block_vc", "J", 5.34, None, 0.58, _INNER_FULL),
    Published("cifar10_sgld_block_vc", "J", 5.45, None, 0.72),
)

_OWN = ("dataset", "width", "epochs", "samples", "seed")  # fields that a smaller run of a recipe may change


def row_of(recipe: Recipe, dataset: str = "cifar10") -> str | None:
    """The name in RECIPES of the paper's row that a run belongs to, whatever its size and images; None if to none.

    dataset: "cifar10" or "cifar100", whose rows are looked through.
    """
    for name, row in RECIPES.items():
        if name.startswith(f"{dataset}_") and not set(row.differences(recipe)) - set(_OWN):
            return name
    return None


def of(name: str | None) -> tuple[Published, ...]:
    """What was published on the recipe of that name in RECIPES; nothing on None.

    "..._block_vc_released" has the rows that "..._block_vc" has: they are its, if what is presumed of them is right.
    """
    return tuple(row for row in PUBLISHED if name is not None and row.recipe == name.removesuffix("_released"))
