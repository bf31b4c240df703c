"""The trainer on one GPU: what the device can do, and what of it training uses. Under ten minutes on an H100.

    python benchmarks/train_gpu.py [--text tinyshakespeare.txt] [--shards CORPUS/shards] [--json FILE] [--profile]

It runs from a checkout with nothing of corpusmill installed. What it needs of Python's packages is torch (with Triton
and a C compiler for torch.compile), numpy, pyarrow, pydantic and safetensors; no network.

- ceilings: products in bf16, a copy in memory, attention by each of torch's kernels;
- transformer: the 124 M preset, half a million tokens a step of 1,024 each: steps on one batch held on the device, and
  from shards (made-up tokens, or --shards) with the loader: tokens a second, MFU, share of time spent waiting for data;
- lstm: 2 x 1,024, a bare loop around torch's core with the same output layer, against the trainer;
- shakespeare: characters in nanoGPT's setting for a GPU (6 layers, 384 wide; published validation loss 1.47);
- resume, exact: a run interrupted by a checkpoint against one that was not. With torch's deterministic kernels (exact)
  the weights are the same to the bit; with the faster ones of everyday (resume) sums on a GPU differ from run to run,
  and so do two runs that nobody interrupts, which stand beside.

MFU counts 6 operations a parameter and 12 x layers x width x context of attention a token (Chowdhery et al., 2022), the
embedding once, over the maker's dense bf16 rate. Each section is a process of its own with a limit of time: one that
fails or hangs is named, the others go on, and the exit status is 1. Without a GPU the same steps run on the CPU at toy
size, which says that they work and nothing about a GPU.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.train_data import characters, made, table
from pipeline.shards.read import open_shards
from train import checkpoint, device
from train.batches import Prefetch
from train.config import TrainConfig
from train.loop import Trainer, train
from train.loss import linear_cross_entropy

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
# What must be reached on an H100 or H200: section, figure, least or most.
TARGETS = (
    ("transformer", "mfu_from_shards", ">=", 0.50),
    ("transformer", "loader_stall", "<=", 0.01),
    ("lstm", "ratio_to_bare", ">=", 0.90),
    ("shakespeare", "validation_loss", "<=", 1.47),
    ("exact", "largest_difference", "<=", 0.0),
)


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


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    if not GPU:
        return {"device": "NO GPU: toy sizes on the CPU; no figure is a GPU's", **versions}
    driver = ""
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    about = torch.cuda.get_device_properties(DEVICE)
    return {
        "device": torch.cuda.get_device_name(),
        "memory_gb": round(about.total_memory / 1e9, 1),
        "processors": about.multi_processor_count,
        "driver": driver,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **versions,
    }


def ceilings(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    n, size = (8192, 1 << 28) if GPU else (512, 1 << 22)
    peak = device.peak(DEVICE, "bf16")
    stated = f"{peak / 1e12:,.0f}" if peak else "not known"
    found, rows = {}, []
    for rows_of, inner, columns in ((n, n, n), (4 * n, n // 8, n // 4)):
        a = torch.randn(rows_of, inner, device=DEVICE, dtype=torch.bfloat16)
        b = torch.randn(inner, columns, device=DEVICE, dtype=torch.bfloat16)
        rate = 2 * rows_of * inner * columns / seconds(lambda a=a, b=b: torch.mm(a, b), 20)
        shape = f"{rows_of} x {inner} x {columns}"
        found[f"product_{shape.replace(' ', '')}"] = rate
        rows.append((f"bf16 product {shape}, TFLOP/s", f"{rate / 1e12:,.2f}", stated))
    x = torch.empty(size, device=DEVICE, dtype=torch.float32)
    y = torch.empty_like(x)
    found["copy"] = 2 * x.nbytes / seconds(lambda: y.copy_(x), 20)
    rows.append(("copy, GB/s, read and written", f"{found['copy'] / 1e9:,.1f}", ""))
    batch, heads, length = (32, 12, 1024) if GPU else (2, 2, 64)
    operations = 3.5 * 4 * batch * heads * length**2 * 64 / 2  # forward, backward; half of it is masked
    kernels = {"torch's choice": list(SDPBackend.__members__.values())}
    if GPU:
        kernels |= {"cudnn": [SDPBackend.CUDNN_ATTENTION], "flash": [SDPBackend.FLASH_ATTENTION]}
    for name, backends in kernels.items():
        q, k, v = (
            torch.randn(batch, length, heads, 64, device=DEVICE, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()
            for _ in range(3)
        )

        def attend(q: Any = q, k: Any = k, v: Any = v) -> None:
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(attended, (q, k, v), attended)

        try:
            with sdpa_kernel(backends) if len(backends) == 1 else torch.enable_grad():
                rate = operations / seconds(attend, 20)
        except RuntimeError as error:
            rows.append((f"attention, {name}", "refused", str(error).splitlines()[0][:40]))
            continue
        found[f"attention_{name}"] = rate
        rows.append((f"causal attention {batch} x {heads} x {length} x 64, {name}, TFLOP/s", f"{rate / 1e12:,.2f}", ""))
    table(("ceilings", "measured", "stated peak"), rows)
    return found


def transformer(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    if GPU:
        values, steps = {"preset": "124m", "micro_batch": 64}, 8  # there is memory for it
    else:
        values = {"depth": 2, "batch": 8, "micro_batch": 4, "context": 64, "steps": 1000, "precision": "fp32"}
        values["compile"], steps = False, 3
    vocab_size = 50_304 if GPU else 500
    place = options.shards or made(folder / "tokens", vocab_size, 20_000_000 if GPU else 20_000)
    began = time.perf_counter()
    trainer = Trainer(TrainConfig.model_validate(values), open_shards(place))
    found: dict[str, Any] = {"compiled": trainer.compiled, "seconds_to_start": time.perf_counter() - began}
    config, peak = trainer.config, device.peak(trainer.device, trainer.precision)
    what = f"Transformer {trainer.model.n_parameters / 1e6:.1f} M, {config.batch} x {config.context} tokens a step"
    compiled = "compiled" if trainer.compiled else "NOT compiled"
    print(f"{what}, {trainer.precision}, {compiled}, started in {found['seconds_to_start']:.0f} s", flush=True)
    tokens = config.batch * config.context

    def tell(name: str, rate: float, stall: str = "") -> None:
        found[f"tokens_per_second_{name}"] = rate
        mfu = "no peak"
        if peak:
            found[f"mfu_{name}"] = rate * trainer.flops / peak
            mfu = f"{100 * found[f'mfu_{name}']:.1f} %"
        print(f"  {name.replace('_', ' '):<20}{rate:>12,.0f} tokens/s   MFU {mfu}   {stall}", flush=True)

    one = trainer.prepare(trainer.batches.batch(0))
    tell("on_the_device", tokens / seconds(lambda: trainer.enqueue(one), steps, 2))
    batches = Prefetch(trainer.batches, 0, steps + 2, trainer.prepare)
    ready = iter(batches)
    for batch in islice(ready, 2):
        trainer.enqueue(batch)
    wait()
    batches.waited, began = 0.0, time.perf_counter()
    for batch in ready:
        trainer.enqueue(batch)
    wait()
    taken = time.perf_counter() - began
    found["loader_stall"] = batches.waited / taken
    tell("from_shards", steps * tokens / taken, f"loader stall {100 * found['loader_stall']:.2f} %")
    found["loss"] = trainer.figures()["loss"]
    found["memory_mb"] = device.memory_used(trainer.device)
    print(f"  loss {found['loss']:.3f}, most memory {found['memory_mb']:,.0f} MB", flush=True)
    if options.profile and GPU:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            trainer.enqueue(one)
            wait()
        print(profiled.key_averages().table(sort_by="self_device_time_total", row_limit=30, max_name_column_width=80))
    return found


class Bare(nn.Module):
    """Torch's LSTM between an embedding and the same output layer, and nothing else."""

    def __init__(self, vocab_size: int, d: int):
        super().__init__()
        self.embedding, self.core = nn.Embedding(vocab_size, d), nn.LSTM(d, d, 2, batch_first=True)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor, state: object) -> tuple[torch.Tensor, object]:
        hidden, state = self.core(self.embedding(tokens), state)
        return linear_cross_entropy(hidden, self.embedding.weight, targets), [part.detach() for part in state]


