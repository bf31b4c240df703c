"""The trainer on a CPU: tokens a second beside two well-known compact trainers, and what it learns.

    python benchmarks/train_cpu.py speed
    python benchmarks/train_cpu.py shakespeare tinyshakespeare.txt     (char-rnn's input.txt)
    python benchmarks/train_cpu.py wikitext wikitext-2.zip --minutes 4 (pytorch/examples' train, valid and test.txt)

wikitext takes our steps for so many minutes, then as many of the peer's. The peers' steps are written here from their
published settings, not run from their code:

- nanoGPT's setting for a CPU: 4 layers, 4 heads, 128 wide, 64 tokens, batch 12, no dropout, no biases, LayerNorm,
  learnt positions, GELU four times as wide, output tied; float32, not compiled, and once
  more compiled; AdamW, not fused on a CPU, gradients clipped at 1; each batch cut from an array by random offsets.
- pytorch/examples word_language_model: LSTM of 2 layers, 200 wide, 35 words, batch 20, dropout 0.2, tied; gradients
  clipped at 0.25, each weight moved by its gradient times 20; state detached from batch to batch.

Ours is the trainer itself, data from shards and prefetch thread included: the same sizes, float32 (a run would choose
bfloat16 where the processor multiplies it). Rounds alternate, short ones, as machines drift; the ratio is the median
over rounds. What our trainer asks of malloc holds for the peers beside it, too.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.train_data import characters, made, table, words
from pipeline.shards.read import open_shards
from train.batches import Prefetch
from train.config import TrainConfig
from train.evaluate import baselines, evaluate_run
from train.loop import Trainer, train
from train.metrics import read

TRANSFORMER = {
    "model": {"kind": "transformer", "layers": 4, "d_model": 128, "heads": 4, "activation": "gelu"},
    "optimizer": {"lr": 1e-3, "betas": [0.9, 0.99]},
    "schedule": {"warmup": 100},
    "batch": 12,
    "context": 64,
    "device": "cpu",
    "precision": "fp32",
}
LSTM = {
    "model": {"kind": "lstm", "layers": 2, "d_model": 200, "dropout": 0.2},
    "optimizer": {"kind": "sgd", "lr": 20.0, "weight_decay": 0.0, "clip": 0.25},
    "schedule": {"kind": "constant", "warmup": 0},
    "batch": 20,
    "context": 35,
    "device": "cpu",
    "precision": "fp32",
}


class GPTBlock(nn.Module):
    """A block of the peer's Transformer."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(d, bias=False), nn.LayerNorm(d, bias=False)
        self.qkv, self.proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln1(x)).split(d, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).contiguous().view(b, t, d))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class GPT(nn.Module):
    """The peer's Transformer."""

    def __init__(self, vocab_size: int, layers: int, d: int, heads: int, context: int):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocab_size, d), nn.Embedding(context, d)
        self.blocks = nn.ModuleList(GPTBlock(d, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(d, bias=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln(x), self.embedding.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def nanogpt_step(tokens: np.ndarray, vocab_size: int, compile: bool = False) -> Callable[[], object]:
    torch.manual_seed(0)
    model = GPT(vocab_size, 4, 128, 4, 64)
    if compile:
        model.compile(dynamic=False)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))

    def step() -> float:
        starts = torch.randint(len(tokens) - 64, (12,)).tolist()
        x = torch.stack([torch.from_numpy(tokens[i : i + 64].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(tokens[i + 1 : i + 65].astype(np.int64)) for i in starts])
        loss = model(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


class WordModel(nn.Module):
    """The peer's LSTM."""

    def __init__(self, vocab_size: int, d: int, layers: int, p: float):
        super().__init__()
        self.drop, self.encoder = nn.Dropout(p), nn.Embedding(vocab_size, d)
        self.rnn, self.decoder = nn.LSTM(d, d, layers, dropout=p), nn.Linear(d, vocab_size)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    def forward(self, tokens: Tensor, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        out, hidden = self.rnn(self.drop(self.encoder(tokens)), hidden)
        logits = self.decoder(self.drop(out))
        return F.log_softmax(logits.view(-1, logits.shape[-1]), dim=1), hidden


def word_model(vocab_size: int) -> WordModel:
    torch.manual_seed(0)
    return WordModel(vocab_size, 200, 2, 0.2)


def columns(tokens: np.ndarray, batch: int) -> Tensor:
    """The text in ``batch`` columns side by side, as the peer reads it: (length, batch); the rest is left out."""
    length = len(tokens) // batch
    return torch.from_numpy(tokens[: length * batch].astype(np.int64)).view(batch, -1).t().contiguous()


def word_step(tokens: np.ndarray, model: WordModel) -> Callable[[], float]:
    source = columns(tokens, 20)
    length = len(source)
    hidden, at = (torch.zeros(2, 20, 200), torch.zeros(2, 20, 200)), 0

    def step() -> float:
        nonlocal hidden, at
        x, y = source[at : at + 35], source[at + 1 : at + 36].reshape(-1)
        at = (at + 35) % (length - 36)
        model.zero_grad()
        hidden = tuple(part.detach() for part in hidden)
        output, hidden = model(x, hidden)
        loss = F.nll_loss(output, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-20)
        return loss.item()

    return step


def word_perplexity(tokens: np.ndarray, model: WordModel) -> float:
    """As the peer evaluates: 10 columns, 35 words at a time, state carried."""
    model.eval()
    source = columns(tokens, 10)
    hidden, nats = (torch.zeros(2, 10, 200), torch.zeros(2, 10, 200)), 0.0
    with torch.no_grad():
        for at in range(0, len(source) - 1, 35):
            x = source[at : min(at + 35, len(source) - 1)]
            output, hidden = model(x, hidden)
            nats += F.nll_loss(output, source[at + 1 : at + 1 + len(x)].reshape(-1), reduction="sum").item()
    return math.exp(nats / (10 * (len(source) - 1)))


def our_step(config: dict, shards: Path) -> Callable[[], object]:
    trainer = Trainer(TrainConfig.model_validate({**config, "steps": 100_000}), open_shards(shards))
    batches = iter(Prefetch(trainer.batches, 0, 100_000, trainer.prepare))
    return lambda: trainer.take_step(next(batches))


def word_speed(tokens: np.ndarray, vocab_size: int) -> Callable[[], object]:
    return word_step(tokens, word_model(vocab_size))


def speed(options: argparse.Namespace, folder: Path) -> None:
    print(f"float32, {torch.get_num_threads()} thread(s), torch {torch.__version__}, median of {options.rounds} rounds")
    rows = []
    transformer, lstm = (made(folder / str(size), size, 500_000) for size in (65, 33_278))
    characters, words = (open_shards(shards).read(0, 500_000) for shards in (transformer, lstm))
    transformers = {
        "nanoGPT's step": nanogpt_step(characters, 65),
        "corpusmill": our_step(TRANSFORMER, transformer),  # which compiles so long a run
        "corpusmill, not compiled": our_step({**TRANSFORMER, "compile": False}, transformer),
        "nanoGPT's step, compiled": nanogpt_step(characters, 65, compile=True),
    }
    lstms = {"word_language_model's step": word_speed(words, 33_278), "corpusmill": our_step(LSTM, lstm)}
    cases = (
        ("Transformer 4 x 128, T 64", TRANSFORMER, transformers, options.steps),
        ("LSTM 2 x 200, 33,278 words", LSTM, lstms, options.steps // 10),
    )
    for name, config, ways, steps in cases:
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(options.rounds + 1):
            for way, step in ways.items():
                began = time.perf_counter()
                for _ in range(steps):
                    step()
                if number:  # the first round warms up
                    taken = time.perf_counter() - began
                    rates[way].append(steps * config["batch"] * config["context"] / taken)
        peer = next(iter(rates.values()))
        for way, found in rates.items():
            ratio = median(ours / theirs for ours, theirs in zip(found, peer, strict=True))
            rows.append((name, way, f"{median(found):,.0f}", f"{ratio:.2f}"))
    table(("model", "trainer", "tokens/s", "ratio"), rows)


def shakespeare(options: argparse.Namespace, folder: Path) -> None:
    shards = characters(Path(options.file).read_text(), folder / "characters")
    config = {**TRANSFORMER, "model": {**TRANSFORMER["model"], "activation": "swiglu"}, "steps": options.steps}
    run = TrainConfig.model_validate({**config, "log_every": 100, "save_every": 2000, "seed": options.seed})
    result = _finished(train(run, str(shards), str(folder / "run"), progress=_tell))
    print(
        f"Tiny Shakespeare by characters, {result['parameters']:,} parameters, {result['precision']}, seed {run.seed}"
    )
    rows = [
        ("unigrams", f"{result['unigram']['loss']:.3f}", f"{result['unigram']['bits_per_byte']:.3f}", ""),
        ("trigrams", f"{result['ngram']['loss']:.3f}", f"{result['ngram']['bits_per_byte']:.3f}", ""),
        ("nanoGPT, as published", "1.88", "", ""),
        (
            f"corpusmill, {run.steps} steps",
            f"{result['validation']['loss']:.3f}",
            f"{result['validation']['bits_per_byte']:.3f}",
            f"{result['tokens_per_second']:,.0f}",
        ),
    ]
    table(("validation", "loss", "bits/byte", "tokens/s"), rows)


def wikitext(options: argparse.Namespace, folder: Path) -> None:
    shards = words(Path(options.file), folder / "words")
    training, validation = open_shards(shards), open_shards(shards, "validation")
    test = open_shards(folder / "words/test", "validation")
    model = {"kind": "lstm", "layers": 2, "d_model": 200}  # less than an epoch leaves nothing for dropout to prevent
    config = {"model": model, "optimizer": {"lr": 4e-3, "weight_decay": 0.02}, "batch": 20, "context": 35}
    config |= {"schedule": {"kind": "linear", "final": 0.0}, "device": "cpu", "precision": "fp32"}
    timing = Trainer(TrainConfig.model_validate(config), training)
    batches = [timing.prepare(timing.batches.batch(n)) for n in range(12)]
    for batch in batches[:2]:
        timing.take_step(batch)
    began = time.perf_counter()
    for batch in batches[2:]:
        timing.take_step(batch)
    each = (time.perf_counter() - began) / 10
    steps = max(100, int(60 * options.minutes / each))
    epoch = timing.batches.steps_per_epoch
    log = -(-steps // 6)
    run = TrainConfig.model_validate({**config, "steps": steps, "save_every": steps, "log_every": log})
    print(f"WikiText-2 by words, {timing.model.n_parameters:,} parameters, {timing.precision}, {options.minutes:g} min "
          f"of training: {steps} steps of {epoch} an epoch")  # fmt: skip
    result = _finished(train(run, str(shards), str(folder / "run"), progress=_tell))
    scored = evaluate_run(str(folder / "run"), str(folder / "words/test"))["validation"]
    theirs, peer = word_model(training.vocab_size), []
    step, began = word_step(training.read(0, training.n_tokens), theirs), time.perf_counter()
    for number in range(1, steps + 1):
        peer.append(step())
        if number % log == 0:
            print(f"  the peer's step {number}: loss {np.mean(peer[-log:]):.3f}", file=sys.stderr, flush=True)
    taken, peers = result["tokens"] / result["tokens_per_second"], time.perf_counter() - began
    their_validation = word_perplexity(validation.read(0, validation.n_tokens), theirs)
    counted = baselines(training, validation), baselines(training, test)
    curve = [float(row["loss"]) for row in read(folder / "run/metrics.csv") if row["loss"]]
    table((f"training perplexity, {options.minutes:g} min", "steps", "corpusmill", "word_language_model"), [
        ("", f"{min(log * (n + 1), steps):,}", f"{np.exp(ours):.1f}", f"{np.exp(np.mean(peer[n * log :][:log])):.1f}")
        for n, ours in enumerate(curve)
    ])  # fmt: skip
    rows = [
        ("corpusmill", *(f"{found['perplexity']:.1f}" for found in (result["validation"], scored)), f"{taken:,.0f}"),
        ("word_language_model, as many steps", f"{their_validation:.1f}", "", f"{peers:,.0f}"),
        *((f"{way}s", *(f"{found[way]['perplexity']:.1f}" for found in counted), "") for way in ("unigram", "ngram")),
        ("published: LSTM 2 x 200, 750 epochs (GluonNLP)", "107.6", "101.6", ""),
        ("published: AWD-LSTM 3 x 1150, 750 epochs (Merity et al., 2018)", "68.6", "65.8", ""),
    ]
    table((f"WikiText-2 perplexity after {steps / epoch:.3f} epochs", "validation", "test", "seconds"), rows)
    hours = 750 * training.n_tokens / result["tokens_per_second"] / 3600
    awd = hours * 33e6 / timing.model.n_parameters
    print(f"750 epochs would take {hours:,.0f} h here for this model, about {awd:,.0f} h for the 33 M of AWD-LSTM")


def _finished(result: dict) -> dict:
    if not result["finished"]:
        sys.exit(f"stopped at step {result['step']}: no figure")
    return result


def _tell(row: dict) -> None:
    said = f"validation {row['validation_loss']:.3f}" if "validation_loss" in row else f"loss {row['loss']:.3f}"
    print(f"  step {row['step']}: {said}, {row['tokens_per_second']:,.0f} tokens/s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="The trainer on a CPU, beside its peers.")
    parser.add_argument("what", choices=("speed", "shakespeare", "wikitext"))
    parser.add_argument("file", nargs="?", help="the text, or WikiText-2's zip")
    parser.add_argument("--steps", type=int, help="steps a round (speed: 20), or of the run (shakespeare: 2,000)")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument(
        "--minutes", type=float, default=4.0, help="of training on wikitext; its evaluation comes on top"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what != "speed" and not options.file:
        parser.error(f"{options.what} needs the file")
    options.steps = options.steps or {"speed": 20, "shakespeare": 2000}.get(options.what, 0)
    with tempfile.TemporaryDirectory() as folder:
        {"speed": speed, "shakespeare": shakespeare, "wikitext": wikitext}[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
