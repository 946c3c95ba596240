"""What notebook 11 shows: the formats of accelerators, what blocks share, gradients in 4 bits, SGLD in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lpsgld import formats
from lpsgld.bnn.studies.gradients import Averaged, Collected, branch_shares
from lpsgld.lab.figures.frames import reveal
from lpsgld.lab.figures.saving import Slide
from lpsgld.lab.sliders.view import Control, View
from lpsgld.lab.style import color, new_figure, paper, role
from lpsgld.rounding import quantize
from lpsgld.toy import chains as toy
from lpsgld.toy.exact import Law, floating
from lpsgld.toy.targets import Gaussian
from lpsgld.toy.theory import saturated_share
from lpsgld.variance import BRANCHES

# ---- the formats on a ruler ------------------------------------------------------------------------------------------

FORMATS = ("fixed(8,4)", "mxint8", "e4m3", "e5m2", "e2m3", "e3m2", "e2m1", "bfloat16", "float16")
OCTAVES = np.arange(-26, 18)
_REACH = 8.0  # the number line is drawn from 0 to 8


@cache
def positive(fmt: str) -> np.ndarray:
    """The positive numbers of a format, sorted; of mxint8 in a block whose largest element is 8."""
    values = formats.parse(fmt).values(8.0).double().numpy()
    return values[values > 0]


def per_octave(fmt: str, octaves: np.ndarray = OCTAVES) -> np.ndarray:
    """How many numbers of the format lie from 2^k up to, not including, 2^(k+1), for each k in `octaves`."""
    return np.bincount(
        np.clip(np.frexp(positive(fmt))[1] - 1 - octaves[0] + 1, 0, len(octaves) + 1), minlength=len(octaves) + 2
    )[1:-1]


def build_ruler(fmt):
    figure, (line, count) = new_figure(2, 1, height_ratios=(1, 2.6), hspace=0.62, top=0.92, left=0.1)
    line.set(xlim=(-0.1, _REACH), ylim=(-1, 1))
    line.set_yticks([])
    line.spines["left"].set_visible(False)
    line.grid(False)
    artists = {
        "line": line,
        "numbers": line.plot([], [], "|", color=color("target"), markersize=44, markeredgewidth=1.1)[0],
        "beyond": line.axvspan(1, 2, color=color("sgd"), alpha=0.3, hatch="//", linewidth=0),
        "counts": count.stairs([1], [0, 1], baseline=0.25, fill=True, color=color("vc"), alpha=0.85),
    }
    count.set_yscale("log", base=2)
    count.set(xlim=(OCTAVES[0], OCTAVES[-1] + 1), ylim=(0.5, 2048))
    count.set_yticks(2.0 ** np.arange(0, 12, 2), [f"{2**k:,}" for k in range(0, 12, 2)])
    count.minorticks_off()
    count.set_xticks(range(-24, 17, 4), [f"$2^{{{k}}}$" for k in range(-24, 17, 4)])
    count.set(xlabel="size of the number |x|", title="how many numbers from each power of two to the next")
    update_ruler(artists, fmt)
    return figure, artists


def update_ruler(artists, fmt):
    held = positive(fmt)
    near = held[held <= _REACH]
    # more strokes than pixels are a bar anyway
    few = near[np.unique(np.round(near * 150).astype(int), return_index=True)[1]]
    artists["numbers"].set_data(few, np.zeros_like(few))
    artists["beyond"].set_bounds(held[-1], 0, max(_REACH - held[-1], 0), 1)
    artists["beyond"].set_visible(held[-1] < _REACH)
    counts = per_octave(fmt)
    artists["counts"].set_data(np.maximum(counts, 0.25), np.append(OCTAVES, OCTAVES[-1] + 1), 0.25)
    ends = " (a block whose largest is 8)" if fmt == "mxint8" else ""
    artists["line"].set_title(f"{fmt}{ends}: {len(near):,} numbers above 0 and up to 8")
    return {"numbers above 0": len(held), "smallest": held[0], "largest": held[-1], "from 1 to 2": counts[26]}


ruler = View(
    "ruler",
    "The formats on a ruler",
    build_ruler,
    update_ruler,
    (Control("fmt", "format", FORMATS, "e4m3", kind="slider"),),
    static=({}, {"fmt": "e2m1"}, {"fmt": "bfloat16"}),
    ghosts=("counts",),
)


@Slide(
    "From the smallest to the largest number above 0 of seven formats. Hatched: subnormal numbers, which thin out "
    "towards 0. An octave leads from one power of two to the next.",
    "Seven horizontal bars on a logarithmic axis. bfloat16 spans 2^-133 to 2^128 with 128 numbers an octave; float16, "
    "e5m2 and e4m3 span 40, 32 and 18 octaves with 1,024, 4 and 8 numbers each, the formats of six and four bits 4 to "
    "9.",
    "What a number of hardware reaches",
)
def ranges(names: tuple[str, ...] = ("bfloat16", "float16", "e5m2", "e4m3", "e3m2", "e2m3", "e2m1")) -> Figure:
    """From the smallest to the largest number of each format, normal numbers and subnormal ones, and how many."""
    figure, ax = new_figure(title="What a number of hardware reaches", left=0.14, right=0.985)
    for row, name in enumerate(reversed(names)):
        held, fmt = np.log2(positive(name)), formats.parse(name)
        look = "vc" if fmt.bits == 16 else "full" if fmt.bits == 8 else "naive"
        ax.barh(row, held[-1] - fmt.lowest, 0.5, fmt.lowest, color=color(look))
        ax.barh(row, fmt.lowest - held[0], 0.5, held[0], color=color(look), alpha=0.4, hatch="//")
        words = f"{fmt.bits} bits, {2**fmt.man:,} numbers an octave"
        if fmt.bits == 16 and fmt.exp == 8:
            ax.text(0, row, words, ha="center", va="center", color=paper(), fontsize=15)
        else:
            ax.text(held[-1] + 3, row, words, va="center", fontsize=15)
    ax.set_yticks(range(len(names)), list(reversed(names)))
    ticks = range(-128, 129, 32)
    ax.set_xticks(ticks, [f"$2^{{{k}}}$" for k in ticks])
    ax.set(xlabel="size of the number |x|;  hatched: subnormal, fewer and fewer numbers", xlim=(-136, 130))
    ax.grid(False, axis="y")
    return figure


# ---- blocks: an outlier, and the place of the largest element --------------------------------------------------------

BLOCK_FORMATS = ("mxfp8(e4m3)", "mxint8", "mxfp6(e2m3)", "mxfp4", "nvfp4")
LENGTHS = (2, 4, 8, 16, 32, 64, 128)
OUTLIERS = (0, 4, 8, 16, 32, 64, 128)
_BLOCK_LOOKS = dict(zip(BLOCK_FORMATS, ("full", "reference", "sgd", "naive", "vc"), strict=True))
_ROWS, _AT = 256, 5  # vectors of 128 Gaussian numbers; where the outlier stands


def sized(fmt: str, length: int) -> str:
    """The name of a block format with this block length."""
    return f"{fmt[:-1]},block={length})" if fmt.endswith(")") else f"{fmt}(block={length})"


@cache
def _vectors(outlier: int, seed: int) -> torch.Tensor:
    x = torch.randn(_ROWS, 128, generator=torch.Generator().manual_seed(seed))
    if outlier:
        x[:, _AT] = float(outlier)
    return x


@cache
def rounded_others(fmt: str, length: int, outlier: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Gaussian numbers beside an outlier in each 128 (0: none), what nearest rounding makes of them, its rms error."""
    x = _vectors(outlier, seed)
    others = torch.arange(128) != _AT
    before, after = x[:, others], quantize(x, sized(fmt, length), "nearest")[:, others]
    return before, after, float((after - before).square().mean().sqrt())