def lstm(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    d, batch, context, steps = (1024, 64, 128, 100) if GPU else (64, 8, 16, 10)
    vocab_size = 16_000 if GPU else 500
    shards = made(folder / "lstm", vocab_size, 10_000_000 if GPU else 20_000)
    model = {"kind": "lstm", "layers": 2, "d_model": d}
    config = TrainConfig.model_validate({"model": model, "batch": batch, "context": context, "steps": 1000})
    trainer = Trainer(config, open_shards(shards))
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

    ready = iter(Prefetch(trainer.batches, 0, 1000, trainer.prepare))
    rates: dict[str, list[float]] = {"bare": [], "trainer": []}
    for _ in range(3):  # in turn, the best of three: the clock of the device moves
        rates["bare"].append(batch * context / seconds(step, steps))
        rates["trainer"].append(batch * context / seconds(lambda: trainer.enqueue(next(ready)), steps))
    theirs, ours = max(rates["bare"]), max(rates["trainer"])
    loss = trainer.figures()["loss"]
    table((f"LSTM 2 x {d}, T {context}, batch {batch}, {trainer.precision}", "tokens/s", "ratio"), [
        ("bare loop on one batch", f"{theirs:,.0f}", "1.00"),
        ("trainer, from shards", f"{ours:,.0f}", f"{ours / theirs:.2f}"),
    ])  # fmt: skip
    return {"tokens_per_second": rates, "ratio_to_bare": ours / theirs, "loss": loss, "compiled": trainer.compiled}


def resume(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    shards, steps = made(folder / "resume", 500, 50_000), 40 if GPU else 10
    rows: list[tuple[str, str, str]] = []
    found: dict[str, Any] = {"largest_difference": 0.0}
    for kind in ("transformer", "lstm"):
        model = {"kind": kind, "layers": 2, "d_model": 128, "dropout": 0.1}
        values = {"model": model, "steps": steps, "batch": 16, "context": 64, "schedule": {"warmup": steps // 4}}
        config = TrainConfig.model_validate(values)
        train(config, str(shards), str(folder / f"{kind}-whole"))
        whole = checkpoint.latest(folder / f"{kind}-whole")
        assert whole is not None
        expected = whole.weights()

        def differs(trainer: Trainer, first: int, last: int, expected: dict[str, torch.Tensor] = expected) -> float:
            for step in range(first, last):
                trainer.enqueue(trainer.prepare(trainer.batches.batch(step)))
            return max(
                float((tensor.cpu() - expected[name]).abs().max())
                for name, tensor in trainer.model.state_dict().items()
            )

        trainer = Trainer(config, open_shards(shards))
        differs(trainer, 0, steps // 2)
        saved = checkpoint.write(folder / f"{kind}-half", steps // 2, trainer.model.state_dict(), trainer.state(), {})
        uninterrupted = differs(trainer, steps // 2, steps)
        again = Trainer(config, open_shards(shards))
        again.restore(saved)
        resumed = differs(again, steps // 2, steps)
        found[kind] = {"resumed": resumed, "uninterrupted": uninterrupted, "compiled": again.compiled}
        found["largest_difference"] = max(found["largest_difference"], resumed)
        rows.append((kind, *("equal to the bit" if d == 0 else f"{d:.1e}" for d in (resumed, uninterrupted))))
    way = "deterministic" if torch.are_deterministic_algorithms_enabled() else "everyday"
    table(
        (f"largest difference of weights, {way} kernels", f"resumed at {steps // 2} of {steps}", "a second run, whole"),
        rows,
    )
    return found


def exact(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    torch.use_deterministic_algorithms(True)
    return resume(folder, options)


def shakespeare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    shards = characters(Path(options.text).read_text(), folder / "characters")
    size = (6, 384, 6, 64, 256, 5000) if GPU else (1, 64, 2, 8, 64, 100)
    layers, d, heads, batch, context, steps = size
    config = {
        "model": {"kind": "transformer", "layers": layers, "d_model": d, "heads": heads, "dropout": 0.2},
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]},
        "schedule": {"warmup": 100},
        "batch": batch,
        "context": context,
        "steps": steps,
        "eval_every": max(steps // 20, 1),
        "save_every": steps,
        "log_every": 50,
    }
    lowest = float("inf")

    def tell(row: dict) -> None:
        nonlocal lowest
        if "validation_loss" in row:
            lowest = min(lowest, row["validation_loss"])
            print(f"  step {row['step']}: validation {row['validation_loss']:.3f}, train {row['loss']:.3f}", flush=True)

    result = train(TrainConfig.model_validate(config), str(shards), str(folder / "shakespeare"), progress=tell)
    last = result["validation"]["loss"]
    table(("Tiny Shakespeare, characters", "validation loss", "tokens/s"), [
        ("nanoGPT, 6 x 384, as published", "1.47", ""),
        (f"corpusmill, {layers} x {d}, best of {steps} steps", f"{min(lowest, last):.3f}", ""),
        (f"corpusmill, {layers} x {d}, at the end", f"{last:.3f}", f"{result['tokens_per_second']:,.0f}"),
    ])  # fmt: skip
    return {
        "validation_loss": min(lowest, last),
        "validation_loss_at_the_end": last,
        "tokens_per_second": result["tokens_per_second"],
    }


# Name, and seconds that it may take: all of them together stay under ten minutes.
SECTIONS: dict[str, tuple[Callable[[Path, argparse.Namespace], dict[str, Any]], int]] = {
    "ceilings": (ceilings, 45),
    "transformer": (transformer, 170),
    "lstm": (lstm, 75),
    "shakespeare": (shakespeare, 150),
    "exact": (exact, 65),
    "resume": (resume, 65),
}


def one_section(name: str, options: argparse.Namespace) -> None:
    """In a process of its own: run a section and write what it found."""
    section, limit = SECTIONS[name]
    faulthandler.dump_traceback_later(limit - 3)  # says where it hung, before the parent ends it
    with tempfile.TemporaryDirectory() as folder:
        found = section(Path(folder), options)
    Path(options.result).write_text(json.dumps(found))


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run a section as a process; what it found, with ``status`` and ``seconds``."""
    limit = SECTIONS[name][1]
    # cuBLAS and cuDNN sum in one order only with a workspace of this kind, and read it when they start.
    extra = {"CUBLAS_WORKSPACE_CONFIG": ":16:8"} if name == "exact" else {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-u", __file__, *arguments, "--only", name, "--result", str(result)]
        process = subprocess.Popen(command, env={**os.environ, **extra}, start_new_session=True)
        try:
            process.wait(limit)
            status = "done" if process.returncode == 0 else f"FAILED with status {process.returncode}"
        except subprocess.TimeoutExpired:
            status = f"FAILED: not done in {limit} s"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # the compiler's helpers too
            except ProcessLookupError:
                pass
            process.wait()
        found = json.loads(result.read_text()) if status == "done" else {}
    return {"status": status, "seconds": round(time.perf_counter() - began, 1), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description="The trainer on one GPU.")
    parser.add_argument("--text", help="Tiny Shakespeare (char-rnn's input.txt)")
    parser.add_argument("--shards", help="real shards for the Transformer, instead of made-up tokens")
    parser.add_argument("--json", help="write the figures to this file too")
    parser.add_argument("--profile", action="store_true", help="print the kernels of one step of the Transformer")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section alone; may be repeated")
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.result:
        one_section(options.only[0], options)
        return
    began = time.perf_counter()
    about = machine()
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    wanted = options.only or [name for name in SECTIONS if options.text or name != "shakespeare"]
    arguments = [f"--{name}={getattr(options, name)}" for name in ("text", "shards") if getattr(options, name)]
    arguments += ["--profile"] * options.profile
    sections: dict[str, dict[str, Any]] = {}
    for name in wanted:
        print(f"\n== {name}", flush=True)
        sections[name] = run(name, arguments)
        print(f"{sections[name]['status']}, {sections[name]['seconds']:.0f} s", flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps({"machine": about, "sections": sections}, indent=1) + "\n")
    if not options.text and not options.only:
        print("\nshakespeare was not run: --text names no file")
    print()
    if GPU:
        rows = []
        for name, figure, way, bound in TARGETS:
            value = sections.get(name, {}).get(figure)
            reached = (
                ""
                if value is None
                else ("reached" if (value >= bound if way == ">=" else value <= bound) else "MISSED")
            )
            rows.append(
                (f"{name}: {figure}", f"{way} {bound}", "not measured" if value is None else f"{value:.4g}", reached)
            )
        table(("target", "", "found", ""), rows)
    failed = [name for name, found in sections.items() if found["status"] != "done"]
    print(f"{time.perf_counter() - began:.0f} s in all; " + (f"failed: {', '.join(failed)}" if failed else "all done"))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
