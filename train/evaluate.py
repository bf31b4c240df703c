"""What a model costs on a whole split: nats a token, perplexity, bits a byte, beside models that only count.

Bits per byte compares models of different vocabularies: all nats of the split over ln 2 over the UTF-8 bytes of its
texts. Every token is scored, the first of the split and the ends of documents too. The bytes behind an unknown piece
are counted, what it would cost to tell them is not: where a tokenizer has no byte_fallback, bits per byte is too low by
that, and the share of unknown pieces, which is told beside it, says whether it matters.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from pipeline.errors import CorpusmillError, UsageError
from pipeline.shards.read import Shards, open_shards, read_index
from train import checkpoint, device, ngram, snapshot
from train.batches import Batch, Prefetch, Streams, Windows
from train.config import TrainConfig, TransformerConfig
from train.model import LanguageModel, State, build


def figures(nats: float, n_tokens: int, n_bytes: int) -> dict[str, float]:
    """Loss in nats a token, perplexity and bits a byte of a text that costs ``nats`` in all."""
    loss = nats / n_tokens
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits_per_byte": nats / math.log(2) / n_bytes,
    }


def unigram(training: Shards, validation: Shards) -> dict[str, float]:
    """The figures on ``validation`` of piece frequencies counted on ``training``, one added to each count."""
    counts = np.ones(training.vocab_size, np.int64)
    for tokens in training.shard_tokens():
        counts += np.bincount(tokens, minlength=training.vocab_size)
    nats_of = np.log(counts.sum()) - np.log(counts)
    nats = sum(float(nats_of[tokens].sum()) for tokens in validation.shard_tokens())
    return figures(nats, validation.n_tokens, validation.n_bytes)


def baselines(training: Shards, validation: Shards) -> dict[str, dict[str, float]]:
    """The figures of `unigram` and of a trigram model, by the names ``unigram`` and ``ngram``."""
    nats = ngram.nats(training, validation)
    return {
        "unigram": unigram(training, validation),
        "ngram": figures(nats, validation.n_tokens, validation.n_bytes),
    }


def evaluate(
    model: LanguageModel, shards: Shards, batch: int, context: int, rows: int, costs: np.ndarray | None = None
) -> dict[str, float]:
    """The figures of ``model`` on a whole split, in float32, its accuracy (share of targets that were likeliest) and
    ``unknown`` (share of targets that are the unknown piece: what they stand for is not paid for in bits per byte).

    Windows of ``context`` tokens for a Transformer; ``batch`` streams with carried state for a recurrent model.
    ``rows`` sequences are in memory at once. ``costs`` (n_tokens,) float64 is filled with the nats of each token.
    """
    where = next(model.parameters()).device
    reading = (Streams if model.carries_state else Windows)(shards, batch, context, seed=None)
    was_training = model.training
    model.eval()
    nats, right = 0.0, 0
    states: list[State] = [None] * -(-batch // rows)
    try:
        for piece in Prefetch(reading, 0, reading.steps_per_epoch, _same):
            scored = []
            for number, start in enumerate(range(0, batch, rows)):
                inputs, targets = (
                    torch.from_numpy(x[start : start + rows]).to(where) for x in (piece.inputs, piece.targets)
                )
                before = states[number] if model.carries_state else None
                each, hits, states[number] = model.score(inputs, targets, before)
                scored.append(each)
                right += int(hits.sum())
            each = torch.cat(scored)
            nats += float(each.sum())
            if costs is not None:
                for start, row, known in zip(piece.starts, each.cpu().numpy(), piece.targets >= 0, strict=True):
                    count = int(known.sum())
                    costs[start : start + count] = row[:count]
    finally:
        model.train(was_training)
    return {
        **figures(nats, shards.n_tokens, shards.n_bytes),
        "accuracy": right / shards.n_tokens,
        "unknown": unknown(shards),
        "tokens": shards.n_tokens,
        "bytes": shards.n_bytes,
    }


def unknown(shards: Shards) -> float:
    """Share of the tokens of a split that are the unknown piece."""
    number = shards.special_ids.get("unk", -1)
    return sum(int((tokens == number).sum()) for tokens in shards.shard_tokens()) / max(shards.n_tokens, 1)


def _same(batch: Batch) -> Batch:
    return batch


def by_group(shards: Shards, costs: np.ndarray, groups: list[str]) -> dict[str, dict[str, float]]:
    """The figures of each group of documents; ``costs`` (n_tokens,) nats, ``groups`` one name a document."""
    nats = np.add.reduceat(costs, shards.offsets[:-1])
    lengths = np.diff(shards.offsets)
    sizes = shards.facts()["n_bytes"].to_numpy()
    names, number = np.unique(groups, return_inverse=True)
    total, tokens, n_bytes = (np.bincount(number, weights=x, minlength=len(names)) for x in (nats, lengths, sizes))
    return {
        str(name): {**figures(total[i], int(tokens[i]), int(n_bytes[i])), "tokens": int(tokens[i])}
        for i, name in enumerate(names)
    }


def languages(shards: Shards, documents: Path) -> list[str] | None:
    """The language of each document of a split, from the corpus's ``documents`` folder; None where that is not there.

    A document that it lacks is of language "unknown".
    """
    if not documents.is_dir():
        return None
    wanted = shards.facts()["doc_id"].combine_chunks()
    found: dict[bytes, str] = {}
    for path in sorted(documents.rglob("*.parquet")):
        part = pq.read_table(path, columns=["id", "language"])
        part = part.filter(pc.is_in(part["id"].cast(pa.binary()), value_set=wanted.cast(pa.binary())))
        found.update(zip(part["id"].to_pylist(), part["language"].to_pylist(), strict=True))
    return [found.get(one) or "unknown" for one in wanted.to_pylist()]


def load_model(
    run_dir: str | Path, where: str = "cpu", context: int | None = None
) -> tuple[LanguageModel, checkpoint.Checkpoint]:
    """The model of a run's latest checkpoint on device ``where``, ready for use.

    ``context``: another context length than in training, for a Transformer. The run may be in training: a checkpoint
    that gives way to the next while it is read is read again as that next one.
    """
    run = Path(run_dir)
    named = snapshot.pointer(run)
    while True:
        try:
            return _load_latest(run, where, context)
        except CorpusmillError:
            before, named = named, snapshot.pointer(run)
            if named == before:
                raise


def _load_latest(run_dir: Path, where: str, context: int | None) -> tuple[LanguageModel, checkpoint.Checkpoint]:
    saved = checkpoint.latest(run_dir)
    if saved is None:
        raise CorpusmillError("no checkpoint here", file=str(run_dir), mend="corpusmill train CORPUS_TOML")
    config = TrainConfig.model_validate(saved.described["config"])
    if context is not None and context < 1:
        raise UsageError(f"context {context}: want at least 1", mend="--context 256, or leave it out")
    if context is not None and not isinstance(config.model, TransformerConfig):
        raise UsageError(
            f"a context is for a Transformer: a {config.model.kind} carries its state on and on",
            mend="leave out --context",
        )
    eos = saved.described["special_ids"]["eos"]
    model = build(config.model, saved.described["vocab_size"], context or config.context, eos)
    saved.load_into(model)
    return model.to(device.choose(where)).eval(), saved


def check_tokenizer(found: str, vocab_size: int, described: dict[str, Any], what: str) -> None:
    """Refuse data or a tokenizer whose token ids mean something else to this model."""
    if found == described["tokenizer_sha256"] and vocab_size == described["vocab_size"]:
        return
    raise CorpusmillError(
        f"another tokenizer than the model's: {vocab_size} pieces, SHA-256 {found}; the model was trained with "
        f"{described['vocab_size']} pieces, SHA-256 {described['tokenizer_sha256']}",
        file=what,
        mend="give the tokenizer or shards of the corpus that the model was trained on, or train again",
    )


def evaluate_run(
    run_dir: str,
    shards_dir: str | None = None,
    where: str = "cpu",
    context: int | None = None,
    split: str = "validation",
) -> dict[str, Any]:
    """The figures of a trained run on a held-out split (validation or test) of its own shards, or of others of the same
    tokenizer.

    Gives, by the name of the split, its figures (see `evaluate`), ``sources`` and ``languages`` (the same for each,
    without accuracy and unknown; languages where the corpus's documents lie beside the shards), ``unigram`` and
    ``ngram`` (loss, perplexity, bits_per_byte; counted on the training split of the same shards), ``step``, the
    ``fingerprint`` of the shards and that of those it was ``trained_on``: where they differ, it may have read what it
    is judged by. ``where``: auto, cpu or cuda; ``context``: tokens a window, default as in training.
    """
    model, saved = load_model(run_dir, where, context)
    config = TrainConfig.model_validate(saved.described["config"])
    folder = shards_dir or str(Path(run_dir, saved.described["shards"]).resolve())
    training, held_out = open_shards(folder, "train"), _held_out(folder, split)
    check_tokenizer(held_out.tokenizer_sha256, held_out.vocab_size, saved.described, folder)
    costs = np.empty(held_out.n_tokens)
    rows = config.micro_batch or config.batch // (config.processes or 1)
    found = evaluate(model, held_out, config.batch, context or config.context, rows, costs)
    spoken = languages(held_out, Path(folder).parent / "documents")
    return {
        "step": saved.step,
        "fingerprint": held_out.fingerprint,
        "trained_on": saved.described["fingerprint"],
        split: found,
        "sources": by_group(held_out, costs, held_out.facts()["source"].to_pylist()),
        "languages": by_group(held_out, costs, spoken) if spoken else {},
        **baselines(training, held_out),
    }


def _held_out(folder: str, split: str) -> Shards:
    """A split to judge by; CorpusmillError where it is empty or the shards have none of that name."""
    mend = f"give shards.{split} a larger share, then train without it: corpusmill build CORPUS_TOML"
    splits = read_index(folder)["splits"]
    if split not in splits:
        raise CorpusmillError(f"no split {split} here; there are {', '.join(sorted(splits))}", file=folder, mend=mend)
    shards = open_shards(folder, split)
    if not shards.n_tokens:
        raise CorpusmillError(f"the {split} split is empty", file=folder, mend=mend)
    return shards