def error_ratio(fmt: str, length: int, other: int, outlier: int, seed: int) -> float:
    """The rms error of `rounded_others` in blocks of one length over that in blocks of another."""
    return rounded_others(fmt, length, outlier, seed)[2] / rounded_others(fmt, other, outlier, seed)[2]


def build_outlier(fmt, length, outlier, seed):
    figure, (ax, error) = new_figure(1, 2, title="One outlier in 128 numbers", width_ratios=(1, 1.15), wspace=0.24)
    artists = {
        "axes": ax,
        "dots": ax.plot([], [], "o", color=color("target"), markersize=4, alpha=0.6)[0],
        "curves": [
            error.plot(LENGTHS, np.ones(len(LENGTHS)), **role(look, label=name, marker="o", markersize=6))[0]
            for name, look in _BLOCK_LOOKS.items()
        ],
        "here": error.plot([], [], "o", color=color("target"), markersize=13, fillstyle="none", markeredgewidth=2.5)[0],
    }
    ax.axline((0, 0), slope=1, color=color("reference"), linewidth=1.2)
    ax.set(xlabel="an ordinary number x, in σ", xlim=(-3.2, 3.2), ylim=(-3.6, 3.6))
    error.set(xscale="log", yscale="log", ylim=(2e-3, 12), xlabel="block length", title="rms error, in σ")
    error.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
    error.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    error.minorticks_off()
    error.legend(loc="upper left", ncols=2, columnspacing=1.0, handlelength=2.2)
    update_outlier(artists, fmt, length, outlier, seed)
    return figure, artists


