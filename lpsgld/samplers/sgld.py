"""Stochastic gradient Langevin dynamics with low-precision weights, gradients and accumulators.

`update` is one step of the sampler, the same function for a Gaussian in one dimension and for a ResNet; `SGLD` is the
`torch.optim.Optimizer` that applies it to the parameters of a network: on the CPU to one after the other, piece by
piece (`lpsgld/pieces.py`), on an accelerator and when compiled to a few stacks of them (`stacks.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lpsgld import formats
from lpsgld.formats import Format, whole_blocks_axis
from lpsgld.pieces import pieces
from lpsgld.rounding import quantize
from lpsgld.samplers.stacks import Stacks
from lpsgld.variance import vc_quantize

Accumulator = Literal["full", "naive", "vc"]


def update(
    theta: Tensor,
    drift: Tensor,
    variance: float | Tensor,
    weight: Format,
    accumulator: Accumulator,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The accumulator θ after one step that moves it by -drift and adds noise of the given variance.

    drift: α∇U in θ's unit, its gradient already rounded by the caller. With ξ standard normal and μ = θ - drift:

        "full"   μ + √v ξ                  (SGLDLP-F: the accumulator stays in full precision)
        "naive"  Q_W(μ + √v ξ)             (naive SGLDLP-L: what was sampled is rounded once more)
        "vc"     Q^vc(μ, v, Δ_W)           (VC SGLDLP-L: the rounding itself is the noise)

    (Zhang, Wilson and De Sa 2022, equations 4 to 6 and Algorithm 1.) v = 0 gives the SGD counterparts. Returns a new
    tensor. Raises ValueError for an unknown accumulator.
    """
    mean = theta - drift
    if accumulator == "vc":
        return vc_quantize(mean, variance, weight, generator)
    require_accumulator(accumulator)
    moved = vc_quantize(mean, variance, None, generator)
    return quantize(moved, weight, generator=generator) if accumulator == "naive" else moved


def require_accumulator(accumulator: str) -> None:
    """Raises ValueError unless `accumulator` is one of those of `update`."""
    if accumulator not in get_args(Accumulator):
        known = ", ".join(f'"{name}"' for name in get_args(Accumulator))
        raise ValueError(f"the accumulator is {accumulator!r}, but must be one of {known}")


class _Setting(NamedTuple):
    """What stays the same over the steps of a parameter group."""

    temperature: float
    num_data: int
    weight_decay: float
    weight: Format
    grad: Format
    accumulator: Accumulator

    @classmethod
    def of(cls, group: dict) -> _Setting:
        return cls(*(formats.parse(group[f]) if f in ("weight", "grad") else group[f] for f in cls._fields))

    def whole_blocks_axis(self) -> int | None:
        return whole_blocks_axis(self.weight, self.grad)


def _step_tensor(p: Tensor, slope: Tensor, theta: Tensor, lr, setting: _Setting, generator) -> None:
    """One step of θ and of p = Q_W(θ), both in place; they are one tensor where θ itself is on the grid."""
    variance = 2 * lr * setting.temperature / setting.num_data
    slope = quantize(slope, setting.grad, generator=generator)
    if setting.weight_decay:
        slope = slope + setting.weight_decay * theta
    moved = update(theta, lr * slope, variance, setting.weight, setting.accumulator, generator)
    if setting.accumulator == "full" and setting.weight is not None:
        theta.copy_(moved)
        moved = quantize(moved, setting.weight, generator=generator)
    p.copy_(moved)


def _step_stacks(tensors: list[tuple[Tensor, Tensor, Tensor]], lr, setting: _Setting, generator) -> None:
    """`_step_tensor` for each (p, slope, theta): what is compiled as one program."""
    for p, slope, theta in tensors:
        _step_tensor(p, slope, theta, lr, setting, generator)


def _fused(device: torch.device) -> Callable[..., None]:
    # where it fuses loops, torch 2.15's C++ back end cannot compile a reduction that is followed by a write in place
    options = {"max_fusion_size": 1} if device.type == "cpu" else None
    return torch.compile(_step_stacks, fullgraph=True, dynamic=False, options=options)


class NonFiniteGradient(FloatingPointError):
    """A gradient is NaN or infinite. `step` counts from 1; `parameter` is its name (or its index, if unnamed)."""

    def __init__(self, step: int, parameter: str):
        super().__init__(
            f"step {step}: the gradient of {parameter} is not finite, so the chain has diverged. "
            "Nothing was changed in this step. Take a smaller step size, or a format with a wider range."
        )
        self.step, self.parameter = step, parameter


