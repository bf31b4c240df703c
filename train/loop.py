"""Train a language model on shards: resumable at any moment, and the same bits whether or not it was interrupted.

The state of a run is its checkpoint: weights, optimizers, random generators, carried state, and the step number, from
which alone the position in the data follows. Bit-for-bit equality holds on one machine's CPU with one thread count and
one process; with another number of processes the order of the data is the same, sums are rounded elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import progress as terminal
from pipeline.errors import CorpusmillError
from pipeline.shards.read import Shards, open_shards
from pipeline.storage import Root
from train import checkpoint, curves, device, optim, snapshot
from train.batches import Batch, Prefetch, Streams, Windows, epoch_key
from train.checkpoint import generators, set_generators
from train.config import TrainConfig
from train.evaluate import baselines, evaluate
from train.metrics import Metrics
from train.model import State, build, over_state
from train.processes import Group, together
from train.signals import Stop

RESULT = "result.json"
IDENTITY = "run.json"
_SETTLING = 20  # steps before a gradient norm can be called a spike
Progress = Callable[[dict[str, Any]], None]


def train(config: TrainConfig, shards_dir: str, run_dir: str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train, or go on training, the model of ``config`` on the ``train`` split of ``shards_dir``, in ``run_dir``.

    A finished run gives its recorded result at once; an unfinished one resumes from its latest checkpoint. A
    ``run_dir`` of another configuration or other shards is refused. ``progress`` is called at each row of metrics.csv
    with that row and ``steps``, and again with the validation columns after an evaluation. Ctrl-C ends it with
    KeyboardInterrupt when the steps taken are saved; at once while there are none, and the second time.

    The result, also written to ``run_dir``/result.json: ``finished`` (false when SIGTERM stopped it; then only
    ``step`` and ``checkpoint`` follow), ``model``, ``parameters``, ``steps``, ``tokens`` (targets trained on),
    ``validation`` (loss, perplexity, bits_per_byte, accuracy, unknown, tokens, bytes), ``unigram`` and ``ngram`` (loss,
    perplexity, bits_per_byte), ``tokens_per_second``, ``device``, ``precision``, the identity (``config_digest``,
    ``fingerprint``, ``tokenizer_sha256``, ``vocab_size``), ``checkpoint`` (its directory, relative to the run) and
    ``files`` (SHA-256 of the checkpoint's files, by path relative to the run).
    """
    training, validation = open_shards(shards_dir, "train"), open_shards(shards_dir, "validation")
    if "eos" not in training.special_ids:
        raise CorpusmillError(
            "the tokenizer has no piece that ends a document, which training needs",
            file=shards_dir,
            mend="set tokenizer.model to a model with an end-of-text piece, then: corpusmill shards CORPUS_TOML",
        )
    if training.n_tokens and not training.eos:
        raise CorpusmillError(
            "the shards have no piece that ends a document, which training needs",
            file=shards_dir,
            mend="shards.eos = true in the corpus configuration, then: corpusmill shards CORPUS_TOML",
        )
    if not validation.n_tokens:
        raise CorpusmillError(
            "the validation split is empty: a model could not be judged",
            file=shards_dir,
            mend="a larger shards.validation in the corpus configuration, then: corpusmill build CORPUS_TOML",
        )
    root = Root(run_dir)
    if root.read_json(RESULT) is None:
        device.check(config)
        if config.schedule.warmup >= config.steps - 1:
            terminal.say(f"schedule.warmup is {config.schedule.warmup} of {config.steps} steps: the rate never falls")
    with _held(run_dir), torch.random.fork_rng():
        identity = _identify(config, training, root)
        root.sweep("")
        snapshot.sweep(Path(run_dir))
        result, saved = root.read_json(RESULT), checkpoint.latest(Path(run_dir))
        if result is not None and saved is not None and saved.files.files() == result["files"]:
            return result
        if saved is not None:
            _check(identity, saved.described, str(saved.folder))
        described = {
            **identity,
            "special_ids": training.special_ids,
            "bos": training.bos,
            "shards": os.path.relpath(shards_dir, run_dir),
        }
        where = device.choose(config.device)
        count = device.how_many(config, where)
        with together(count, where.type, _follow, config, shards_dir, run_dir) as group:
            trainer = Trainer(_as_begun(config, saved), training, group)
            if saved is not None:
                trainer.restore(saved)
            described["compiled"] = trainer.compiled
            stop = Stop()
            with contextlib.closing(Metrics(Path(run_dir), trainer.step)) as metrics, stop.listening():
                recorder = _Recorder(trainer, described, validation, metrics, progress or (lambda row: None))
                saved = _fit(trainer, saved, stop, recorder)
                assert saved is not None  # there was a step to take, or a checkpoint says there was none
                folder = saved.folder.relative_to(run_dir).as_posix()
                if trainer.step < config.steps:
                    return {"finished": False, "step": trainer.step, "checkpoint": folder}
                with stop.saved():
                    validated = recorder.evaluate(last=True)
        root.write(curves.FILE, curves.draw(metrics.path, os.path.basename(run_dir)).encode())
        result = {
            "finished": True,
            "model": config.model.kind,
            "parameters": trainer.model.n_parameters,
            "steps": trainer.step,
            "tokens": trainer.tokens,
            "validation": validated,
            **baselines(training, validation),
            "tokens_per_second": trainer.tokens / metrics.seconds if metrics.seconds else None,
            "device": trainer.device.type,
            "precision": trainer.precision,
            **{name: identity[name] for name in ("config_digest", "fingerprint", "tokenizer_sha256", "vocab_size")},
            "checkpoint": folder,
            "files": saved.files.files(),
        }
        root.write(RESULT, (json.dumps(result, indent=1) + "\n").encode())
        return result


