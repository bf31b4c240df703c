"""Ingest one unit of a dump: parse, identify the language, judge, sign. Every record becomes a row somewhere."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import progress
from pipeline.config import Config, MinHash, Source
from pipeline.dedup import lsh, minhash
from pipeline.errors import InputError
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.parse import mediawiki, mediawiki_units, warc, warc_urls
from pipeline.parse.record import Parsed
from pipeline.schema import DOCUMENTS, DROPPED, signatures_schema
from pipeline.stages import versions
from pipeline.stages.judge import Judge, count, find_material, judge_of
from pipeline.stages.judge import settings as clean_settings
from pipeline.stages.parts import writing_parts
from pipeline.storage import Root
from pipeline.units import find_inputs, unit_name

STAGE = "ingest"
VERSION = 14  # raise it when the same input and configuration give other output
FOLDERS = ("documents", "dropped", "signatures", "statistics")

_BATCH_RECORDS = 1024
_BATCH_CHARACTERS = 4_000_000


def plan(config: Config, root: Root, remember: bool = True) -> list[Unit]:
    """The units of all inputs. A unit's key covers its bytes of the file, the settings that ingest reads, and the
    versions of the libraries that have a say in its documents."""
    sources = {source.name: source for source in config.source}
    material = find_material(config.clean)
    judge = Judge(config.clean, material)  # what cannot be used is refused before any unit is started
    if judge.benchmark and judge.benchmark.short:
        short, every = len(judge.benchmark.short), len(judge.benchmark.items)
        progress.say(f"{short} of {every} benchmark items have too few words for an n-gram and are not looked for")
    installed = {name: versions.of_ingest(source, config.clean) for name, source in sources.items()}
    cleaning = {"clean": config.clean.model_dump(), "material": material.to_json()}
    items = find_inputs(config, root, remember)
    newer = {name: mediawiki_units.superseded(item.name for item in items if item.source == name) for name in sources}

    @cache
    def settings_of(name: str, superseded_by: str) -> dict[str, Any]:
        """What units have in common: once in memory, however many they are."""
        source = sources[name]
        return {
            "source": source.model_dump(exclude={"paths", "licence"}),
            "blocklists": {path: warc_urls.content(path) for path in source.web.blocklists},
            "clean": clean_settings(config.clean, material),
            "minhash": config.dedup.minhash.model_dump(),
            "superseded_by": superseded_by,
            "versions": installed[name],
        }

    units = []
    for item in items:
        settings = settings_of(item.source, newer[item.source].get(item.name, ""))
        for start, stop in item.cuts:
            inputs = {"file": item.name, "bytes": item.bytes, "content": item.content, "start": start, "stop": stop}
            inputs["published"] = item.published
            key = digest([STAGE, VERSION, settings, inputs])
            spec = {"path": item.path, "inputs": inputs, **settings, **cleaning}
            units.append(Unit(STAGE, unit_name(item.source, item.name, start), key, stop - start, spec))
    return units


def process(root: Root, unit: Unit) -> Row:
    """Read one unit to its end and commit its documents, dropped records and signatures.

    A file fault keeps every whole record before it and is recorded in the row.
    """
    spec = unit.spec
    source = Source.model_validate({**spec["source"], "paths": [spec["path"]]})
    judge = judge_of(json.dumps(spec["clean"]), json.dumps(spec["material"]))
    params = MinHash.model_validate(spec["minhash"]).params()
    inputs = spec["inputs"]
    counts = Counts()
    fault = ""
    with writing_parts(root) as parts:
        documents = parts.add(f"documents/{unit.name}.parquet", DOCUMENTS)
        dropped = parts.add(f"dropped/{unit.name}.parquet", DROPPED)
        signatures = parts.add(f"signatures/{unit.name}.parquet", signatures_schema(params.bands, params.stamp()))
        statistics = None
        if judge.clean.statistics:
            statistics = parts.add(f"statistics/{unit.name}.parquet", judge.statistics_schema)
        parser: Any = mediawiki if source.format == "wikimedia" else warc
        options = parse_options(source, superseded=bool(spec["superseded_by"]))
        records = parser.parse(spec["path"], inputs["start"], inputs["stop"], options)
        try:
            for batch in in_batches(records):
                counts.read += len(batch)
                judged = judge.judge(batch, source.name, inputs["file"])
                documents.write(judged.kept)
                dropped.write(judged.dropped)
                signatures.write(sign(judged.kept, params))
                if statistics and judged.statistics:
                    statistics.write(judged.statistics)
                count(counts, judged)
        except InputError as error:
            # by the file's name, not its path: the row must not depend on where the dumps lie
            fault = str(InputError(error.cause, file=inputs["file"], offset=error.offset, mend=error.mend))
    if inputs["published"] is None:
        counts.measure("unverified_bytes", inputs["stop"] - inputs["start"])
    elif inputs["published"] != inputs["bytes"] and inputs["stop"] == inputs["bytes"] and not fault:
        # cut between two members, which nothing inside the file can tell
        cause = f"the file has {inputs['bytes']} bytes and the publisher's has {inputs['published']}"
        fault = str(InputError(cause, file=inputs["file"], offset=inputs["bytes"], mend="fetch the file again"))
    return Row(STAGE, unit.name, unit.key, parts.outputs, counts, fault, inputs, f"{STAGE}.{VERSION}")


def parse_options(source: Source, *, superseded: bool = False) -> mediawiki.Options | warc.Options:
    """The parser's options that the source's settings mean; ``superseded``: see `mediawiki_units.superseded`."""
    if source.format == "wikimedia":
        rendering = source.wikitext.options()
        return mediawiki.Options(
            tuple(source.namespaces), rendering=rendering, source=source.name, superseded=superseded
        )
    return source.web.options()


def in_batches(records: Iterable[Parsed]) -> Iterator[list[Parsed]]:
    """Group records by number and size of text. What was read before a file fault is delivered before it is raised."""
    batch: list[Parsed] = []
    characters = 0
    try:
        for record in records:
            batch.append(record)
            characters += len(record.text)
            if len(batch) >= _BATCH_RECORDS or characters >= _BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
    except InputError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def sign(documents: pa.RecordBatch, params: minhash.MinHashParams) -> pa.RecordBatch:
    """The signature rows of a batch of documents."""
    texts = documents.column("text")
    schema = signatures_schema(params.bands, params.stamp())
    hashes = minhash.band_hashes(minhash.signatures(texts, params), params)
    bands = pa.FixedSizeListArray.from_arrays(pa.array(hashes.reshape(-1)), type=schema.field("bands").type)
    exact = lsh.ids_to_arrow(minhash.text_hashes(texts))
    size = pc.binary_length(texts).cast(pa.int64())
    return pa.record_batch([documents.column("id"), exact, size, bands], schema=schema)