class SGLD(torch.optim.Optimizer):
    """Low-precision SGLD on the mean loss of `num_data` observations:

        θ ← θ - lr·(Q_G(g) + weight_decay·θ) + √(2·lr·temperature/num_data)·ξ

    where g is the gradient of the *mean* loss, so that α = lr/num_data is the step size for the posterior's energy
    U = num_data·(mean loss + weight_decay/2·|θ|²). How θ is rounded is told in `update`. The chain samples the
    posterior at `temperature`; temperature 0 is low-precision SGD.

    The parameters always hold what the network should compute with, Q_W(θ), from construction on. With the
    accumulator "full" and a weight format, θ itself is kept beside them, as `state[p]["theta"]`.

    params: tensors, groups, or `model.named_parameters()`, whose names then appear in errors. lr: step size on the
    mean loss, a number or a 0-d tensor. weight, grad: number formats of weights and gradients, None for full precision.
    generator: of the parameters' device; None is torch's default one. Not part of the state_dict. compile: fuse the
    step of all parameters with `torch.compile`; the step size is data then, so that a schedule compiles nothing again.

    `step` raises NonFiniteGradient before any parameter changes. On an accelerator that check would stall every step:
    there it is only recorded, and `raise_if_nonfinite` (call it once an epoch) raises.
    """

    def __init__(
        self,
        params,
        lr: float | Tensor,
        *,
        num_data: int,
        temperature: float = 1.0,
        weight_decay: float = 0.0,
        weight: Format = None,
        grad: Format = None,
        accumulator: Accumulator = "full",
        generator: torch.Generator | None = None,
        compile: bool = False,
    ):
        require_accumulator(accumulator)
        if compile and generator is not None:
            raise ValueError("a compiled step draws from torch's default generator: set generator=None")
        _require("lr", lr, positive=True)
        _require("num_data", num_data, positive=True)
        _require("temperature", temperature)
        _require("weight_decay", weight_decay)
        self.generator = generator
        self._compiled = compile
        self._stacked_step: Callable[..., None] | None = None
        self._stacks: dict[int, Stacks] = {}  # of each group
        self._first_nonfinite: Tensor | None = None
        super().__init__(
            params,
            dict(
                lr=lr,
                num_data=num_data,
                temperature=temperature,
                weight_decay=weight_decay,
                weight=formats.name(weight),
                grad=formats.name(grad),
                accumulator=accumulator,
                steps=0,
            ),
        )

    @torch.no_grad()
    def add_param_group(self, param_group: dict) -> None:
        """Adds a group (its own lr, formats, ... if given) and rounds its parameters onto their grid."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        weight = formats.parse(group["weight"])
        if weight is None:
            return
        for p in group["params"]:
            if group["accumulator"] == "full":
                self.state[p]["theta"] = p.detach().clone()
            p.copy_(quantize(p, weight, generator=self.generator))

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient. Returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["steps"] += 1
        self._watch_gradients(self.param_groups[0]["steps"])
        for index, group in enumerate(self.param_groups):
            setting = _Setting.of(group)
            params = [p for p in group["params"] if p.grad is not None]
            if params and (self._compiled or params[0].device.type != "cpu"):
                self._step_stacked(params, group["lr"], setting, index)
            else:
                self._step_in_pieces(params, group["lr"], setting)
        return loss

    def _step_in_pieces(self, params: list[Tensor], lr: float | Tensor, setting: _Setting) -> None:
        for p in params:
            theta = self.state[p].get("theta", p) if p in self.state else p
            for part in pieces(p, p.grad, theta, axis=setting.whole_blocks_axis()):
                _step_tensor(*part, lr, setting, self.generator)

    def _step_stacked(self, params: list[Tensor], lr: float | Tensor, setting: _Setting, group: int) -> None:
        states = [self.state.get(p, {}) for p in params]
        current = self._stacks.get(group)
        if current is None or not current.are_of(params, states):
            current = self._stacks[group] = Stacks(params, states, setting.whole_blocks_axis())
        if self._compiled and not isinstance(lr, Tensor):
            lr = torch.full((), lr, device=params[0].device)
        if self._stacked_step is None:
            self._stacked_step = _fused(params[0].device) if self._compiled else _step_stacks
        self._stacked_step(current.tensors(), lr, setting, self.generator)

    def raise_if_nonfinite(self) -> None:
        """Raises NonFiniteGradient for the first step since the last call that met one. Waits for the device."""
        recorded, self._first_nonfinite = self._first_nonfinite, None
        if recorded is not None and recorded.isfinite().any():
            step, index = recorded.min(dim=0)
            raise NonFiniteGradient(int(step), self._parameter_names()[int(index)])

    def _watch_gradients(self, step: int) -> None:
        grads = [p.new_zeros(()) if p.grad is None else p.grad for group in self.param_groups for p in group["params"]]
        largest = _largest(grads)
        if self._first_nonfinite is None:
            self._first_nonfinite = torch.full_like(largest, torch.inf)
        self._first_nonfinite = self._first_nonfinite.where(largest.isfinite(), self._first_nonfinite.clamp(max=step))
        if largest.device.type == "cpu":
            self.raise_if_nonfinite()

    def _parameter_names(self) -> list[str]:
        names = [name for group in self.param_groups for name in group.get("param_names", group["params"])]
        return [name if isinstance(name, str) else f"parameter {i}" for i, name in enumerate(names)]


def _largest(tensors: list[Tensor]) -> Tensor:
    """max|x| of each tensor; NaN and inf come through."""
    if tensors[0].device.type == "cpu":  # there _foreach_norm takes 15 times as long
        return torch.stack([torch.stack(x.aminmax()).abs().amax() for x in tensors])
    return torch.stack(torch._foreach_norm(tensors, torch.inf))


def _require(what: str, value, positive: bool = False) -> None:
    if isinstance(value, Tensor):
        return  # looking at it would wait for the device
    if not (0 < value if positive else 0 <= value) or value == float("inf"):
        raise ValueError(f"{what} is {value}, but must be a finite number {'>' if positive else '≥'} 0")
