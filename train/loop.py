"""Train a language model on shards: resumable at any moment, and the same bits whether or not it was interrupted.

The state of a run is its checkpoint: weights, optimizer, random generators, carried state, and the step number, from
which alone the position in the data follows. Bit-for-bit equality holds on one machine's CPU with one thread count.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import CorpusmillError, UsageError
from pipeline.shards.read import Shards, open_shards
from pipeline.storage import Root
from train import checkpoint, optim
from train.batches import Batch, Streams, Windows, prefetch
from train.checkpoint import generators, set_generators
from train.config import TrainConfig
from train.evaluate import evaluate, unigram
from train.metrics import Metrics
from train.model import State, build, move

RESULT = "result.json"
IDENTITY = "run.json"
Progress = Callable[[dict[str, Any]], None]


def train(config: TrainConfig, shards_dir: str, run_dir: str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train, or go on training, the model of ``config`` on the ``train`` split of ``shards_dir``, in ``run_dir``.

    A finished run gives its recorded result at once; an unfinished one resumes from its latest checkpoint. A
    ``run_dir`` of another configuration or other shards is refused. ``progress`` is called at each row of metrics.csv
    with that row and ``steps`` and ``tokens_per_second``, and again with the validation columns after an evaluation.

    The result, also written to ``run_dir``/result.json: ``finished`` (false when SIGTERM stopped it; then only
    ``step`` and ``checkpoint`` follow), ``model``, ``parameters``, ``steps``, ``tokens`` (targets trained on),
    ``validation`` (loss, perplexity, bits_per_byte, accuracy, tokens, bytes), ``unigram`` (loss, perplexity,
    bits_per_byte), ``tokens_per_second``, ``device``, ``precision``, the identity (``config_digest``, ``fingerprint``,
    ``tokenizer_sha256``, ``vocab_size``), ``checkpoint`` (its directory, relative to the run) and ``files`` (SHA-256 of
    the checkpoint's files, by path relative to the run).
    """
    training, validation = open_shards(shards_dir, "train"), open_shards(shards_dir, "validation")
    if not validation.n_tokens:
        raise CorpusmillError(
            "the validation split is empty: a model could not be judged",
            file=shards_dir,
            mend="give validation a larger share in the corpus configuration, then: corpusmill shards CORPUS_TOML",
        )
    root = Root(run_dir)
    with _held(run_dir), torch.random.fork_rng():
        root.sweep("")
        identity = _identify(config, training, root)
        result, saved = root.read_json(RESULT), checkpoint.latest(Path(run_dir))
        if result is not None and saved is not None and saved.files() == result["files"]:
            return result
        trainer = Trainer(config, training)
        if saved is not None:
            _check(identity, saved.described, str(saved.folder))
            trainer.restore(saved)
        described = {**identity, "special_ids": training.special_ids, "shards": os.path.relpath(shards_dir, run_dir)}
        with contextlib.closing(Metrics(Path(run_dir), trainer.step)) as metrics, _on_sigterm() as stop:
            saved = _fit(trainer, saved, described, validation, metrics, progress or (lambda row: None), stop)
            where = saved.folder.relative_to(run_dir).as_posix()
            if trainer.step < config.steps:
                return {"finished": False, "step": trainer.step, "checkpoint": where}
            validated = evaluate(trainer.model, validation, config.batch, config.context)
            metrics.write({"step": trainer.step, "tokens": trainer.tokens, **_validation_columns(validated)})
        result = {
            "finished": True,
            "model": config.model.kind,
            "parameters": trainer.model.n_parameters,
            "steps": trainer.step,
            "tokens": trainer.tokens,
            "validation": validated,
            "unigram": unigram(training, validation),
            "tokens_per_second": trainer.tokens / metrics.seconds if metrics.seconds else None,
            "device": trainer.device.type,
            "precision": trainer.precision,
            **{name: identity[name] for name in ("config_digest", "fingerprint", "tokenizer_sha256", "vocab_size")},
            "checkpoint": where,
            "files": saved.files(),
        }
        root.write(RESULT, (json.dumps(result, indent=1) + "\n").encode())
        return result


