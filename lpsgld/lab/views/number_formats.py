"""What notebook 01 shows: the number lines of the formats, what becomes of a network's weights, and block exponents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from lpsgld import formats
from lpsgld.formats import AnyFormat, Format, Grid
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, role
from lpsgld.rounding import quantize

WINDOW = 4.0  # the number line is drawn from -4 to 4
_SIZES = 2.0 ** np.linspace(-16, 12, 2000)


# ---- the numbers of a format -----------------------------------------------------------------------------------------


def worst_error(fmt: Format, sizes: np.ndarray, largest: float = 1.0) -> np.ndarray:
    """The largest relative error |Q^d(x) - x|/|x| that rounding to nearest may make near each positive size x.

    Half a gap over x, and 1 - top/x beyond the largest number, `top`; never above 1, since 0 is always there.
    """
    g = fmt.grid(torch.tensor(sizes, dtype=torch.float32), *fmt.shared(torch.tensor([largest])))
    gap, top = (np.broadcast_to(np.asarray(value, float), sizes.shape) for value in (g.gap, g.high * g.gap))
    return np.where(sizes > top, np.maximum(1 - top / sizes, gap / 2 / sizes), np.minimum(gap / 2 / sizes, 1.0))


def build_line(format_of: Callable[..., tuple[Format, float]], **setting):
    figure, (line, error) = new_figure(2, 1, height_ratios=(1, 2.3), hspace=0.62, top=0.93, left=0.095)
    line.set(xlim=(-1.05 * WINDOW, 1.05 * WINDOW), ylim=(-1, 1))
    line.set_yticks([])
    line.spines["left"].set_visible(False)
    line.grid(False)
    error.set(xscale="log", yscale="log", xlim=(_SIZES[0], _SIZES[-1]), ylim=(1e-3, 2))
    error.set_xscale("log", base=2)
    error.set_xticks(2.0 ** np.arange(-16, 13, 4))
    error.set(xlabel="size of the number |x|", title="largest relative error of rounding to nearest")
    _percent_ticks(error)
    ink = color("target")
    artists = {
        "line": line,
        "numbers": line.plot([], [], "|", color=ink, markersize=44, markeredgewidth=1.3)[0],
        "below": _shade(line, "sgd"),
        "above": _shade(line, "sgd"),
        "dies": _shade(error, "naive", label="rounds to 0"),
        "clips": _shade(error, "sgd", hatch="//", label="too large: clipped"),
        "error": error.plot([], [], **role("vc", label="_"))[0],
    }
    error.legend(loc="lower left", ncols=1, frameon=True, framealpha=0.9, edgecolor="none")
    update_line(artists, format_of, **setting)
    return figure, artists


def _percent_ticks(ax) -> None:
    ax.set_yticks([0.001, 0.01, 0.1, 1.0], ["0.1 %", "1 %", "10 %", "100 %"])
    ax.minorticks_off()


def _shade(ax, name: str, **look):
    """A band of the plot, as high as the axes; `_cover` moves it."""
    return ax.axvspan(1, 2, color=color(name), alpha=0.25, linewidth=0, **look)


def _cover(band, left: float, right: float) -> None:
    band.set_bounds(left, 0, max(right - left, 0), 1)
    band.set_visible(right > left)


def update_line(artists, format_of, **setting):
    fmt, largest = format_of(**setting)
    held = fmt.values(largest).double().numpy()
    inside = held[np.abs(held) <= WINDOW]
    artists["numbers"].set_data(inside, np.zeros_like(inside))
    _cover(artists["below"], -2 * WINDOW, max(held[0], -2 * WINDOW))
    _cover(artists["above"], min(held[-1], 2 * WINDOW), 2 * WINDOW)
    smallest = held[held > 0][0]
    _cover(artists["dies"], _SIZES[0], smallest / 2)
    _cover(artists["clips"], held[-1], _SIZES[-1])
    artists["error"].set_data(_SIZES, worst_error(fmt, _SIZES, largest))
    shown = f"{len(inside)} of its {len(held)} numbers lie" if len(inside) < len(held) else f"all {len(held)} lie"
    artists["line"].set_title(f"{formats.name(fmt)}: {shown} between −4 and 4")
    return {"numbers": len(held), "smallest above 0": smallest, "largest": held[-1]}


def _line_view(name: str, title: str, format_of, controls: tuple[Control, ...], static, slide=None) -> View:
    def build(**setting):
        return build_line(format_of, **setting)

    def update(artists, **setting):
        return update_line(artists, format_of, **setting)

    return View(name, title, build, update, controls, static=static, ghosts=("error",), slide=slide)


fixed_line = _line_view(
    "fixed_line",
    "The numbers of a fixed-point format",
    lambda word_length, fractional_bits: (formats.parse(f"fixed({word_length},{fractional_bits})"), 1.0),
    (
        Control("word_length", "word length W", tuple(range(3, 13)), 8),
        Control("fractional_bits", "fractional bits F", tuple(range(1, 13)), 3),
    ),
    ({}, {"fractional_bits": 8}),
)
float_line = _line_view(
    "float_line",
    "The numbers of a floating-point format",
    lambda exponent_bits, mantissa_bits: (formats.parse(f"float({exponent_bits},{mantissa_bits})"), 1.0),
    (
        Control("exponent_bits", "exponent bits E", (2, 3, 4, 5), 4),
        Control("mantissa_bits", "mantissa bits M", (1, 2, 3, 4, 5, 6), 3),
    ),
    ({}, {"exponent_bits": 5, "mantissa_bits": 2}),
    slide=Slide(
        "Top: the numbers of an 8-bit floating-point format between -4 and 4. Bottom: the largest relative "
        "error of rounding to nearest, against the size of the number.",
        "Strokes on a number line, crowded around 0 and twice as far apart after each power of two. Below, "
        "a curve at 100 % for numbers under 2^-10, then falling, then a saw between 3 % and 6 % up to 480.",
        title="The numbers of float(4,3)",
    ),
)
block_line = _line_view(
    "block_line",
    "The numbers of a block floating-point format",
    lambda word_length, largest: (formats.parse(f"block({word_length},-1)"), largest),
    (
        Control("word_length", "word length W", tuple(range(3, 13)), 8),
        Control("largest", "largest |x| in the block", tuple(1.5 * 2.0**e for e in range(-8, 9)), 1.5),
    ),
    ({}, {"largest": 1.5 * 2.0**-4}),
)


@Slide(
    "Largest relative error of rounding to nearest, against the size of the number, for four formats of "
    "8 bits. A ruler is best near its end; floating point is equally good over fifteen powers of two.",
    "Log-log plot. Each fixed and block format falls in a straight line from 100 % to 0.4 % and then "
    "jumps up where it clips; the floating-point format is a saw between 3 % and 6 % from 2^-6 to 2^9.",
    "Where a format is precise",
)
def precision(texts: tuple[str, ...] = ("fixed(8,3)", "fixed(8,8)", "block(8,-1)", "float(4,3)")) -> Figure:
    """The largest relative error against the size of the number, several formats on one plot."""
    figure, ax = new_figure(title="Where a format is precise")
    looks = ("naive", "bound", "full", "sgld")
    for name, look in zip(texts, looks, strict=True):
        label = f"{name}, largest |x| of the block 1.5" if name.startswith("block") else name
        ax.plot(_SIZES, worst_error(formats.parse(name), _SIZES, 1.5), **role(look, label=label))
    ax.set(xscale="log", yscale="log", xlim=(_SIZES[0], _SIZES[-1]), ylim=(1e-3, 8))
    ax.set_xscale("log", base=2)
    ax.set_xticks(2.0 ** np.arange(-16, 13, 4))
    _percent_ticks(ax)
    ax.set(xlabel="size of the number |x|", ylabel="largest relative error, nearest")
    ax.legend(loc="upper center", ncols=2)
    return figure


# ---- what becomes of a network's weights -----------------------------------------------------------------------------


class Fate(NamedTuple):
    """Shares of the weights that round to 0 (though they are not 0) and that are too large for the grid; rms error."""

    dead: float
    clipped: float
    rms: float


def fate(weights: Mapping[str, Tensor], fmt: AnyFormat) -> Fate:
    """What rounding to nearest does to a network's tensors, each of them quantized by itself."""
    dead = clipped = squares = count = 0.0
    for w in weights.values():
        rounded = quantize(w, fmt, "nearest")
        dead += int(((rounded == 0) & (w != 0)).sum())
        clipped += int(_too_large(w, formats.grid(fmt, w)).sum())
        squares += float((rounded - w).double().square().sum())
        count += w.numel()
    return Fate(dead / count, clipped / count, (squares / count) ** 0.5)


