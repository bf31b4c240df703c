"""The optimizer, and the learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from train.config import OptimizerConfig, ScheduleConfig


def build(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, 2019); matrices decay, gains and biases do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleConfig) -> float:
    """The rate of ``step`` (from 0) of ``steps``: linear warm-up, then a cosine to ``final`` times the peak."""
    if step < schedule.warmup:
        return peak * (step + 1) / schedule.warmup
    progress = (step - schedule.warmup) / max(steps - 1 - schedule.warmup, 1)
    return peak * (schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)
