"""The trainer on one GPU: what the device can do, and what of it training uses. Under ten minutes on an H100.

    python benchmarks/train_gpu.py [--text tinyshakespeare.txt] [--shards CORPUS/shards]

1. ceilings: a matrix product in bf16, a copy in memory;
2. the 124 M Transformer at 1,024 tokens: the step on one batch held on the device ("synthetic"), and the trainer from
   shards (made-up tokens, or --shards) with its loader: tokens a second, MFU, share of time spent waiting for data;
3. an LSTM of 2 x 1,024: a bare loop around torch's core with the same output layer, against the trainer;
4. resume: a run interrupted by a checkpoint against one that was not;
5. characters of Tiny Shakespeare in nanoGPT's setting for a GPU (6 layers, 384 wide; published validation loss 1.47).

Without a GPU the same steps run on the CPU at toy size, which says that they work and nothing about a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

from benchmarks.train_data import characters, made, table
from pipeline.shards.read import open_shards
from train import checkpoint, device
from train.batches import Prefetch
from train.config import TrainConfig
from train.loop import Trainer, train
from train.loss import linear_cross_entropy

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


def wait() -> None:
    """Until the device has done all it was asked."""
    if GPU:
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], times: int, warm_up: int = 3) -> float:
    """Mean seconds of one call."""
    for _ in range(warm_up):
        work()
    wait()
    began = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - began) / times


def ceilings() -> None:
    n, size = (8192, 1 << 28) if GPU else (512, 1 << 22)
    a, b = (torch.randn(n, n, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    x = torch.empty(size, device=DEVICE, dtype=torch.float32)
    y = torch.empty_like(x)
    peak = device.peak(DEVICE, "bf16")
    product = 2 * n**3 / seconds(lambda: torch.mm(a, b), 20)
    copied = 2 * x.nbytes / seconds(lambda: y.copy_(x), 20)
    stated = f"{peak / 1e12:,.0f}" if peak else "not known"
    table(("ceilings", "measured", "stated peak"), [
        (f"bf16 product {n} x {n}, TFLOP/s", f"{product / 1e12:,.2f}", stated),
        ("copy, GB/s", f"{copied / 1e9:,.1f}", ""),
    ])  # fmt: skip


def transformer(folder: Path, shards: str | None) -> None:
    if GPU:
        values = {"preset": "124m", "batch": 32, "micro_batch": 32, "steps": 1000}
        steps = 30
    else:
        values = {"depth": 2, "batch": 4, "context": 64, "steps": 1000, "precision": "fp32"}
        steps = 5
    config = TrainConfig.model_validate({**values, "schedule": {"warmup": 100}})
    vocab_size = 50_304 if GPU else 500
    folder = Path(shards) if shards else made(folder / "tokens", vocab_size, 20_000_000 if GPU else 20_000)
    trainer = Trainer(config, open_shards(folder))
    one = trainer.prepare(trainer.batches.batch(0))
    tokens = config.batch * config.context
    rates = {"synthetic": tokens / seconds(lambda: trainer.take_step(one), steps)}
    batches = Prefetch(trainer.batches, 0, steps + 3, trainer.prepare)
    ready = iter(batches)
    for batch in islice(ready, 3):
        trainer.take_step(batch)
    wait()
    batches.waited, began = 0.0, time.perf_counter()
    for batch in ready:
        trainer.take_step(batch)
    wait()
    taken = time.perf_counter() - began
    rates["shards"] = steps * tokens / taken
    peak = device.peak(trainer.device, trainer.precision)
    mfu = {name: f"{100 * rate * trainer.flops / peak:.1f} %" if peak else "no peak" for name, rate in rates.items()}
    what = f"Transformer {trainer.model.n_parameters / 1e6:.1f} M, T {config.context}, {trainer.precision}"
    what += ", compiled" if trainer.compiled else ""
    table((what, "tokens/s", "MFU", "loader stall"), [
        ("one batch on the device", f"{rates['synthetic']:,.0f}", mfu["synthetic"], ""),
        ("trainer, from shards", f"{rates['shards']:,.0f}", mfu["shards"], f"{100 * batches.waited / taken:.2f} %"),
    ])  # fmt: skip
    print(f"most memory: {device.memory_used(trainer.device):,.0f} MB")


class Bare(nn.Module):
    """Torch's LSTM between an embedding and the same output layer, and nothing else."""

    def __init__(self, vocab_size: int, d: int):
        super().__init__()
        self.embedding, self.core = nn.Embedding(vocab_size, d), nn.LSTM(d, d, 2, batch_first=True)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        hidden, state = self.core(self.embedding(tokens), state)
        return linear_cross_entropy(hidden, self.embedding.weight, targets), [part.detach() for part in state]


