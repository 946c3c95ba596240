"""What every low-precision optimizer shares: settings of groups, θ in full precision, the watch for NaN, speed.

On the CPU a step goes through one parameter after the other; on an accelerator and when compiled, through a few stacks
of them (`stacks.py`). What one step does is told by the samplers, a module each.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lpsgld import formats, kernels, text
from lpsgld.formats import Format, FormatError, whole_blocks_axis
from lpsgld.rounding import Draws, quantize, working
from lpsgld.samplers.accumulators import Accumulator, require_accumulator
from lpsgld.samplers.stacks import Stacks, place

_LABELS = ("name", "initial_lr")  # of groups, which users and schedules put there


class NonFiniteGradient(FloatingPointError):
    """A gradient is NaN or infinite. `step` counts from 1; `parameter` is its name (or its index, if unnamed)."""

    def __init__(self, step: int, parameter: str):
        super().__init__(
            f"step {step}: the gradient of {parameter} is not finite, so the chain has diverged. "
            "Nothing was changed in this step. Take a smaller step size, or a format with a wider range."
        )
        self.step, self.parameter = step, parameter


@dataclasses.dataclass(frozen=True)
class Setting:
    """What stays the same over the steps of a parameter group. An optimizer may add to it."""

    proposing: ClassVar = ("temperature", "num_data", "weight_decay", "grad")  # what the sampler's `proposal` asks for

    temperature: float
    num_data: int
    weight_decay: float
    weight: Format | None
    grad: Format | None
    accumulator: Accumulator

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def of(cls, group: dict[str, Any]) -> Self:
        return cls(*(formats.parse(group[name]) if name in ("weight", "grad") else group[name] for name in cls.names()))

    @classmethod
    def checked(cls, group: dict[str, Any], stepping: bool = False) -> dict[str, Any]:
        """The settings of a group, formats as names. Raises ValueError or FormatError for what makes no sense.

        stepping: a schedule may have taken the step size to 0, and a tensor on an accelerator is not waited for.
        """
        weight = formats.parse(group["weight"])
        require_accumulator(group["accumulator"], weight)
        for what in ("lr", "num_data", "temperature", "weight_decay"):
            value = group[what]
            if not (stepping and isinstance(value, Tensor) and value.device.type != "cpu"):
                text.number(what, value, positive=what == "num_data" or (what == "lr" and not stepping))
        return group | {"weight": formats.name(weight), "grad": formats.name(group["grad"])}

    @property
    def rounds_apart(self) -> bool:
        """Whether the network computes with a rounded copy of θ."""
        return self.accumulator == "full" and self.weight is not None

    def keeps_theta(self, p: Tensor) -> bool:
        """Whether θ is kept beside p: where p is a rounded copy of it, or too narrow to add small steps up."""
        return self.rounds_apart or working(p) is not p

    def whole_blocks_axis(self) -> int | None:
        return whole_blocks_axis(self.weight, self.grad)

    def of_proposal(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.proposing}


class LowPrecisionOptimizer(Draws, torch.optim.Optimizer):
    """A sampler as an optimizer; a subclass says in `moved` what one step does with θ, and what it remembers.

    The parameters that ask for gradients hold what the network should compute with, Q_W(θ), from construction on.
    Where that is not θ itself (accumulator "full" with a weight format; parameters in bfloat16 or float16), θ is kept
    beside them in float32 or float64, as `state[p]["theta"]`. Whoever writes into p after that moves the chain there:
    the next step starts at θ = p. (On an accelerator this goes unnoticed if it is done through `p.data`.) Whoever
    writes both, as loading a state_dict does, resumes it.
    """

    setting: ClassVar[type[Setting]] = Setting
    memory: ClassVar[tuple[str, ...]] = ()  # names of the tensors beside θ, of its shape and 0 at first

    def __init__(
        self, params, defaults: dict[str, Any], generator: torch.Generator | None = None, compile: bool = False
    ):
        self._compiled = compile
        self.generator = generator
        self._forget()
        by_name = {name: value for name, value in defaults.items() if isinstance(value, Mapping)}
        super().__init__(params, self.setting.checked(defaults | dict.fromkeys(by_name)) | by_name | {"steps": 0})

    def _forget(self) -> None:
        """What is known of tensors, and what must not be shared with a copy."""
        self._stacked_step: Callable[..., None] | None = None
        self._stacks: dict[int, Stacks] = {}  # of each group
        self._first_nonfinite: Tensor | None = None
        self._left: dict[Tensor, tuple] = {}  # how the last step left each parameter and its θ

    @staticmethod
    @abstractmethod
    def proposed(
        theta: Tensor, slope: Tensor, lr: float | Tensor, setting: Setting, *memory: Tensor
    ) -> tuple[Tensor, float | Tensor]:
        """The mean and the variance of θ after one step, before any rounding of it."""

    @staticmethod
    @abstractmethod
    def moved(theta: Tensor, slope: Tensor, lr: float | Tensor, setting: Setting, generator, *memory: Tensor) -> Tensor:
        """θ after one step, where the mean loss has this slope: a new tensor. Memory is updated in place."""

    @staticmethod
    def fused(*tensors_lr_setting_generator) -> bool:
        """`_step_tensor`, the same bits in one pass over memory, where there are loops for it (`one_pass.py`): whether
        there were."""
        return False

    @torch.no_grad()
    def add_param_group(self, param_group: dict) -> None:
        """Adds a group (its own lr, formats, ... if given) and rounds its parameters onto their grid; several groups,
        if formats are told by names.

        Raises ValueError for a setting that there is not, or one that makes no sense, FormatError for a format that
        the accumulator or a parameter cannot use, before anything changes.
        """
        for key in param_group:
            if key not in _LABELS:
                text.one_of("setting of a parameter group", key, ["params", *self.defaults])
        groups, known = _by_format(self.defaults | param_group), len(self.param_groups)
        try:
            for each in groups:
                super().add_param_group(self.setting.checked(each))
                setting = self.setting.of(self.param_groups[-1])
                for name, p in zip(_names(self.param_groups[-1]), self.param_groups[-1]["params"], strict=True):
                    _require_fit(name, p, setting)
        except (ValueError, TypeError):
            del self.param_groups[known:]
            raise
        for group in self.param_groups[known:]:
            self._start(group)

    def _start(self, group: dict[str, Any]) -> None:
        """Rounds the parameters of a group."""
        setting = self.setting.of(group)
        for p in group["params"]:
            if p.requires_grad:
                rounded = quantize(p, setting.weight, generator=self.generator)
                if setting.rounds_apart:
                    self._follow(p, setting)  # θ starts where p was; elsewhere on the grid, where it stays
                p.copy_(rounded)
                self._follow(p, setting)
                self._leave(p)

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient. Returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self.setting.checked(group, stepping=True)
        for group in self.param_groups:
            group["steps"] += 1
        self._watch_gradients(self.param_groups[0]["steps"])
        for index, group in enumerate(self.param_groups):
            setting = self.setting.of(group)
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                self._follow(p, setting)
            if params and (self._compiled or params[0].device.type != "cpu"):
                self._step_stacked(params, group["lr"], setting, index)
            else:
                self._step_each(params, group["lr"], setting)
            for p in params:
                self._leave(p)
        return loss

    def _step_each(self, params: list[Tensor], lr: float | Tensor, setting: Setting) -> None:
        for p in params:
            kept = self.state.get(p, {})
            # random numbers follow the places in memory, which should be the parameter's
            slope = p.grad if p.grad.stride() == p.stride() else torch.empty_like(p).copy_(p.grad)
            tensors = p, slope, kept.get("theta", p), *(kept[name] for name in self.memory)
            if not self.fused(*tensors, lr, setting, self.generator):
                _step_tensor(self.moved, tensors, lr, setting, self.generator)

    def _step_stacked(self, params: list[Tensor], lr: float | Tensor, setting: Setting, group: int) -> None:
        states = [self.state.get(p, {}) for p in params]
        current = self._stacks.get(group)
        if current is None or not current.are_of(params, states):
            current = self._stacks[group] = Stacks(params, states, setting.whole_blocks_axis())
        if self._compiled and not isinstance(lr, Tensor):
            lr = torch.full((), lr, dtype=torch.float32, device=params[0].device)
        if self._stacked_step is None:
            every = partial(_step_stacks, self.moved)
            self._stacked_step = _fused(every, params[0].device) if self._compiled else every
        self._stacked_step(current.tensors(self.memory), lr, setting, self.generator)

    # ---- θ beside the parameter ------------------------------------------------------------------------------------

    def _follow(self, p: Tensor, setting: Setting) -> None:
        """Keep memory and θ beside p, or stop to. θ starts at p, and again where p alone was written into since."""
        for name in self.memory:
            if not _alike(self.state[p].get(name), p):
                self.state[p][name] = torch.zeros_like(p, dtype=_precision(p))
        if not setting.keeps_theta(p):
            self.state.get(p, {}).pop("theta", None)
            return
        state = self.state[p]
        if not _alike(state.get("theta"), p):
            state["theta"] = working(p).detach().clone()
        elif p in self._left:
            left, theta_left = self._left[p]
            if _marks(p) != left and _marks(state["theta"]) == theta_left:
                state["theta"].copy_(p)

    def _leave(self, p: Tensor) -> None:
        theta = self.state.get(p, {}).get("theta")
        if theta is not None:
            self._left[p] = _marks(p), _marks(theta)

    @torch.no_grad()
    def state_dict(self) -> dict[str, Any]:
        for group in self.param_groups:
            for p in group["params"]:
                if "theta" in self.state.get(p, {}):
                    self._follow(p, self.setting.of(group))
                    self._leave(p)
        return super().state_dict()

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ValueError for the state of another optimizer, before anything changes."""
        for group in state_dict["param_groups"]:
            if lacking := [key for key in ("lr", "steps", *self.setting.names()) if key not in group]:
                raise ValueError(f"this is no state of {type(self).__name__}: a group lacks {', '.join(lacking)}")
            self.setting.checked(group, stepping=True)
        super().load_state_dict(state_dict)
        saved, own = (
            sum((g["params"] for g in groups), []) for groups in (state_dict["param_groups"], self.param_groups)
        )
        for index, p in zip(saved, own, strict=True):
            for name in ("theta", *self.memory):
                if (kept := state_dict["state"].get(index, {}).get(name)) is not None:
                    # not in the parameter's own precision, as torch has it
                    self.state[p][name] = kept.to(p.device, _precision(p), copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_generator": self.generator, "_compiled": self._compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()

    # ---- the watch for NaN -----------------------------------------------------------------------------------------

    def weights(self, model: nn.Module) -> dict[str, str]:
        """The weight format of each parameter of the model that this optimizer steps, by name, as `storage` asks."""
        known = {p: group["weight"] for group in self.param_groups for p in group["params"] if p.requires_grad}
        return {name: known[p] for name, p in model.named_parameters() if p in known}

    def raise_if_nonfinite(self) -> None:
        """Raises NonFiniteGradient for the first step since the last call that met one. Waits for the device."""
        recorded, self._first_nonfinite = self._first_nonfinite, None
        if recorded is not None and recorded.isfinite().any():
            step, index = recorded.min(dim=0)
            raise NonFiniteGradient(int(step), self._parameter_names()[int(index)])

    def _watch_gradients(self, step: int) -> None:
        grads = [p.new_zeros(()) if p.grad is None else p.grad for group in self.param_groups for p in group["params"]]
        if any(x.layout != torch.strided for x in grads):
            raise TypeError(f"{type(self).__name__} needs dense gradients: make embeddings with sparse=False")
        largest = _largest([x if x.numel() else x.new_zeros(()) for x in grads])
        if self._first_nonfinite is None:
            self._first_nonfinite = torch.full_like(largest, torch.inf, dtype=torch.float32)
        self._first_nonfinite = self._first_nonfinite.where(largest.isfinite(), self._first_nonfinite.clamp(max=step))
        if largest.device.type == "cpu":
            self.raise_if_nonfinite()

    def _parameter_names(self) -> list[str]:
        names = [name for group in self.param_groups for name in group.get("param_names", group["params"])]
        return [name if isinstance(name, str) else f"parameter {i}" for i, name in enumerate(names)]


def decay(weight_decay: float, prior_std: float | None, num_data: int) -> float:
    """The weight decay λ of a normal prior: N·λ·θ²/2 = θ²/(2·prior_std²). Raises ValueError if both are given."""
    if prior_std is None:
        return weight_decay
    if weight_decay != 0.0:
        raise ValueError(f"weight_decay={weight_decay!r} and prior_std={prior_std!r} both tell the prior: give one")
    number = text.number("num_data", num_data, positive=True)
    return 1 / (number * text.number("prior_std", prior_std, positive=True) ** 2)


def _by_format(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The group, or if its formats are told by the names of its parameters, one for all of the same formats."""
    kinds = ("weight", "grad")
    if not any(isinstance(group[kind], Mapping) for kind in kinds):
        return [group]
    params = list(group["params"])
    if not all(isinstance(p, tuple) for p in params):
        raise ValueError("formats are told by names of parameters, which have none: pass model.named_parameters()")
    of_each = {kind: formats.of_each(group[kind], [name for name, _ in params]) for kind in kinds}
    parts: dict[tuple, list] = {}
    for name, p in params:
        parts.setdefault(tuple(of_each[kind][name] for kind in kinds), []).append((name, p))
    return [group | dict(zip(kinds, key, strict=True)) | {"params": part} for key, part in parts.items()]


def _step_tensor(moved_by, tensors: tuple[Tensor, ...], lr, setting: Setting, generator) -> None:
    """One step of θ and of p = Q_W(θ), both in place; they are one tensor where θ is not kept apart."""
    p, slope, theta, *memory = tensors
    moved = moved_by(theta, slope, lr, setting, generator, *memory)
    if setting.keeps_theta(p):
        theta.copy_(moved)
    if setting.rounds_apart:
        moved = quantize(moved, setting.weight, generator=generator)
    p.copy_(moved)


def _step_stacks(moved_by, stacks: list[tuple[Tensor, ...]], lr, setting: Setting, generator) -> None:
    """`_step_tensor` for each (p, slope, theta, *memory): what is compiled as one program."""
    for tensors in stacks:
        _step_tensor(moved_by, tensors, lr, setting, generator)


def _fused(function: Callable[..., None], device: torch.device) -> Callable[..., None]:
    # where it fuses loops, torch 2.15's C++ back end cannot compile a reduction that is followed by a write in place
    options = {"max_fusion_size": 1} if device.type == "cpu" else None
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)


def _largest(tensors: list[Tensor]) -> Tensor:
    """max|x| of each tensor; NaN and inf come through."""
    if tensors[0].device.type == "cpu":  # there _foreach_norm takes 15 times as long
        return torch.stack([_largest_on_cpu(x.detach()) for x in tensors])
    return torch.stack(torch._foreach_norm(tensors, torch.inf))


def _largest_on_cpu(x: Tensor) -> Tensor:
    if kernels.fuses(x) and kernels.dense(x):
        return torch.tensor(kernels.largest(x), dtype=x.dtype, device=x.device)
    return torch.stack(x.aminmax()).abs().amax()


def _require_fit(name: str, p: Tensor, setting: Setting) -> None:
    """Raises FormatError or TypeError for a parameter that cannot take steps in these formats."""
    if not p.requires_grad:
        return
    if p.is_complex():
        raise TypeError(f"{name} holds complex numbers, but steps and noise are real: give its parts as two parameters")
    bits = 1 - round(math.log2(torch.finfo(p.dtype).eps))
    if setting.weight is not None and setting.weight.significant_bits > bits:
        raise FormatError(
            f"{name} is kept in {p.dtype}, which holds {bits} significant bits, but {setting.weight.name} has "
            f"{setting.weight.significant_bits}: convert the network to float32, or choose a format of fewer bits"
        )
    for fmt in (setting.weight, setting.grad):
        try:
            quantize(torch.empty_like(p, device="meta"), fmt)
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from None


def _names(group: dict[str, Any]) -> list[str]:
    return group.get("param_names") or [f"parameter {i} of the group" for i in range(len(group["params"]))]


def _precision(p: Tensor) -> torch.dtype:
    return torch.promote_types(p.dtype, torch.float32)


def _alike(theta: Tensor | None, p: Tensor) -> bool:
    """Whether this is there and may be θ of p, which may have been moved, converted or replaced."""
    return theta is not None and (theta.shape, theta.device, theta.dtype) == (p.shape, p.device, _precision(p))


def _marks(x: Tensor) -> tuple:
    """What changes when somebody writes into x. On the CPU some values tell of writes that torch does not count."""
    n, some = x.numel(), ()
    if n and x.device.type == "cpu":
        some = tuple(x.detach().as_strided((min(n, 16),), (max(n // 16, 1),)).tolist())
    return place(x), x._version, some