class Trainer:
    """The numbers of a run: what a checkpoint holds, and how one step changes it."""

    def __init__(self, config: TrainConfig, training: Shards):
        self.config, self.training = config, training
        self.device = _device(config)
        self.precision = _precision(config, self.device)
        torch.manual_seed(config.seed)
        self.model = build(config.model, training.vocab_size, config.context).to(self.device)
        self.optimizer = optim.build(self.model, config.optimizer)
        reading = Streams if self.model.carries_state else Windows
        self.batches = reading(training, config.batch, config.context, config.seed)
        self.step = 0
        self.tokens = 0
        self._rows = config.micro_batch or config.batch
        self._carried: list[State] = [None] * (config.batch // self._rows)

    def take_step(self, batch: Batch) -> dict[str, float]:
        """Forward, backward and update on one batch; gives ``loss`` (nats a target), ``lr`` and ``gradient_norm``.

        Gradients of micro-batches are weighted by their targets, so that the split into micro-batches changes nothing
        but memory. Raises CorpusmillError, with the weights untouched, where the loss is no longer a number.
        """
        self.model.train()
        lr = optim.learning_rate(self.step, self.config.steps, self.config.optimizer.lr, self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        total = batch.n_targets
        nats = torch.zeros((), device=self.device)
        inputs = torch.from_numpy(batch.inputs).split(self._rows)
        targets = torch.from_numpy(batch.targets).split(self._rows)
        for number, (tokens, wanted) in enumerate(zip(inputs, targets, strict=True)):
            state = self._carried[number] if self.model.carries_state and not batch.first else None
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                cost, self._carried[number] = self.model(tokens.to(self.device), state, wanted.to(self.device))
            (cost / total).backward()
            nats += cost.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip).item()
        loss = nats.item() / total
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(batch, loss, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.tokens += total
        return {"loss": loss, "lr": lr, "gradient_norm": norm}

    def _diverged(self, batch: Batch, loss: float, norm: float) -> CorpusmillError:
        starts = [int(start) for start in batch.starts if start >= 0]
        ids = ", ".join(dict.fromkeys(self.training.document_at(start).id.hex() for start in starts[:8]))
        return CorpusmillError(
            f"training diverged at step {self.step + 1}: loss {loss}, gradient norm {norm}; "
            f"the batch's sequences begin in documents {ids}{', ...' if len(starts) > 8 else ''}",
            file=str(self.training.directory),
            mend="lower optimizer.lr or lengthen schedule.warmup, and train under another run name",
        )

    def state(self) -> dict[str, Any]:
        """What training must remember beside the weights."""
        return {
            "tokens": self.tokens,
            "optimizer": self.optimizer.state_dict()["state"],
            "generators": generators(self.device),
            "carried": self._carried,
        }

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to a checkpoint, down to the last bit."""
        state = saved.state()
        self.step, self.tokens = saved.step, state["tokens"]
        self.model.load_state_dict(saved.weights())
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        self._carried = [move(part, self.device) for part in state["carried"]]
        set_generators(state["generators"], self.device)


def _fit(
    trainer: Trainer,
    saved: checkpoint.Checkpoint | None,
    described: dict[str, Any],
    validation: Shards,
    metrics: Metrics,
    progress: Progress,
    stop: threading.Event,
) -> checkpoint.Checkpoint:
    """Take the steps that are left, or those until ``stop``, with rows and checkpoints; gives the last checkpoint.

    A row goes before each checkpoint, so that the time spent is known up to it; evaluation comes after, so that
    nothing is lost by it.
    """
    config = trainer.config
    nats, counted, mark = 0.0, trainer.tokens, time.perf_counter()
    for batch in prefetch(trainer.batches, trainer.step, config.steps):
        before = trainer.tokens
        row = trainer.take_step(batch)
        nats += row["loss"] * (trainer.tokens - before)
        last = trainer.step == config.steps or stop.is_set()
        evaluates = bool(config.eval_every) and trainer.step % config.eval_every == 0 and not last
        saves = last or evaluates or trainer.step % config.save_every == 0
        if not saves and trainer.step % config.log_every:
            continue
        took, tokens = time.perf_counter() - mark, trainer.tokens - counted
        metrics.seconds += took
        row = {"step": trainer.step, "tokens": trainer.tokens, **row, "loss": nats / tokens, "seconds": metrics.seconds}
        metrics.write(row)
        told = {**row, "steps": config.steps, "tokens_per_second": tokens / took}
        progress(told)
        if saves:
            weights = trainer.model.state_dict()
            saved = checkpoint.write(metrics.run_dir, trainer.step, weights, trainer.state(), described)
        if evaluates:
            found = _validation_columns(evaluate(trainer.model, validation, config.batch, config.context))
            metrics.write({"step": trainer.step, "tokens": trainer.tokens, **found})
            progress({**told, **found})
        if last:
            break
        nats, counted, mark = 0.0, trainer.tokens, time.perf_counter()
    assert saved is not None  # there was a step to take, or a checkpoint says there was none
    return saved


def _validation_columns(found: dict[str, float]) -> dict[str, float]:
    return {"validation_loss": found["loss"], "validation_bits_per_byte": found["bits_per_byte"]}


def _identify(config: TrainConfig, training: Shards, root: Root) -> dict[str, Any]:
    """What makes this run this run; written at its first start and compared at every later one."""
    identity = {
        "config": config.model_dump(mode="json"),
        "config_digest": config.digest,
        "fingerprint": training.fingerprint,
        "tokenizer_sha256": training.tokenizer_sha256,
        "vocab_size": training.vocab_size,
    }
    known = root.read_json(IDENTITY)
    if known is None:
        root.write(IDENTITY, (json.dumps(identity, indent=1, sort_keys=True) + "\n").encode())
    else:
        _check(identity, known, root.url)
    return identity


def _check(identity: dict[str, Any], known: dict[str, Any], where: str) -> None:
    for name, what in (("config_digest", "configuration"), ("fingerprint", "corpus")):
        if known.get(name) != identity[name]:
            raise CorpusmillError(
                f"this run has another {what}: {name} {known.get(name)}, asked for {identity[name]}",
                file=where,
                mend="give the run another name, or delete its directory to train anew",
            )


def _device(config: TrainConfig) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError('device = "cuda", but torch finds no CUDA device', mend='device = "auto" or "cpu"')
    return torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def _precision(config: TrainConfig, device: torch.device) -> str:
    """bf16 by default only where the hardware multiplies it: elsewhere it is emulated, and slower than fp32."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, name, lambda: False)() for name in names)
    return "bf16" if fast else "fp32"


@contextlib.contextmanager
def _held(run_dir: str) -> Iterator[None]:
    """Keep a second process out of the run; the lock of a killed process is released by the kernel."""
    os.makedirs(run_dir, exist_ok=True)
    with open(os.path.join(run_dir, "lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CorpusmillError(
                "another process trains this run", file=run_dir, mend="wait for it, or stop it"
            ) from error
        yield


@contextlib.contextmanager
def _on_sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, in place of ending the process. Elsewhere than in the main thread it stays unset."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