def lstm(folder: Path) -> None:
    d, batch, context, steps = (1024, 64, 128, 50) if GPU else (64, 8, 16, 10)
    vocab_size = 16_000 if GPU else 500
    shards = made(folder / "lstm", vocab_size, 10_000_000 if GPU else 20_000)
    model = {"kind": "lstm", "layers": 2, "d_model": d}
    config = TrainConfig.model_validate({"model": model, "batch": batch, "context": context, "steps": 1000})
    trainer = Trainer(config, open_shards(shards))
    ready = iter(Prefetch(trainer.batches, 0, 1000, trainer.prepare))
    ours = batch * context / seconds(lambda: trainer.take_step(next(ready)), steps)
    bare = Bare(vocab_size, d).to(DEVICE)
    optimizer = torch.optim.AdamW(bare.parameters(), lr=3e-3, fused=True)
    _, tokens, targets = trainer.prepare(trainer.batches.batch(0))
    state: object = None

    def step() -> None:
        nonlocal state
        with device.autocast(DEVICE, trainer.precision):
            loss, state = bare(tokens, targets, state)
        (loss / tokens.numel()).backward()
        nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    theirs = batch * context / seconds(step, steps)
    table((f"LSTM 2 x {d}, T {context}, batch {batch}, {trainer.precision}", "tokens/s", "ratio"), [
        ("bare loop on one batch", f"{theirs:,.0f}", "1.00"),
        ("trainer, from shards", f"{ours:,.0f}", f"{ours / theirs:.2f}"),
    ])  # fmt: skip


def resume(folder: Path) -> None:
    shards = made(folder / "resume", 500, 50_000)
    rows = []
    for kind in ("transformer", "lstm"):
        model = {"kind": kind, "layers": 2, "d_model": 128, "dropout": 0.1}
        config = TrainConfig.model_validate({"model": model, "steps": 40, "batch": 16, "context": 64, "save_every": 20})
        train(config, str(shards), str(folder / f"{kind}-whole"))
        torch.manual_seed(1)
        trainer = Trainer(config, open_shards(shards))
        for step in range(20):
            trainer.take_step(trainer.prepare(trainer.batches.batch(step)))
        weights = trainer.model.state_dict()
        saved = checkpoint.write(folder / f"{kind}-half", 20, weights, trainer.state(), {})
        again = Trainer(config, open_shards(shards))
        again.restore(saved)
        for step in range(20, 40):
            again.take_step(again.prepare(again.batches.batch(step)))
        whole = checkpoint.latest(folder / f"{kind}-whole")
        assert whole is not None
        differs = max(
            float((again.model.state_dict()[name].cpu() - tensor).abs().max())
            for name, tensor in whole.weights().items()
        )
        rows.append((kind, "equal to the bit" if differs == 0 else f"largest difference {differs:.1e}"))
    table(("resumed at step 20 of 40", "weights at the end"), rows)


def shakespeare(folder: Path, text: str | None) -> None:
    if text is None:
        print("Tiny Shakespeare: not run, --text names no file")
        return
    shards = characters(Path(text).read_text(), folder / "characters")
    size = (6, 384, 6, 64, 256, 5000) if GPU else (1, 64, 2, 8, 64, 100)
    layers, d, heads, batch, context, steps = size
    config = {
        "model": {"kind": "transformer", "layers": layers, "d_model": d, "heads": heads, "dropout": 0.2},
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]},
        "schedule": {"warmup": 100},
        "batch": batch,
        "context": context,
        "steps": steps,
        "eval_every": max(steps // 10, 1),
        "save_every": steps,
    }
    lowest = float("inf")

    def tell(row: dict) -> None:
        nonlocal lowest
        lowest = min(lowest, row.get("validation_loss", lowest))

    result = train(TrainConfig.model_validate(config), str(shards), str(folder / "shakespeare"), progress=tell)
    last = result["validation"]["loss"]
    table(("Tiny Shakespeare, characters", "validation loss", "tokens/s"), [
        ("nanoGPT, 6 x 384, as published", "1.47", ""),
        (f"corpusmill, {layers} x {d}, best of {steps} steps", f"{min(lowest, last):.3f}", ""),
        (f"corpusmill, {layers} x {d}, at the end", f"{last:.3f}", f"{result['tokens_per_second']:,.0f}"),
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="The trainer on one GPU.")
    parser.add_argument("--text", help="Tiny Shakespeare (char-rnn's input.txt)")
    parser.add_argument("--shards", help="real shards for the Transformer, instead of made-up tokens")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if GPU else "NO GPU: toy sizes on the CPU; no figure below is a GPU's"
    print(f"{name}; torch {torch.__version__}")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part in (
            ceilings,
            lambda: transformer(folder, options.shards),
            lambda: lstm(folder),
            lambda: resume(folder),
            lambda: shakespeare(folder, options.text),
        ):
            print()
            part()
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
