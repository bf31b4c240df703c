"""Train the tokenizer on a hash sample of the kept documents, or take the model that the user brought."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config, Tokenizer
from pipeline.dedup import lsh
from pipeline.errors import CorpusmillError, UsageError
from pipeline.ledger import Counts, Ledger, Row, Unit, digest
from pipeline.schema import ID_BYTES
from pipeline.stages import versions
from pipeline.stages.documents import kept
from pipeline.stages.parts import write_file
from pipeline.storage import Root, open_input
from tokenizer import encode, export, train
from tokenizer.sample import choose

STAGE = "tokenizer"
VERSION = 1
FOLDERS = ("tokenizer",)
MODEL = "tokenizer/tokenizer.model"


def plan(config: Config, documents_digest: str) -> Unit:
    """The one unit: it depends on all kept documents, or on the model that was brought."""
    settings = config.tokenizer.model_dump(exclude={"model"})
    spec: dict[str, Any] = {"tokenizer": settings}
    made_from: Any = [settings, documents_digest]
    if config.tokenizer.model:
        made_from = hashlib.sha256(_brought(config.tokenizer.model)).hexdigest()
        spec |= {"model": config.tokenizer.model, "sha256": made_from}
    return Unit(STAGE, "tokenizer", digest([STAGE, VERSION, versions.of_tokens(), made_from]), 1, spec)


def check(config: Config) -> None:
    """Raise UsageError for what can be told to be wrong before there is a document."""
    settings = config.tokenizer
    if settings.model:
        _brought(settings.model)
        return
    _options(settings)
    kept = config.clean.languages
    if kept and (unknown := sorted(settings.weights.keys() - set(kept))):
        raise UsageError(
            f"tokenizer.weights: {unknown[0]!r} is none of clean.languages; there are {', '.join(kept)}",
            mend=f"leave {unknown[0]} out of tokenizer.weights, or add it to clean.languages",
        )


def process(root: Root, unit: Unit) -> Row:
    """Choose the sample and train, or take the model that was brought; commit model, vocabulary and manifest."""
    settings = Tokenizer.model_validate(unit.spec["tokenizer"])
    counts = Counts()
    if "model" in unit.spec:
        trained = train.describe(_brought(unit.spec["model"]))
        if trained.manifest["model_sha256"] != unit.spec["sha256"]:
            raise CorpusmillError("the model changed during the build", file=unit.spec["model"], mend="build again")
    else:
        trained = _train(root, settings, counts)
    manifest = trained.manifest
    files = {"tokenizer.model": trained.model, "tokenizer.vocab": trained.vocabulary.encode()}
    try:
        files |= export.files(encode.load(trained.model))
    except CorpusmillError as error:  # sentencepiece alone loads it: what transformers would do differently is said
        manifest = {**manifest, "no_transformers": error.cause}
    files["manifest.json"] = json.dumps(manifest, indent=1, sort_keys=True).encode()
    outputs = [write_file(root, f"tokenizer/{name}", data) for name, data in sorted(files.items())]
    return Row(STAGE, unit.name, unit.key, outputs, counts, code=f"{STAGE}.{VERSION}")


def _brought(path: str) -> bytes:
    """The bytes of a model that the configuration names; UsageError where it is none."""
    try:
        with open_input(path) as file:
            content = file.read()
        train.describe(content)
    except (OSError, CorpusmillError) as error:
        cause = error.cause if isinstance(error, CorpusmillError) else error.strerror or str(error)
        raise UsageError(
            f"tokenizer.model: {cause}", file=path, mend="name a .model file of SentencePiece, or leave the key out"
        ) from error
    return content


def _options(settings: Tokenizer) -> train.TokenizerOptions:
    """The options of training that the settings mean; UsageError for symbols that cannot be."""
    return train.TokenizerOptions(
        kind=settings.kind,
        vocab_size=settings.vocab_size,
        character_coverage=settings.character_coverage,
        byte_fallback=settings.byte_fallback,
        split_digits=settings.split_digits,
        normalizer=settings.normalizer,
        user_symbols=tuple(settings.user_symbols),
        reserved=settings.reserved,
    )


def _train(root: Root, settings: Tokenizer, counts: Counts) -> train.Trained:
    """Train on a sample of the kept documents, and count it."""
    options = _options(settings)
    found = sample(root, settings.sample, settings.seed, settings.temperature, settings.weights)
    trained = train.train((found.texts[row] for row in found.order), options)
    counts.read, counts.kept = found.documents, len(found.order)
    if found.documents > len(found.order):
        counts.drop("not_in_sample", found.documents - len(found.order))
    counts.measure("sample_bytes", found.bytes)
    return trained


class Sample(NamedTuple):
    """Chosen documents: how many there were, bytes chosen, rows in the order of a hash, texts and languages by row."""

    documents: int
    bytes: int
    order: list[int]
    texts: dict[int, str]
    languages: dict[int, str]


def sample(
    root: Root, target_bytes: int, seed: int = 0, temperature: float = 1.0, weights: Mapping[str, float] | None = None
) -> Sample:
    """Choose kept documents of at most ``target_bytes`` in all, balanced by language: see `tokenizer.sample.choose`."""
    ledger = Ledger(root)
    if ledger.stage("dedup") is None:
        raise CorpusmillError("the dedup stage is not complete here", file=root.url, mend="corpusmill build CONFIG")
    parts = ledger.units("dedup")
    columns = [_facts(batch) for part in parts for batch in kept(root, part, ["id", "text", "language"])]
    if not columns:
        raise CorpusmillError("no document was kept: there is no text to train on", mend="relax the rules of [clean]")
    ids, sizes, languages = (np.concatenate(column) for column in zip(*columns, strict=True))
    mask, order = choose(ids, sizes, languages, target_bytes, seed=seed, temperature=temperature, weights=weights)
    rows = np.flatnonzero(mask).tolist()
    texts = dict(zip(rows, _texts(root, parts, mask), strict=True))
    return Sample(len(mask), int(sizes[mask].sum()), order.tolist(), texts, {row: str(languages[row]) for row in rows})


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