def _too_large(w: Tensor, g: Grid) -> Tensor:
    """Where clipping makes an error of more than the half gap that rounding may make anyway."""
    return (w < (g.low - 0.5) * g.gap) | (w > (g.high + 0.5) * g.gap)


_BINS = 2.0 ** (np.arange(-32, 7) / 2)


def on_grid(weights: Mapping[str, Tensor], family: str) -> View:
    """The view of all weights of a network on a grid: which die, which clip, and how large their errors are.

    family: "fixed" (controls word_length and fractional_bits) or "float" (exponent_bits and mantissa_bits).
    """
    flat = torch.cat([w.flatten() for w in weights.values()])
    count = len(flat)
    flat = flat[flat.abs().argsort()]
    # every k-th by size stands for all, to one part in 16,384: up to 32,768 elements torch stays on one thread, and a
    # slider must not wait for the second
    flat = flat[np.linspace(0, count - 1, min(count, 16384)).astype(int)]
    flat = flat[flat != 0]
    few = flat[np.linspace(0, len(flat) - 1, 1200).astype(int)]
    bins = torch.tensor(np.clip(np.searchsorted(_BINS, flat.abs().numpy(), "right") - 1, 0, len(_BINS) - 2))

    def build(**setting):
        figure, (ax, error) = new_figure(2, 1, sharex=True, height_ratios=(1.25, 1), hspace=0.32, top=0.93)
        artists: dict[str, Any] = {
            "kept": ax.stairs([0], [0, 1], fill=True, color=color("sgld"), label="kept"),
            "dead": ax.stairs([0], [0, 1], fill=True, color=color("naive"), label="rounds to 0"),
            "clipped": ax.stairs([0], [0, 1], fill=True, facecolor=color("sgd"), hatch="//", label="clipped"),
            "error": error.plot([], [], ".", color=color("target"), markersize=4, alpha=0.5, label="a weight")[0],
            "bound": error.plot([], [], **role("vc", label="worst case", zorder=1.5))[0],
            "axes": ax,
        }
        ax.set(xlim=(_BINS[0], _BINS[-1]), ylim=(0, 1.12 * bins.bincount().max().item() / len(flat)))
        ax.set_xscale("log", base=2)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        error.set(xlabel="size of the weight |w|", title="relative error |Q(w) − w| / |w|")
        error.set(yscale="log", ylim=(5e-4, 2))
        _percent_ticks(error)
        ax.legend(loc="upper left")
        error.legend(loc="lower left")
        update(artists, **setting)
        return figure, artists

    def update(artists, **setting):
        fmt = formats.parse(f"{family}({','.join(map(str, setting.values()))})")
        rounded = quantize(flat, fmt, "nearest")
        dead, clipped = rounded == 0, _too_large(flat, formats.grid(fmt, flat))
        floor = np.zeros(len(_BINS) - 1)
        for name, chosen in (("dead", dead), ("clipped", clipped), ("kept", ~dead & ~clipped)):
            share = bins[chosen].bincount(minlength=len(_BINS) - 1).numpy() / len(flat)
            artists[name].set_data(floor + share, _BINS, floor)
            floor = floor + share
        relative = ((quantize(few, fmt, "nearest") - few) / few).abs()
        artists["error"].set_data(few.abs().numpy(), relative.clamp(6e-4, 1.0).numpy())
        artists["bound"].set_data(_SIZES, worst_error(fmt, _SIZES))
        artists["axes"].set_title(f"{count:,} weights in {formats.name(fmt)}")
        return {
            "rounds to 0 (%)": 100 * dead.float().mean().item(),
            "clipped (%)": 100 * clipped.float().mean().item(),
            "rms error": (rounded - flat).square().mean().sqrt().item(),
        }

    controls, static = _FAMILIES[family]
    title = f"The weights of a network on a {family} grid"
    return View(f"weights_{family}", title, build, update, controls, static, ghosts=("dead", "kept"))


