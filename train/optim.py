"""The optimizers, and the learning rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from train.config import OptimizerConfig, ScheduleConfig


class Optimizers:
    """One optimizer or several, each with its own parameters, used as one."""

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts

    def set_lr(self, lr: float) -> None:
        """The rate of the next step, for all parameters."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr

    @property
    def judges(self) -> bool:
        """Whether `step` can leave an update out on the device, without a look from the host: fused kernels do."""
        return all(part.defaults.get("fused") for part in self.parts)

    def step(self, unless: bool | Tensor = False) -> None:
        """Update all parameters; where ``unless``, change nothing. A boolean on the device takes `judges`."""
        if unless is True:
            return
        for part in self.parts:
            if unless is False:
                part.step()
            else:
                part.found_inf = unless.float()  # type: ignore[attr-defined]  # as a GradScaler tells fused kernels
                part.step()
                del part.found_inf  # type: ignore[attr-defined]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad()

    def state(self) -> list[dict[int, Any]]:
        """What each optimizer remembers, by number of the parameter."""
        return [part.state_dict()["state"] for part in self.parts]

    def restore(self, states: list[dict[int, Any]]) -> None:
        """Put `state` back."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def build(model: nn.Module, config: OptimizerConfig) -> Optimizers:
    """The optimizers of ``config``; matrices decay, gains and biases do not.

    AdamW: Loshchilov and Hutter, 2019. Muon: Jordan et al., 2024, with the scale of steps of Liu et al., 2025, so that
    both halves share one learning rate.
    """
    parameters = dict(model.named_parameters())
    if config.kind == "muon":
        return _muon(parameters, config)
    groups = _groups(list(parameters.values()), config.weight_decay)
    match config.kind:
        case "adamw":
            return Optimizers([torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)])
        case "adam":
            return Optimizers([torch.optim.Adam(groups, lr=config.lr, betas=config.betas, fused=True)])
        case "sgd":
            return Optimizers([torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)])
        case "rmsprop":
            return Optimizers([torch.optim.RMSprop(groups, lr=config.lr, momentum=config.momentum)])


def _groups(parameters: Sequence[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def _muon(parameters: Mapping[str, Tensor], config: OptimizerConfig) -> Optimizers:
    inner = [p for name, p in parameters.items() if p.dim() == 2 and name.startswith("blocks.")]
    rest = [p for name, p in parameters.items() if p.dim() != 2 or not name.startswith("blocks.")]
    muon = torch.optim.Muon(
        inner,
        lr=config.lr,
        weight_decay=config.weight_decay,
        momentum=config.momentum or 0.95,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(_groups(rest, config.weight_decay), lr=config.lr, betas=config.betas, fused=True)
    return Optimizers([muon, adamw])


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleConfig) -> float:
    """The rate of ``step`` (from 0) of ``steps``: linear warm-up, then down to ``final`` times the peak."""
    if step < schedule.warmup:
        return peak * (step + 1) / schedule.warmup
    if schedule.kind == "constant":
        return peak
    progress = min((step - schedule.warmup) / max(steps - 1 - schedule.warmup, 1), 1.0)
    left = 1 - progress if schedule.kind == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return peak * (schedule.final + (1 - schedule.final) * left)