def update_outlier(artists, fmt, length, outlier, seed):
    before, after, wrong = rounded_others(fmt, length, outlier, seed)
    near = before[:6].flatten(), after[:6].flatten()
    artists["dots"].set_data(*near)
    for name, curve in zip(BLOCK_FORMATS, artists["curves"], strict=True):
        curve.set_ydata([rounded_others(name, n, outlier, seed)[2] for n in LENGTHS])
    artists["here"].set_data([length], [wrong])
    artists["axes"].set_title(f"what {sized(fmt, length)} makes of x")
    return {
        "outlier, in σ": outlier,
        "rms error of the others, in σ": wrong,
        "of them become 0 (%)": 100 * float((after == 0).float().mean()),
        "bits a number": formats.parse(sized(fmt, length)).nbytes((1024, 128)) * 8 / (1024 * 128),
    }


outlier = View(
    "outlier",
    "One outlier in 128 numbers",
    build_outlier,
    update_outlier,
    (
        Control("fmt", "format", BLOCK_FORMATS, "mxfp4"),
        Control("length", "block length", LENGTHS, 32),
        Control("outlier", "outlier, in σ", OUTLIERS, 0, format=lambda n: f"{n}" if n else "none"),
    ),
    static=({}, {"outlier": 16}, {"outlier": 16, "fmt": "nvfp4", "length": 16}),
    ghosts=("curves",),
    slide=Slide(
        "Left: 128 standard normal numbers, one of them set to 16, in mxfp4: what becomes of the ordinary ones. Right: "
        "their rms error against the block length. Short blocks keep the damage in one place, at more bits a number.",
        "Left, a staircase: much of what lies between -1 and 1 becomes 0. Right, log-log curves of five formats that "
        "rise with the block length, but for mxfp8, which stays near 0.03.",
        settings={"outlier": 16},
    ),
)


LARGEST = tuple(float(x) for x in np.round(4 * 2.0 ** np.linspace(0, 1, 17), 2))
_SWEEP = np.append(4 * 2.0 ** np.arange(0, 2, 1 / 32), [7.99, 15.99])
_SWEEP.sort()
_FOUR = {"mxfp4": "naive", "nvfp4": "vc"}