_FAMILIES = {
    "fixed": (
        (
            Control("word_length", "word length W", tuple(range(3, 13)), 8),
            Control("fractional_bits", "fractional bits F", tuple(range(1, 13)), 8),
        ),
        ({"fractional_bits": 5}, {}),
    ),
    "float": (
        (
            Control("exponent_bits", "exponent bits E", (2, 3, 4, 5), 4),
            Control("mantissa_bits", "mantissa bits M", (1, 2, 3, 4, 5, 6), 3),
        ),
        ({}, {"exponent_bits": 5, "mantissa_bits": 2}),
    ),
}


@Slide(
    "What rounding to nearest does to the weights of a small ResNet trained on 8×8 digits: the share "
    "that becomes 0, the share that is too large for the format, and the error's root mean square over "
    "that of the weights.",
    "Three bar charts for eight formats. fixed(8,5) loses the most weights to 0. fixed(8,8) clips, and "
    "has by far the largest error. The two block formats have the smallest errors, below 1 %.",
    "The same weights, eight bits each",
)
def comparison(fates: Mapping[str, Fate], weights_rms: float) -> Figure:
    """Bars for each format: weights that die, weights that clip, and the rms error over the rms weight."""
    figure, axes = new_figure(1, 3, title="The same weights, eight bits each", left=0.14, wspace=0.12, sharey=True)
    rows = np.arange(len(fates))[::-1]
    columns = (
        ("rounds to 0", [f.dead for f in fates.values()], "naive", None),
        ("clipped", [f.clipped for f in fates.values()], "sgd", "//"),
        ("rms error / rms weight", [f.rms / weights_rms for f in fates.values()], "sgld", None),
    )
    for ax, (title, values, look, hatch) in zip(axes, columns, strict=True):
        ax.barh(rows, values, 0.62, color=color(look), hatch=hatch)
        for row, value in zip(rows, values, strict=True):
            ax.text(value + 0.02 * max(values), row, f"{value:.1%}", va="center")
        ax.set(title=title, xlim=(0, 1.35 * max(values)), xticks=[])
        ax.tick_params(length=0)
        ax.grid(False)
    axes[0].set_yticks(rows, list(fates))
    return figure


