"""The trainer's benchmarks run: at toy size, where there is no GPU, and to the figures that they promise."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from benchmarks import train_cpu, train_gpu

TEXT = Path(__file__).resolve().parents[2] / "README.md"  # any text will do


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU it takes ten minutes: run it by hand")
@pytest.mark.parametrize(
    ("section", "figures"),
    [
        ("ceilings", ["product_512x512x512", "copy"]),
        ("transformer", ["tokens_per_second_on_the_device", "tokens_per_second_from_shards"]),
        ("lstm", ["ratio_to_bare"]),
        ("shakespeare", ["validation_loss", "tokens_per_second"]),
    ],
)
def test_a_section_of_the_gpu_benchmark(section, figures, tmp_path):
    found = train_gpu.SECTIONS[section][0](tmp_path, argparse.Namespace(text=str(TEXT), shards=None, profile=False))
    assert all(found[name] > 0 for name in figures), found


def test_a_resumed_run_of_the_gpu_benchmark_is_equal(tmp_path, capsys):
    found = train_gpu.SECTIONS["resume"][0](tmp_path, argparse.Namespace())
    assert found["largest_difference"] == 0.0
    assert capsys.readouterr().out.count("equal to the bit") == 4


def test_the_cpu_benchmark_trains_on_a_text(tmp_path, capsys):
    train_cpu.shakespeare(argparse.Namespace(file=str(TEXT), steps=3, seed=0), tmp_path)
    assert "corpusmill, 3 steps" in capsys.readouterr().out
