"""What a model costs on a whole split: nats a token, perplexity, bits a byte, beside a unigram model.

Bits per byte compares models of different vocabularies: all nats of the split over ln 2 over the UTF-8 bytes of its
texts. Every token is scored, the first of the split and the ends of documents too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import CorpusmillError
from pipeline.shards.read import Shards, open_shards
from train import checkpoint
from train.batches import Streams, Windows, prefetch
from train.config import TrainConfig
from train.model import LanguageModel, build


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


def evaluate(model: LanguageModel, shards: Shards, batch: int, context: int) -> dict[str, float]:
    """The figures of ``model`` on a whole split, in float32, and its accuracy (share of targets that were likeliest).

    Windows of ``context`` tokens for a Transformer; ``batch`` streams with carried state for a recurrent model.
    """
    device = next(model.parameters()).device
    reading = (Streams if model.carries_state else Windows)(shards, batch, context, seed=None)
    was_training = model.training
    model.eval()
    nats, right, state = 0.0, 0, None
    for piece in prefetch(reading, 0, reading.steps_per_epoch):
        inputs, targets = torch.from_numpy(piece.inputs).to(device), torch.from_numpy(piece.targets).to(device)
        cost, hits, state = model.score(inputs, targets, state if model.carries_state else None)
        nats, right = nats + cost, right + hits
    model.train(was_training)
    return {
        **figures(nats, shards.n_tokens, shards.n_bytes),
        "accuracy": right / shards.n_tokens,
        "tokens": shards.n_tokens,
        "bytes": shards.n_bytes,
    }


def load_model(run_dir: str | Path) -> tuple[LanguageModel, checkpoint.Checkpoint]:
    """The model of a run's latest checkpoint, on the CPU, ready for use."""
    saved = checkpoint.latest(Path(run_dir))
    if saved is None:
        raise CorpusmillError("no checkpoint here", file=str(run_dir), mend="corpusmill train CORPUS_TOML")
    config = TrainConfig.model_validate(saved.described["config"])
    model = build(config.model, saved.described["vocab_size"], config.context)
    model.load_state_dict(saved.weights())
    return model.eval(), saved


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


def evaluate_run(run_dir: str, shards_dir: str | None = None) -> dict[str, Any]:
    """The figures of a trained run on the validation split of its own shards, or of others of the same tokenizer.

    Gives ``validation`` (loss, perplexity, bits_per_byte, accuracy, tokens, bytes), ``unigram`` (loss, perplexity,
    bits_per_byte; counted on the training split of the same shards), ``step`` and ``fingerprint`` of the shards.
    """
    model, saved = load_model(run_dir)
    config = TrainConfig.model_validate(saved.described["config"])
    folder = shards_dir or str(Path(run_dir, saved.described["shards"]).resolve())
    training, validation = open_shards(folder, "train"), open_shards(folder, "validation")
    check_tokenizer(validation.tokenizer_sha256, validation.vocab_size, saved.described, folder)
    return {
        "step": saved.step,
        "fingerprint": validation.fingerprint,
        "validation": evaluate(model, validation, config.batch, config.context),
        "unigram": unigram(training, validation),
    }
