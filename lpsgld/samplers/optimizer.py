"""What every low-precision optimizer shares: settings of groups, θ in full precision, the watch for NaN, speed.

On the CPU a step goes through one parameter after the other, piece by piece (`lpsgld/pieces.py`); on an accelerator and
when compiled, through a few stacks of them (`stacks.py`). What one step does is told by the samplers, a module each.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lpsgld import formats, text
from lpsgld.formats import Format, whole_blocks_axis
from lpsgld.pieces import pieces
from lpsgld.rounding import quantize
from lpsgld.samplers.accumulators import Accumulator, require_accumulator
from lpsgld.samplers.stacks import Stacks


class NonFiniteGradient(FloatingPointError):
    """A gradient is NaN or infinite. `step` counts from 1; `parameter` is its name (or its index, if unnamed)."""

    def __init__(self, step: int, parameter: str):
        super().__init__(
            f"step {step}: the gradient of {parameter} is not finite, so the chain has diverged. "
            "Nothing was changed in this step. Take a smaller step size, or a format with a wider range."
        )
        self.step, self.parameter = step, parameter


class Setting(NamedTuple):
    """What stays the same over the steps of a parameter group."""

    temperature: float
    num_data: int
    weight_decay: float
    weight: Format | None
    grad: Format | None
    accumulator: Accumulator

    @classmethod
    def of(cls, group: dict) -> Setting:
        return cls(*(formats.parse(group[f]) if f in ("weight", "grad") else group[f] for f in cls._fields))

    def whole_blocks_axis(self) -> int | None:
        return whole_blocks_axis(self.weight, self.grad)


class LowPrecisionOptimizer(torch.optim.Optimizer):
    """A sampler as an optimizer; a subclass says in `moved` what one step does with θ.

    The parameters always hold what the network should compute with, Q_W(θ), from construction on. With the
    accumulator "full" and a weight format, θ itself is kept beside them, as `state[p]["theta"]`.
    """

    def __init__(
        self, params, defaults: dict[str, Any], generator: torch.Generator | None = None, compile: bool = False
    ):
        if compile and generator is not None:
            raise ValueError("a compiled step draws from torch's default generator: set generator=None")
        self.generator = generator
        self._compiled = compile
        self._stacked_step: Callable[..., None] | None = None
        self._stacks: dict[int, Stacks] = {}  # of each group
        self._first_nonfinite: Tensor | None = None
        super().__init__(params, _checked(defaults) | {"steps": 0})

    @staticmethod
    @abstractmethod
    def moved(theta: Tensor, slope: Tensor, lr: float | Tensor, setting: Setting, generator) -> Tensor:
        """θ after one step, where the mean loss has this slope: a new tensor."""

    @torch.no_grad()
    def add_param_group(self, param_group: dict) -> None:
        """Adds a group (its own lr, formats, ... if given) and rounds its parameters onto their grid.

        Raises ValueError for a setting that there is not, or one that makes no sense, before anything changes.
        """
        for key in param_group:
            if key != "param_names":
                text.one_of("setting of a parameter group", key, ["params", *self.defaults])
        super().add_param_group(_checked(self.defaults | param_group))
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
            setting = Setting.of(group)
            params = [p for p in group["params"] if p.grad is not None]
            if params and (self._compiled or params[0].device.type != "cpu"):
                self._step_stacked(params, group["lr"], setting, index)
            else:
                self._step_in_pieces(params, group["lr"], setting)
        return loss

    def _step_in_pieces(self, params: list[Tensor], lr: float | Tensor, setting: Setting) -> None:
        for p in params:
            theta = self.state[p].get("theta", p) if p in self.state else p
            for part in pieces(p, p.grad, theta, axis=setting.whole_blocks_axis()):
                _step_tensor(self.moved, *part, lr, setting, self.generator)

    def _step_stacked(self, params: list[Tensor], lr: float | Tensor, setting: Setting, group: int) -> None:
        states = [self.state.get(p, {}) for p in params]
        current = self._stacks.get(group)
        if current is None or not current.are_of(params, states):
            current = self._stacks[group] = Stacks(params, states, setting.whole_blocks_axis())
        if self._compiled and not isinstance(lr, Tensor):
            lr = torch.full((), lr, device=params[0].device)
        if self._stacked_step is None:
            every = partial(_step_stacks, self.moved)
            self._stacked_step = _fused(every, params[0].device) if self._compiled else every
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


def _step_tensor(moved_by, p: Tensor, slope: Tensor, theta: Tensor, lr, setting: Setting, generator) -> None:
    """One step of θ and of p = Q_W(θ), both in place; they are one tensor where θ itself is on the grid."""
    moved = moved_by(theta, slope, lr, setting, generator)
    if setting.accumulator == "full" and setting.weight is not None:
        theta.copy_(moved)
        moved = quantize(moved, setting.weight, generator=generator)
    p.copy_(moved)


def _step_stacks(moved_by, tensors: list[tuple[Tensor, Tensor, Tensor]], lr, setting: Setting, generator) -> None:
    """`_step_tensor` for each (p, slope, theta): what is compiled as one program."""
    for p, slope, theta in tensors:
        _step_tensor(moved_by, p, slope, theta, lr, setting, generator)


def _fused(function: Callable[..., None], device: torch.device) -> Callable[..., None]:
    # where it fuses loops, torch 2.15's C++ back end cannot compile a reduction that is followed by a write in place
    options = {"max_fusion_size": 1} if device.type == "cpu" else None
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)


def _largest(tensors: list[Tensor]) -> Tensor:
    """max|x| of each tensor; NaN and inf come through."""
    if tensors[0].device.type == "cpu":  # there _foreach_norm takes 15 times as long
        return torch.stack([torch.stack(x.aminmax()).abs().amax() for x in tensors])
    return torch.stack(torch._foreach_norm(tensors, torch.inf))


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group, formats as names. Raises ValueError or FormatError for what makes no sense."""
    require_accumulator(settings["accumulator"])
    for what in ("lr", "num_data", "temperature", "weight_decay"):
        _require(what, settings[what], positive=what in ("lr", "num_data"))
    weight = formats.parse(settings["weight"])
    if weight is not None and settings["accumulator"] == "vc":
        weight.require_head_room()
    return settings | {"weight": formats.name(weight), "grad": formats.name(settings["grad"])}


def _require(what: str, value, positive: bool) -> None:
    if isinstance(value, Tensor):
        return  # looking at it would wait for the device
    if not (0 < value if positive else 0 <= value) or value == math.inf:
        raise ValueError(f"{what} is {value}, but must be a finite number {'>' if positive else '≥'} 0")