# ---- block exponents -------------------------------------------------------------------------------------------------


def blocks(weight: Tensor) -> View:
    """The view of a convolution's weight [out, in, height, width] cut into blocks: exponents, and what they cost.

    A block is one weight, one kernel, all weights of one output channel (`block(W,0)`), or the tensor (`block(W,-1)`).
    """
    matrix = weight.flatten(1)
    rows, columns = matrix.shape
    kernel = weight[0, 0].numel()
    sizes = {1: "one weight", kernel: "one kernel", columns: "one output channel", rows * columns: "the whole tensor"}

    def cut(size: int) -> Tensor:
        return matrix.reshape(-1, size)

    def lost(word_length: int, size: int) -> float:
        rounded = quantize(cut(size), formats.parse(f"block({word_length},0)"), "nearest")
        return ((rounded == 0) & (cut(size) != 0)).float().mean().item()

    def build(word_length, block_size):
        figure, (ax, share) = new_figure(1, 2, width_ratios=(2.2, 1), wspace=0.3, top=0.9, right=0.965)
        exponents = formats.exponent(matrix).clamp(-16, 0)
        low, high = int(exponents.flatten().kthvalue(matrix.numel() // 20 + 1).values), int(exponents.max())
        shades = colormaps["viridis"].resampled(high - low + 1)  # one for each whole number
        look = dict(cmap=shades, vmin=low - 0.5, vmax=high + 0.5)
        image = ax.imshow(exponents.numpy(), aspect="auto", interpolation="nearest", **look)
        bar = figure.colorbar(image, ax=ax, location="bottom", pad=0.17, fraction=0.06, aspect=40)
        bar.set_ticks(range(low, high + 1))
        bar.set_label("exponent of the block")
        ax.grid(False)
        ax.set(xlabel=f"input channel and position in its kernel (1 to {columns})", ylabel="output channel")
        ax.set_xticks([])
        ax.set_yticks([])
        share.set(title="weights that round to 0", xlabel="weights in a block", xscale="log")
        share.set(ylim=(-0.02, 1.02), xlim=(0.6, 2 * rows * columns))
        share.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        share.set_xticks(list(sizes), list(map(str, sizes)))
        share.minorticks_off()
        artists = {
            "image": image,
            "axes": ax,
            "lost": share.plot([], [], **role("naive", label="_", marker="o", markersize=7))[0],
            "here": share.plot([], [], "o", color=color("target"), markersize=13)[0],
        }
        update(artists, word_length, block_size)
        return figure, artists

    def update(artists, word_length, block_size):
        largest = cut(block_size).abs().amax(dim=1, keepdim=True)
        exponents = formats.exponent(largest).expand(-1, block_size).reshape(rows, columns)
        artists["image"].set_data(exponents.numpy())
        curve = [lost(word_length, size) for size in sizes]
        here = curve[list(sizes).index(block_size)]
        artists["lost"].set_data(list(sizes), curve)
        artists["here"].set_data([block_size], [here])
        artists["axes"].set_title(f"{rows * columns // block_size:,} blocks of {block_size:,}, {word_length}-bit codes")
        return {"rounds to 0 (%)": 100 * here, "bits per weight": word_length + 8 / block_size}

    return View(
        "blocks",
        "Block exponents over a weight matrix",
        build,
        update,
        (
            Control("block_size", "one exponent for", tuple(sizes), kernel, lambda size: f"{sizes[size]} ({size})"),
            Control("word_length", "word length W", (3, 4, 5, 6, 7, 8), 4),
        ),
        static=({}, {"block_size": columns}, {"block_size": rows * columns}),
        ghosts=("lost",),
        slide=Slide(
            "One convolution of a small ResNet. Left: the exponent of each 3×3 kernel. Right: the share of "
            "weights that 4-bit codes round to 0, against the size of the block.",
            "Left: a heat map of small rectangles whose exponents are mostly -5 and -4. Right: the share of "
            "weights lost grows with the block, from 0 for single weights to about a quarter for the whole "
            "tensor.",
        ),
    )