@cache
def scaled_error(fmt: str, largest: float) -> float:
    """Rms error over the largest element, in 2,048 Gaussian blocks of 16 brought to the same largest element.

    One more block, whose largest element is 100, sets the second scale of nvfp4.
    """
    x = torch.randn(2049, 16, generator=torch.Generator().manual_seed(0))
    x = x * (largest / x.abs().amax(1, keepdim=True))
    x[0] *= 100 / largest
    wrong = (quantize(x, sized(fmt, 16), "nearest") - x)[1:]
    return float(wrong.square().mean().sqrt()) / largest


def build_scale(largest):
    figure, (line, error) = new_figure(
        2, 1, title="Where the largest element falls", height_ratios=(1, 1.5), hspace=0.75, left=0.1
    )
    line.set(xlim=(-0.02, 1.02), ylim=(-0.7, 1.7), xlabel="number / largest element of the block")
    line.set_yticks([0, 1], ["nvfp4", "mxfp4"])
    line.spines["left"].set_visible(False)
    line.grid(False)
    artists = {
        "axes": line,
        "lost": line.axvspan(0.5, 1, 0.55, 0.95, color=color("sgd"), alpha=0.35, hatch="//", linewidth=0),
        "here": [error.plot([], [], "o", color=color(look), markersize=12)[0] for look in _FOUR.values()],
    }
    for row, (name, look) in enumerate(reversed(_FOUR.items())):
        artists[name] = line.plot([], [], "|", color=color(look), markersize=46, markeredgewidth=3)[0]
        artists[name].set_ydata(np.full(0, row))
        error.plot(_SWEEP, [scaled_error(name, float(x)) for x in _SWEEP], **role(look, label=name))
    error.set_xscale("log", base=2)
    error.set(xlim=(3.9, 16), ylim=(0, 0.085), xlabel="largest element of the block")
    error.set_xticks([4, 5, 6, 7, 8, 10, 12, 14, 16], ["4", "5", "6", "7", "8", "10", "12", "14", "16"])
    error.minorticks_off()
    error.set_title("rms error / largest element")
    error.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    error.legend(loc="lower right", ncols=2)
    update_scale(artists, largest)
    return figure, artists


def update_scale(artists, largest):
    ends = {}
    for row, name in enumerate(reversed(_FOUR)):
        held = formats.parse(sized(name, 16)).values(largest).double().numpy() / largest
        held = held[(held >= 0) & (held <= 1.001)]
        artists[name].set_data(held, np.full(len(held), row))
        ends[name] = held[-1]
    artists["lost"].set_bounds(ends["mxfp4"], 0.55, max(1 - ends["mxfp4"], 0), 0.4)
    artists["lost"].set_visible(ends["mxfp4"] < 1)
    for name, dot in zip(_FOUR, artists["here"], strict=True):
        dot.set_data([largest], [scaled_error(name, largest)])
    artists["axes"].set_title(f"the numbers of a block whose largest element is {largest:g}")
    return {"largest number of mxfp4": ends["mxfp4"] * largest} | {
        f"error of {name} (%)": 100 * scaled_error(name, largest) for name in _FOUR
    }


scale = View(
    "scale",
    "Where the largest element falls",
    build_scale,
    update_scale,
    (Control("largest", "largest element of the block", LARGEST, LARGEST[0]),),
    static=({}, {"largest": LARGEST[8]}, {"largest": LARGEST[15]}),
    ghosts=("mxfp4",),
    slide=Slide(
        "Top: the numbers of a block of mxfp4 and of nvfp4, relative to its largest element; hatched: too large for "
        "mxfp4. Bottom: the rms error of Gaussian blocks of 16 over their largest element, which moves through two "
        "octaves.",
        "Top: the strokes of mxfp4 end at 0.78, those of nvfp4 at 1. Bottom: the curve of mxfp4 swings between 5 and "
        "8 % and repeats after a factor of two; that of nvfp4 stays near 5 %.",
        settings={"largest": LARGEST[15]},
    ),
)

TOPS = {"mxfp4": (6 / 4, "naive"), "mxfp8(e4m3)": (448 / 256, "full"), "mxfp6(e2m3)": (7.5 / 4, "sgd")}