def _as_begun(config: TrainConfig, saved: checkpoint.Checkpoint | None) -> TrainConfig:
    """The configuration of a run that goes on: unless it says otherwise, compiled or not as before, for the bits."""
    if saved is None or config.compile is not None:
        return config
    earlier = device.choose(config.device).type == "cuda"  # what checkpoints that do not tell were
    return config.model_copy(update={"compile": saved.described.get("compiled", earlier)})


def _follow(group: Group, config: TrainConfig, shards_dir: str, run_dir: str) -> None:
    """What the other processes of a run do: the same steps, and nothing is written."""
    saved = checkpoint.latest(Path(run_dir))
    trainer = Trainer(_as_begun(config, saved), open_shards(shards_dir, "train"), group)
    if saved is not None:
        trainer.restore(saved)
    _fit(trainer, saved, Stop(), None)


@dataclass(frozen=True)
class _Taken:
    """A step that was enqueued: its number, learning rate and targets, and on the device its nats and gradient norm."""

    step: int
    lr: float
    tokens: int
    measured: Tensor


class Trainer:
    """The numbers of a run: what a checkpoint holds, and how one step changes it."""

    def __init__(self, config: TrainConfig, training: Shards, group: Group | None = None):
        self.config, self.training, self.group = config, training, group or Group()
        self.device = device.choose(config.device)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", self.group.number)
        else:
            device.keep_freed_memory()
        self.precision = device.precision_of(config.precision, self.device)
        self.rows = config.micro_batch or config.batch // self.group.count
        torch.manual_seed(config.seed)
        eos = training.special_ids["eos"]
        with torch.random.fork_rng(), torch.device("meta"):
            n_parameters = build(config.model, training.vocab_size, config.context, eos).n_parameters
        device.check_model_fits(config, n_parameters, self.device)
        self.model = build(config.model, training.vocab_size, config.context, eos).to(self.device)
        self._too_much = device.check_batch_fits(self.model, config, self.precision, self.rows)
        if self.group.number:  # else all would draw the same dropout
            self._reseed(0)
        self.compiled = device.compiled(self.model, config, self.precision, self.rows, terminal.say)
        self.optimizer = optim.build(self.model, config.optimizer)
        self.flops = device.flops_per_token(config.model, n_parameters, config.context)
        self._called: Any = self.group.wrap(self.model, self.device)
        scaled = device.needs_scaling(config.model, self.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type) if scaled else None
        self.batches = self._reading((self.group.number, self.group.count))
        self.step = 0
        self.tokens = 0
        self.skipped = 0
        self.stopping = False
        # A GPU is given one step after another without a wait, where it can judge by itself whether a step is sound.
        alone = self.group.count == 1 and not config.optimizer.skip_spikes
        self.runs_ahead = self.device.type == "cuda" and alone and self.optimizer.judges
        self._unread: list[_Taken] = []
        self._nats, self._counted, self._last = 0.0, 0, (0.0, 0.0)  # since the last `figures`
        self._usual = 0.0  # running mean of gradient norms
        self._carried: list[State] = [None] * (config.batch // self.group.count // self.rows)

    def _reading(self, share: tuple[int, int]) -> Windows | Streams:
        kind = Streams if self.model.carries_state else Windows
        return kind(self.training, self.config.batch, self.config.context, self.config.seed, share)

    def _reseed(self, step: int) -> None:
        torch.manual_seed(epoch_key(self.training.fingerprint, self.config.seed + step, -self.group.number))

    def prepare(self, batch: Batch) -> tuple[Batch, Tensor, Tensor]:
        """A batch with its inputs and targets on the device; done ahead of the step, in the thread of the loader."""
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                inputs = inputs.pin_memory().to(self.device, non_blocking=True)
                targets = targets.pin_memory().to(self.device, non_blocking=True)
        return batch, inputs, targets

    def take_step(self, prepared: tuple[Batch, Tensor, Tensor]) -> dict[str, float]:
        """One step, waited for; gives its `figures`."""
        self.enqueue(prepared)
        return self.figures()

    def enqueue(self, prepared: tuple[Batch, Tensor, Tensor], stop: bool = False) -> None:
        """Forward, backward and update on one batch, perhaps still to be done when this returns.

        Gradients of micro-batches are weighted by their targets, so that the split into micro-batches changes nothing
        but memory. Where the loss is no longer a number the weights stay as they are and CorpusmillError is raised,
        here or, with ``runs_ahead``, by `figures`. ``stop`` in any process sets ``stopping`` in all.
        """
        batch, inputs, targets = prepared
        lr = optim.learning_rate(self.step, self.config.steps, self.config.optimizer.lr, self.config.schedule)
        self.optimizer.set_lr(lr)
        nats = self._backward(batch, inputs.split(self.rows), targets.split(self.rows))
        if self._scaler is not None:
            for part in self.optimizer.parts:
                self._scaler.unscale_(part)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip)
        if self.group.count > 1:
            shared = self.group.sum(torch.stack((nats, nats.new_tensor(float(stop)))))
            nats, stop = shared[0], bool(shared[1])
        taken = _Taken(self.step, lr, batch.total, torch.stack((nats, norm)))
        if self.runs_ahead:
            self._unread.append(taken)
            self._update(~torch.isfinite(taken.measured).all())
        else:
            self._update(self._judge(taken))
        self.optimizer.zero_grad()
        self.stopping = stop
        self.step += 1
        self.tokens += batch.total

    def figures(self) -> dict[str, float]:
        """``loss`` (mean nats a target since this was asked last), ``lr`` and ``gradient_norm`` (of the last step)."""
        self._look()
        lr, norm = self._last
        loss = self._nats / self._counted
        self._nats, self._counted = 0.0, 0
        return {"loss": loss, "lr": lr, "gradient_norm": norm}

    def _backward(self, batch: Batch, inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Add the gradients of all micro-batches; gives their summed nats."""
        nats = torch.zeros((), device=self.device)
        divisor = batch.total / self.group.count  # gradients are averaged over the processes
        try:
            for number, (tokens, wanted) in enumerate(zip(inputs, targets, strict=True)):
                state = self._carried[number] if self.model.carries_state and not batch.first else None
                is_last = number == len(inputs) - 1
                waits = self._called.no_sync() if self.group.count > 1 and not is_last else contextlib.nullcontext()
                with waits:
                    with device.autocast(self.device, self.precision):
                        cost, self._carried[number] = self._called(tokens, state, wanted)
                    mean = cost / divisor
                    (mean if self._scaler is None else self._scaler.scale(mean)).backward()
                nats += cost.detach()
        except RuntimeError as error:
            if not device.out_of_memory(error):
                raise
            raise self._too_much from error
        return nats

    def _look(self) -> None:
        """Wait for the steps that were enqueued, and judge them."""
        unread, self._unread = self._unread, []
        for taken in unread:
            self._judge(taken)

    def _judge(self, taken: _Taken) -> bool:
        """Count a step in; gives whether to leave it out: a spike or an overflow. Raises where it is no number."""
        config = self.config.optimizer
        nats, norm = taken.measured.tolist()  # waits for the device
        loss = nats / taken.tokens
        overflowed = self._scaler is not None and math.isfinite(loss) and not math.isfinite(norm)
        if self._scaler is not None and overflowed and self._scaler.get_scale() < 1:
            overflowed = False  # half precision is not the cause
        if not overflowed and not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(taken.step, loss, norm)
        self._nats += loss * taken.tokens
        self._counted += taken.tokens
        self._last = taken.lr, norm
        spike = bool(config.skip_spikes) and taken.step >= _SETTLING and norm > config.skip_spikes * self._usual
        if overflowed or spike:
            self.skipped += 1
        else:
            self._usual = norm if not self._usual else 0.95 * self._usual + 0.05 * norm
        return overflowed or spike

    def _update(self, unless: bool | Tensor) -> None:
        """Step the optimizers, unless the host or the device has found that the step is to be left out."""
        if self._scaler is None:
            self.optimizer.step(unless)
            return
        for part in self.optimizer.parts:
            if unless is not True:
                self._scaler.step(part)  # does nothing after an overflow in this part, which it sees by itself
        self._scaler.update()  # smaller after an overflow in any part

    def _diverged(self, step: int, loss: float, norm: float) -> CorpusmillError:
        starts = [int(start) for start in self._reading((0, 1)).batch(step).starts if start >= 0]
        ids = ", ".join(dict.fromkeys(self.training.document_at(start).id.hex() for start in starts[:8]))
        return CorpusmillError(
            f"training diverged at step {step + 1}: loss {loss}, gradient norm {norm}; "
            f"the batch's sequences begin in documents {ids}{', ...' if len(starts) > 8 else ''}",
            file=str(self.training.directory),
            mend="lower optimizer.lr or lengthen schedule.warmup, and train under another run name",
        )

    def state(self) -> dict[str, Any]:
        """What training must remember beside the weights, over all processes."""
        self._look()
        carried: State = None
        if self.model.carries_state and self._carried[0] is not None:
            mine = self.model.join(self._carried) if len(self._carried) > 1 else self._carried[0]
            parts = self.group.gather(over_state(mine, lambda x: x.cpu()))
            carried = self.model.join(parts) if len(parts) > 1 else parts[0]
        return {
            "tokens": self.tokens,
            "skipped": self.skipped,
            "usual_norm": self._usual,
            "optimizers": self.optimizer.state(),
            "scaler": self._scaler.state_dict() if self._scaler else None,
            "generators": self.group.gather(generators(self.device)),
            "carried": carried,
        }

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to a checkpoint, down to the last bit where as many processes wrote it."""
        state = saved.state()
        self.step, self.tokens = saved.step, state["tokens"]
        self.skipped, self._usual = state["skipped"], state["usual_norm"]
        saved.load_into(self.model)
        self.optimizer.restore(state["optimizers"])
        if self._scaler is not None and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        if state["carried"] is not None:
            whole = over_state(state["carried"], lambda x: x.to(self.device))
            first = self.group.number * self.config.batch // self.group.count
            self._carried = [
                self.model.rows(whole, first + n * self.rows, first + (n + 1) * self.rows)
                for n in range(len(self._carried))
            ]
        if len(state["generators"]) == self.group.count:
            set_generators(state["generators"][self.group.number], self.device)
        else:
            self._reseed(self.step)


class _Recorder:
    """What the first process writes while training: rows, checkpoints, evaluations."""

    def __init__(
        self, trainer: Trainer, described: dict[str, Any], validation: Shards, metrics: Metrics, progress: Progress
    ):
        self.trainer, self.described, self.validation = trainer, described, validation
        self.metrics, self.progress = metrics, progress
        self._told: dict[str, Any] | None = None  # the last row, once there is one

    def row(self, values: dict[str, float], seconds: float, tokens: int, waited: float) -> None:
        """Add a row of ``seconds`` in which ``tokens`` were trained on and ``waited`` seconds were spent on data."""
        trainer, metrics = self.trainer, self.metrics
        metrics.seconds += seconds
        rate = tokens / seconds
        top = device.peak(trainer.device, trainer.precision)
        row = {
            "step": trainer.step,
            "tokens": trainer.tokens,
            **values,
            "seconds": metrics.seconds,
            "tokens_per_second": rate,
            "loader_share": waited / seconds,
            "memory_mb": device.memory_used(trainer.device),
            "skipped": trainer.skipped,
        }
        if top is not None:
            row["mfu"] = rate * trainer.flops / (top * trainer.group.count)
        metrics.write(row)
        self._told = {**row, "steps": trainer.config.steps}
        self.progress(self._told)

    def save(self, state: dict[str, Any]) -> checkpoint.Checkpoint:
        """Write a checkpoint of the trainer."""
        trainer = self.trainer
        weights = trainer.model.state_dict()
        keep = trainer.config.keep
        return checkpoint.write(self.metrics.run_dir, trainer.step, weights, state, self.described, keep)

    def evaluate(self, last: bool = False) -> dict[str, float]:
        """The figures on the validation split; adds their row to the curve where it is not there yet."""
        trainer, config = self.trainer, self.trainer.config
        found = evaluate(trainer.model, self.validation, config.batch, config.context, trainer.rows)
        columns = {"validation_loss": found["loss"], "validation_bits_per_byte": found["bits_per_byte"]}
        if trainer.step not in self.metrics.validated:
            self.metrics.write({"step": trainer.step, "tokens": trainer.tokens, **columns})
        if self._told is not None and not last:
            self.progress({**self._told, **columns})
        return found


def _fit(
    trainer: Trainer, saved: checkpoint.Checkpoint | None, stop: Stop, recorder: _Recorder | None
) -> checkpoint.Checkpoint | None:
    """Take the steps that are left, or those until ``stop``, with rows and checkpoints; gives the last checkpoint.

    A row goes before each checkpoint, so that the time spent is known up to it; evaluation comes after, so that
    nothing is lost by it. Without a recorder (a process that follows) nothing is written.
    """
    config = trainer.config
    if recorder is not None and _is_due(config, trainer.step) and trainer.step not in recorder.metrics.validated:
        with stop.saved():
            recorder.evaluate()  # the process before ended between the checkpoint and its evaluation
    counted, mark, waited = trainer.tokens, time.perf_counter(), 0.0
    batches = Prefetch(trainer.batches, trainer.step, config.steps, trainer.prepare)
    for batch in batches:
        told = stop.told
        if told and recorder is not None:
            terminal.say("train: stopping after this step, which is saved")
        trainer.enqueue(batch, told)
        last = trainer.step == config.steps or trainer.stopping
        evaluates = _is_due(config, trainer.step) and not last
        saves = last or evaluates or trainer.step % config.save_every == 0
        if recorder is not None and (saves or trainer.step % config.log_every == 0):
            values = trainer.figures()
            recorder.row(values, time.perf_counter() - mark, trainer.tokens - counted, batches.waited - waited)
        if saves:
            state = trainer.state()
            if recorder is not None:
                saved = recorder.save(state)
        if evaluates and recorder is not None:
            with stop.saved():
                recorder.evaluate()
        if saves or trainer.step % config.log_every == 0:
            counted, mark, waited = trainer.tokens, time.perf_counter(), batches.waited
        if last:
            break
    return saved


def _is_due(config: TrainConfig, step: int) -> bool:
    """Whether an evaluation belongs after ``step``, apart from that at the end."""
    return bool(config.eval_every) and step % config.eval_every == 0 and 0 < step < config.steps


def _identify(config: TrainConfig, training: Shards, root: Root) -> dict[str, Any]:
    """What makes this run this run; written at its first start and compared at every later one."""
    identity = {
        "config": config.identity,
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
