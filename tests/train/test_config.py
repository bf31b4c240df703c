"""Configuration and schedule."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from tests.shared import ROOT
from train.config import OptimizerConfig, ScheduleConfig, TrainConfig
from train.optim import learning_rate


@pytest.mark.parametrize(
    "values",
    [
        {"stepps": 3},
        {"model": {"kind": "lstm", "heads": 2}},
        {"model": {"kind": "transformer", "d_model": 30, "heads": 4}},
        {"model": {"kind": "transformer", "heads": 4, "kv_heads": 3}},
        {"model": {"kind": "mamba"}},
        {"batch": 6, "micro_batch": 4},
        {"optimizer": {"lr": 0}},
        {"optimizer": {"betas": [0.9, 1.0]}},
        {"steps": 0},
        {"preset": "laptop-lstm", "depth": 4},
    ],
)
def test_wrong_configuration_is_refused(values):
    with pytest.raises(ValidationError):
        TrainConfig.model_validate(values)


def test_digest_tells_configurations_apart():
    assert TrainConfig().digest == TrainConfig().digest
    assert TrainConfig().digest != TrainConfig(optimizer=OptimizerConfig(lr=1e-4)).digest


def test_digest_tells_versions_apart(monkeypatch):
    before = TrainConfig().digest
    monkeypatch.setattr("train.config.LEARNS", 0)
    assert TrainConfig().digest != before


def test_configuration_is_read_without_torch():
    program = "import sys, train.config, train.batches; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_rate_warms_up_and_follows_a_cosine():
    rates = [learning_rate(step, 101, 2.0, ScheduleConfig(warmup=10, final=0.1)) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.1)
    assert rates[-1] == pytest.approx(0.2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(0, 1, 2.0, ScheduleConfig(warmup=0)) == 2.0