@Slide(
    "The share of Gaussian numbers beyond the largest number of their block, because its scale is a power of two. "
    "Lines: exact; dots: counted.",
    "Three falling curves on log-log axes, mxfp4 above mxfp8 above mxfp6. For mxfp4 the share is 23 % in blocks of 2, "
    "2.3 % in blocks of 32 and 0.3 % in blocks of 128. The dots lie on the curves.",
    "Too large for their own block",
)
def saturation(measured: Mapping[tuple[str, int], float]) -> Figure:
    """The share of Gaussian numbers too large for their block: exact curves, and measured dots by (format, length)."""
    figure, ax = new_figure(title="Too large for their own block")
    for name, (top, look) in TOPS.items():
        ax.plot(LENGTHS, [saturated_share(top, n) for n in LENGTHS], **role(look, label=f"{name}, exact"))
        dots = {length: share for (fmt, length), share in measured.items() if fmt == name}
        ax.plot(list(dots), list(dots.values()), "o", color=color(look), markersize=10)
    ax.set(xscale="log", xlabel="block length", ylabel="share of the numbers", ylim=(8e-5, 0.4), yscale="log")
    ax.set_xticks(LENGTHS, [str(n) for n in LENGTHS])
    ax.minorticks_off()
    ax.set_yticks([1e-4, 0.001, 0.01, 0.1], ["0.01 %", "0.1 %", "1 %", "10 %"])
    ax.legend(loc="lower left")
    return figure


# ---- gradients in four bits ------------------------------------------------------------------------------------------

ROUNDINGS = {"nearest": "naive", "stochastic": "vc"}
GRADIENT_FORMATS = ("mxfp4", "nvfp4")


