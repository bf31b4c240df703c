"""Train the tokenizer on a hash sample of the kept documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config, Tokenizer
from pipeline.dedup import lsh
from pipeline.errors import CorpusmillError
from pipeline.ledger import Counts, Ledger, Row, Unit, digest
from pipeline.schema import ID_BYTES
from pipeline.stages.documents import kept
from pipeline.stages.parts import write_file
from pipeline.storage import Root
from tokenizer import encode, export, train
from tokenizer.sample import choose

STAGE = "tokenizer"
VERSION = 1
FOLDERS = ("tokenizer",)
MODEL = "tokenizer/tokenizer.model"


def plan(config: Config, documents_digest: str) -> Unit:
    """The one unit: it depends on all kept documents."""
    settings = config.tokenizer.model_dump()
    return Unit(STAGE, "tokenizer", digest([STAGE, VERSION, settings, documents_digest]), 1, {"tokenizer": settings})


def process(root: Root, unit: Unit) -> Row:
    """Choose the sample, train, commit model, vocabulary and manifest."""
    settings = Tokenizer.model_validate(unit.spec["tokenizer"])
    options = train.TokenizerOptions(
        kind=settings.kind,
        vocab_size=settings.vocab_size,
        byte_fallback=settings.byte_fallback,
        split_digits=settings.split_digits,
        normalizer=settings.normalizer,
        user_symbols=tuple(settings.user_symbols),
    )
    parts = sorted(Ledger(root).rows("dedup"))
    columns = [_facts(batch) for part in parts for batch in kept(root, part, ["id", "text", "language"])]
    if not columns:
        raise CorpusmillError("no document was kept: there is no text to train on", mend="relax the rules of [clean]")
    ids, sizes, languages = (np.concatenate(column) for column in zip(*columns, strict=True))
    mask, order = choose(ids, sizes, languages, settings.sample, seed=settings.seed, temperature=settings.temperature)
    chosen = dict(zip(np.flatnonzero(mask).tolist(), _texts(root, parts, mask), strict=True))
    trained = train.train((chosen[row] for row in order.tolist()), options)
    files = {
        "tokenizer.model": trained.model,
        "tokenizer.vocab": trained.vocabulary.encode(),
        "manifest.json": json.dumps(trained.manifest, indent=1, sort_keys=True).encode(),
    }
    if settings.normalizer == "identity":  # the only one that transformers reproduces exactly: see tokenizer/export.py
        files |= export.files(encode.load(trained.model))
    outputs = [write_file(root, f"tokenizer/{name}", data) for name, data in sorted(files.items())]
    counts = Counts(read=len(mask), kept=int(mask.sum()))
    if len(mask) > mask.sum():
        counts.drop("not_in_sample", int(len(mask) - mask.sum()))
    counts.measure("sample_bytes", int(sizes[mask].sum()))
    return Row(STAGE, unit.name, unit.key, outputs, counts, code=f"{STAGE}.{VERSION}")


def facts(root: Root) -> dict[str, Any]:
    """What shards state about their tokenizer: digest, vocabulary size, special ids."""
    model = encode.load(root.read(MODEL))
    return {"tokenizer_sha256": model.sha256, "vocab_size": model.vocab_size, "special_ids": model.special_ids}


def _facts(batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids (documents, 16), text sizes and languages of a batch."""
    ids = lsh.ids_from_arrow(batch.column("id")).view(np.uint8).reshape(-1, ID_BYTES)
    sizes = pc.binary_length(batch.column("text")).to_numpy(zero_copy_only=False)
    return ids, sizes, np.array(batch.column("language").to_pylist(), dtype=object)


def _texts(root: Root, parts: list[str], mask: np.ndarray) -> Iterator[str]:
    """The texts of the chosen rows, in the order of the parts."""
    first = 0
    for part in parts:
        for batch in kept(root, part, ["text"]):
            yield from batch.column("text").filter(pa.array(mask[first : first + batch.num_rows])).to_pylist()
            first += batch.num_rows