def averaging(collected: Collected, averages: Mapping[tuple[str, int, str], Averaged]) -> View:
    """The view of averages of rounded gradients: by format and batch size, against how many are averaged.

    averages: by format, batch size and rounding, as `gradients.averages` makes them.
    """
    sizes = tuple(collected.gradients)

    def build(fmt, batch):
        figure, (error, ax) = new_figure(1, 2, title="The mean of many rounded gradients", wspace=0.26, left=0.1)
        artists = {"axes": ax, "error axes": error}
        for name, look in ROUNDINGS.items():
            artists[name] = error.plot([], [], "o", **role(look, label=name, markersize=7))[0]
            artists[f"{name} bars"] = error.vlines([1], 0.1, 0.2, color=color(look), linewidth=2.5)
            artists[f"{name} dots"] = ax.plot([], [], "o", color=color(look), markersize=4, alpha=0.6, label=name)[0]
        artists["clipped"] = error.axhline(1, **role("bound", label="what saturation alone costs"))
        ax.axline((0, 0), slope=1, color=color("reference"), linewidth=1.2)
        error.set(yscale="log", ylim=(4e-3, 3), xlabel="gradients averaged")
        error.set_xscale("log", base=2)
        counts = averages[fmt, batch, "nearest"].counts
        error.set_xlim(0.8, 1.25 * counts[-1])
        error.set_xticks(counts[::2], [str(n) for n in counts[::2]])
        error.set_yticks([0.01, 0.1, 1], ["1 %", "10 %", "100 %"])
        error.minorticks_off()
        error.set_title("error of their mean", pad=12)
        error.legend(loc="upper right")
        ax.set(xlabel="a weight's mean gradient / scale")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 4, 10]))
        ax.legend(loc="upper left", markerscale=2.5, handlelength=1)
        update(artists, fmt, batch)
        return figure, artists

    def update(artists, fmt, batch):
        mean, kind = collected.gradients[batch].mean(0)[:8], formats.parse(fmt)
        scale = kind.scale(*kind.shared(mean))
        reach = 1.4 * float(kind.values(1.0).max() / kind.scale(*kind.shared(torch.ones(1))))
        artists["axes"].set(xlim=(-reach, reach), ylim=(-reach, reach))
        for name in ROUNDINGS:
            a = averages[fmt, batch, name]
            artists[name].set_data(a.counts, a.error)
            artists[f"{name} bars"].set_segments(
                [[(n, e - 2 * s), (n, e + 2 * s)] for n, e, s in zip(a.counts, a.error, a.standard_error, strict=True)]
            )
            artists[f"{name} dots"].set_data((mean / scale).flatten(), (a.mean[:8] / scale).flatten())
        artists["clipped"].set_ydata([averages[fmt, batch, "nearest"].clipped] * 2)
        images = f"all {batch:,} images" if batch == sizes[-1] else f"batches of {batch}"
        artists["axes"].set_title(f"mean in {fmt}, {images}")
        bias = {f"bias, {name} (%)": 100 * averages[fmt, batch, name].bias for name in ROUNDINGS}
        return bias | {"become 0 (%)": 100 * averages[fmt, batch, "nearest"].zero}

    return View(
        "averaging",
        "The mean of many rounded gradients",
        build,
        update,
        (
            Control("fmt", "format", GRADIENT_FORMATS, "mxfp4"),
            Control("batch", "images in a batch", sizes, sizes[(len(sizes) - 1) // 2]),
        ),
        static=({}, {"batch": sizes[-1]}, {"batch": sizes[-1], "fmt": "nvfp4"}),
        ghosts=tuple(ROUNDINGS),
        slide=Slide(
            "The gradient of all digits in mxfp4, rounded again and again. To nearest, it is always wrong by the same "
            "amount; stochastically, the mean comes close, down to what saturation costs.",
            "Left: the error of nearest stays at about 10 %, that of stochastic rounding falls from 15 % towards a "
            "line at 4 %. Right: nearest is a staircase, stochastic lies on the diagonal and stops at 6 scales.",
            settings={"batch": sizes[-1]},
        ),
    )


# ---- SGLD in bfloat16 ------------------------------------------------------------------------------------------------

SCALE = Gaussian(1.0, 0.1)  # such as a BatchNorm scale, which starts at 1
STEPS = (3e-8, 1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
_SAMPLERS = {"naive": "naive", "nearest": "sgd", "vc": "vc"}
_LABELS = {"naive": "stochastic (naive)", "nearest": "nearest, after 4 relaxation times", "vc": "variance-corrected"}
_BINS = np.arange(0.25, 2.25, 1 / 64) - 1 / 1024  # two gaps above 1, four below


def relaxation_steps(alpha: float) -> float:
    """4 s²/α: four relaxation times of N(1, s²)."""
    return 4 * SCALE.std**2 / alpha


@cache
def bfloat16_law(alpha: float, rounding: str) -> Law:
    """The stationary law in bfloat16, exact; of nearest rounding the law after four relaxation times from 1."""
    if rounding == "nearest":
        return floating.law(SCALE, alpha, "bfloat16", rounding, 0.5, 1.6, relaxation_steps(alpha))
    return floating.law(SCALE, alpha, "bfloat16", rounding, *((2.0**-5, 4.0) if alpha < 1e-6 else (0.25, 2.5)))


def build_chain(alpha):
    figure, (ax, spread) = new_figure(1, 2, title="SGLD with weights in bfloat16", width_ratios=(1.25, 1), left=0.07)
    theta = np.linspace(0.3, 1.9, 321)
    ax.plot(theta, SCALE.density(theta), **role("target", label="target N(1, 0.1²)", zorder=3))
    spread.axhline(1, **role("target", label="_"))
    artists = {"axes": ax, "here": []}
    for frame, (name, look) in enumerate(_SAMPLERS.items(), start=2):
        artists[name] = reveal(frame, ax.stairs([0], [0, 1], baseline=None, **role(look, label=_LABELS[name])))
        stds = [bfloat16_law(a, name).std / SCALE.std for a in STEPS]
        reveal(frame, spread.plot(STEPS, stds, **role(look, label="_")))
        artists["here"] += reveal(frame, spread.plot([], [], "o", color=color(look), markersize=10))
    ax.set(xlabel="weight θ", xlim=(0.3, 1.9), ylim=(0, 7.5))
    ax.legend(loc="upper left", handlelength=2.2, frameon=True, framealpha=0.9, edgecolor="none")
    spread.set(xscale="log", ylim=(0, 4.5), xlabel="step size α", title="spread / that of the target")
    spread.minorticks_off()  # they take longer than all else
    update_chain(artists, alpha)
    return figure, artists


def update_chain(artists, alpha):
    laws = {name: bfloat16_law(alpha, name) for name in _SAMPLERS}
    for name, dot in zip(_SAMPLERS, artists["here"], strict=True):
        heights, _ = np.histogram(laws[name].points, _BINS, weights=laws[name].probabilities)
        artists[name].set_data(heights * 64, _BINS)
        dot.set_data([alpha], [laws[name].std / SCALE.std])
    artists["axes"].set_title(f"where the weight is, α = {alpha:g}")
    below = laws["naive"].points < 1
    return {
        "noise / gap above 1": math.sqrt(2 * alpha) * 128,
        "spread, stochastic": laws["naive"].std / SCALE.std,
        "spread, corrected": laws["vc"].std / SCALE.std,
        "mean, nearest": laws["nearest"].mean,
        "below 1, stochastic (%)": 100 * laws["naive"].probabilities[below].sum(),
    }


chain = View(
    "chain",
    "SGLD with weights in bfloat16",
    build_chain,
    update_chain,
    (Control("alpha", "step size α", STEPS, 1e-4),),
    static=({}, {"alpha": 1e-6}, {"alpha": 3e-8}),
    ghosts=tuple(_SAMPLERS),
    slide=Slide(
        "Exact laws of a weight in bfloat16 with target N(1, 0.1²), step size 1e-6, and their spread against the step "
        "size. The gap is 1/128 above 1 and 1/256 below.",
        "Left: the stochastically rounded law is wide and drops by half at 1; the nearest one is shifted to below 1; "
        "the corrected one lies on the target. Right: as steps shrink, the stochastic spread grows to four times the "
        "target's, that of nearest falls to 0, the corrected one stays at 1.",
        settings={"alpha": 1e-6},
    ),
)


def sample(alpha: float, rounding: str, chains: int, seed: int) -> torch.Tensor:
    """The states of so many chains in bfloat16, from 1, after four relaxation times, rounded up to a power of two."""
    generator = torch.Generator().manual_seed(seed)
    steps, theta = 2 ** math.ceil(math.log2(relaxation_steps(alpha))), torch.ones(chains)
    if rounding != "nearest":
        return toy.run(theta, steps, SCALE, alpha, "bfloat16", rounding, keep_every=steps, generator=generator)[-1]
    for _ in range(steps):
        noise = math.sqrt(2 * alpha) * torch.randn(chains, generator=generator)
        theta = quantize(theta - alpha * SCALE.gradient(theta) + noise, "bfloat16", "nearest")
    return theta


# ---- where the correction can act ------------------------------------------------------------------------------------

WEIGHT_FORMATS = (
    "float16", "bfloat16", "mxint8", "e4m3", "mxfp8(e4m3)", "mxfp6(e2m3)", "e5m2", "mxfp6(e3m2)", "mxfp4",
)  # fmt: skip
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
_BRANCH_LOOKS = {"spline": ("vc", None), "correction": ("full", "//"), "floor": ("naive", "xx")}


def where(collected: Collected, seed: int) -> View:
    """The view of the branches of Q^vc in one step of a network's weights: by format, step size and temperature."""

    @cache
    def told(fmt: str, rate: float, temperature: float) -> tuple[dict[str, float], float]:
        return branch_shares(collected, fmt, rate, temperature, seed)

    names = (*WEIGHT_FORMATS, "nvfp4")
    places = np.arange(len(names))
    least, most = -4, 2

    def build(rate, temperature):
        figure, (ratio, shares) = new_figure(
            1, 2, title="Where the correction can act", sharey=True, width_ratios=(1.2, 1), wspace=0.08, left=0.145,
            top=0.8,
        )  # fmt: skip
        picture = ratio.imshow(
            np.zeros((len(WEIGHT_FORMATS), len(RATES))), cmap="cividis", vmin=least, vmax=most, aspect="auto",
            interpolation="nearest", extent=(0, len(RATES), len(WEIGHT_FORMATS) - 0.5, -0.5),
        )  # fmt: skip
        bar = figure.colorbar(picture, ax=ratio, pad=0.03)
        bar.set_ticks(range(least, most + 1), labels=["≤ 1e-4", "0.001", "0.01", "0.1", "1", "10", "≥ 100"])
        ratio.set_title("v / v0 of the median weight", fontsize=16, pad=16)
        ratio.set_xticks(np.arange(0, len(RATES), 2) + 0.5, [f"{r:g}" for r in RATES[::2]])
        ratio.set_yticks(places, names)
        ratio.set(xlabel="step size", ylim=(len(names) - 0.5, -0.5))
        ratio.grid(False)
        ratio.text(len(RATES) / 2, places[-1], "no grid of its own", ha="center", va="center")
        shares.text(0.5, places[-1], "no grid of its own", ha="center", va="center")
        artists = {
            "map": picture,
            "here": ratio.plot([0], [-0.5], "v", color=color("target"), markersize=13, clip_on=False)[0],
            **{
                name: shares.barh(places[:-1], np.ones(len(WEIGHT_FORMATS)), 0.8, color=color(look), hatch=hatch,
                                  label=name)
                for name, (look, hatch) in _BRANCH_LOOKS.items()
            },
        }  # fmt: skip
        shares.set(xlim=(0, 1), xlabel="share of the weights")
        shares.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        shares.tick_params(labelleft=False)
        shares.grid(False)
        shares.legend(loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=3, handlelength=1.2, columnspacing=1.2)
        update(artists, rate, temperature)
        return figure, artists

    def update(artists, rate, temperature):
        medians = [[told(fmt, r, temperature)[1] for r in RATES] for fmt in WEIGHT_FORMATS]
        artists["map"].set_data(np.log10(np.maximum(medians, 1e-30)).clip(least, most))
        artists["here"].set_xdata([RATES.index(rate) + 0.5])
        now = [told(fmt, rate, temperature)[0] for fmt in WEIGHT_FORMATS]
        left = np.zeros(len(WEIGHT_FORMATS))
        for name in BRANCHES:
            widths = np.array([shares[name] for shares in now])
            for bar, start, width in zip(artists[name], left, widths, strict=True):
                bar.set_x(start)
                bar.set_width(width)
            left = left + widths
        floors = {fmt: shares["floor"] for fmt, shares in zip(WEIGHT_FORMATS, now, strict=True)}
        return {f"floor, {fmt} (%)": 100 * floors[fmt] for fmt in ("bfloat16", "e4m3", "mxfp4")}

    return View(
        "where",
        "Where the correction can act",
        build,
        update,
        (
            Control("rate", "step size (on the mean loss)", RATES, 0.1),
            Control("temperature", "temperature T", (1.0, 1e-3), 1.0, kind="buttons"),
        ),
        static=({}, {"temperature": 1e-3}),
        slide=Slide(
            "One Langevin step (T = 1) of an MLP's first layer. Left: the variance v of the step over v0 for the "
            "median weight. Right, at the step size marked: spline and correction have the variance asked for, the "
            "floor has more.",
            "Left: a map, brightest for the 16-bit formats and large steps, darkest for mxfp4. Right: bars of nine "
            "formats; the 16-bit ones and mxint8 are all spline, e5m2 is mostly correction, a part of mxfp4 is on the "
            "floor. nvfp4 has no bar.",
        ),
    )
