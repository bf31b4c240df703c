"""What a build will take, before it is started: units, hours of a core, exchange, memory, disk.

Sizes are read from listings. Rates are this machine's own, from a calibration: the heads of the dumps, mixed as the
dumps are, are built in a scratch folder at two sizes, and each stage's cost is the line through the two. What the
exchange of the dedup stage costs shows only at millions of documents, so it is measured on made-up signatures.
The head of a dump is not its average page (Wikipedia's oldest articles come first), so take it as an estimate.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.build import Builder, useful_workers
from pipeline.config import Config, Source
from pipeline.dedup import lsh
from pipeline.dedup.components import EMPTY, forest_add
from pipeline.errors import CorpusmillError
from pipeline.ledger import Ledger, Unit
from pipeline.storage import Root, open_input, scratch, size_of, sweep_scratch
from pipeline.units import find_files, parser_of

STAGES = ("ingest", "dedup", "tokenizer", "shards")

_SPREAD = 16  # files of a source whose heads are read
_STEPS = (0.2, 0.4, 1.0)  # of the sample: one build to warm up, two to draw the line through
_VOCABULARIES = (32_000, 8_000, 2_000, 500)  # what little text may support, where it does not support the one wanted
_SIGNATURES = 200_000
_WORKER_START = 5.0  # seconds


def estimate(config: Config, sample: int, workers: int = 1) -> dict[str, Any]:
    """The plan of a build with ``workers`` processes, from a calibration on ``sample`` bytes of the dumps.

    Returns files, bytes and units of the input; for each stage the seconds of one core, the seconds with the workers
    and the peak memory of a process; the documents kept, the bytes exchanged by dedup, and the bytes on disk by folder.
    """
    sizes = {source.name: {p: size_of(p) for p in find_files(source).values()} for source in config.source}
    total = sum(sum(files.values()) for files in sizes.values())
    if not total:
        raise CorpusmillError("the dumps are empty: there is nothing to plan", mend="correct source.paths")
    points: list[dict[str, Any]] = []
    sweep_scratch()  # a calibration that was killed leaves gigabytes
    with scratch() as folder:
        for step in _STEPS:
            points.append(_calibrate(config, sizes, min(total, sample) * step, Path(folder) / str(step)))
    _, small, large = points
    scale = total / large["bytes"]
    documents = large["documents"] * scale
    whole = {name: size * (scale if name != "tokenizer" else 1) for name, size in large["disk"].items()}
    stages = {}
    for stage in STAGES:
        read = total
        if stage == "tokenizer":  # it reads all documents to choose, but trains on so much text at most
            read = min(total, config.tokenizer.sample / max(large["text"], 1) * large["bytes"])
        if stage == "dedup":
            seconds = small["seconds"][stage] + documents * (large["written"] + _exchange(config))
        else:
            slope = (large["seconds"][stage] - small["seconds"][stage]) / max(large["bytes"] - small["bytes"], 1)
            slope = max(slope, 0.0) if large["bytes"] > small["bytes"] else large["seconds"][stage] / large["bytes"]
            seconds = max(large["seconds"][stage] + slope * (read - large["bytes"]), 0.0)
        n = 1 if stage == "tokenizer" else _processes(config, stage, workers, total, documents, large, scale)
        stages[stage] = {
            "core_seconds": seconds,
            "workers": n,
            "seconds": seconds / n + (_WORKER_START if n > 1 else 0.0),
            "peak_memory": large["peaks"].get(stage, 0),
        }
    exchange = documents * _bytes_exchanged(config)
    stages["dedup"]["peak_memory"] += int(exchange)  # Beam's own runner keeps all of it in memory
    return {
        "files": sum(map(len, sizes.values())),
        "bytes": total,
        "units": _units(config, sizes, large["cuttable"]),
        "sample": large["bytes"],
        "documents": round(documents),
        "stages": stages,
        "exchange": round(exchange),
        "disk": {name: round(size) for name, size in whole.items()},
    }


def _calibrate(config: Config, sizes: dict[str, dict[str, int]], sample: float, folder: Path) -> dict[str, Any]:
    """Build the heads of the dumps, ``sample`` bytes in all; what it took, stage by stage."""
    total = sum(sum(files.values()) for files in sizes.values())
    sources, read, cuttable = [], 0, {}
    for source in config.source:
        files = sorted(sizes[source.name].items())
        chosen = files[:: math.ceil(len(files) / _SPREAD)]
        share = sample * sum(size for _, size in files) / total / max(sum(size for _, size in chosen), 1)
        heads = []
        for number, (path, size) in enumerate(chosen):
            head = folder / source.name / str(number) / path.rsplit("/", 1)[-1]
            head.parent.mkdir(parents=True)
            with open_input(path) as file:
                head.write_bytes(file.read(max(math.ceil(size * min(share, 1.0)), 1)))
            heads.append(str(head))
            read += head.stat().st_size
            cuttable[path] = _cuttable(source, str(head))
        sources.append(source.model_copy(update={"paths": heads}))
    corpus = str(folder / "corpus")
    small = config.model_copy(update={"source": sources, "root": corpus, "run": {}})
    seconds = {}
    for stage in STAGES:
        began = time.perf_counter()
        small = _build_stage(small, stage)
        seconds[stage] = time.perf_counter() - began
    root = Root(corpus)
    rows = {stage: list(Ledger(root).rows(stage).values()) for stage in STAGES}
    kept = sum(row.counts.kept for row in rows["ingest"])
    disk: dict[str, int] = {}
    for row in (row for stage in STAGES for row in rows[stage]):
        for output in row.outputs:
            place = output["path"].split("/")[0]
            disk[place] = disk.get(place, 0) + output["bytes"]
    return {
        "bytes": read,
        "documents": kept,
        "text": sum(row.counts.amounts.get("text_bytes", 0) for row in rows["ingest"]),
        "seconds": seconds,
        "written": sum(row.took["seconds"] for row in rows["dedup"]) / max(kept, 1),
        "peaks": {stage: max((row.took["peak_memory"] for row in rows[stage]), default=0) for stage in STAGES},
        "disk": disk,
        "cuttable": cuttable,
    }


def _build_stage(config: Config, stage: str) -> Config:
    """Build up to a stage, with another vocabulary where the sample supports not this; returns what was built."""
    for size in (config.tokenizer.vocab_size, *_VOCABULARIES):
        tried = config.model_copy(update={"tokenizer": config.tokenizer.model_copy(update={"vocab_size": size})})
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # the progress of a build that no one asked for
                Builder(tried).build(stage)
            return tried
        except CorpusmillError as error:
            if stage != "tokenizer":
                raise
            refusal = error
    mend = "corpusmill plan CONFIG --sample, with more bytes than now"
    raise CorpusmillError("the sample is too small to train a tokenizer on", file=config.name, mend=mend) from refusal


def _cuttable(source: Source, head: str) -> bool:
    """Whether a file of this kind is cut into units, seen on its head."""
    try:
        return len(parser_of(source.format).cut(head, size_of(head) // 8 + 1)) > 1
    except CorpusmillError:
        return False


def _units(config: Config, sizes: dict[str, dict[str, int]], cuttable: dict[str, bool]) -> int:
    """Work units of all files; a file whose head was not read is taken to be like those of its source that were."""
    units = 0
    for files in sizes.values():
        seen = [cuttable[path] for path in files if path in cuttable]
        for path, size in files.items():
            cut = cuttable.get(path, any(seen))
            units += max(1, round(size / config.unit)) if cut else 1
    return units


def _bytes_exchanged(config: Config) -> int:
    """What one document sends through the exchange of the dedup stage: its record, its text hash, its bands."""
    size = lsh.KEY_RECORD.itemsize
    if config.dedup.exact:
        size += lsh.KEY_RECORD.itemsize
    if config.dedup.near:
        size += config.dedup.minhash.bands * lsh.BAND_RECORD.itemsize
    return size


def _exchange(config: Config) -> float:
    """Seconds a document takes to meet all others, in packed blocks: measured on made-up signatures."""
    random = np.random.default_rng(0)
    documents = np.arange(_SIGNATURES)
    bands = config.dedup.minhash.bands + 2 if config.dedup.near else 2
    hashes = random.integers(0, 1 << 62, (_SIGNATURES, bands), dtype=np.uint64)
    began = time.perf_counter()
    forest = EMPTY
    for band in range(bands):
        for block in lsh.pack_band(hashes[:, band], documents).values():
            forest = forest_add(forest, lsh.star(block, lsh.BAND_RECORD))
    return (time.perf_counter() - began) / _SIGNATURES


def _processes(
    config: Config, stage: str, limit: int, total: int, documents: float, sample: dict[str, Any], scale: float
) -> int:
    """The worker processes that the stage will start."""
    pieces = max(1, math.ceil(total / config.unit))
    tokens = sample["disk"].get("shards", 0) * scale / 2
    measure = {"ingest": total, "dedup": documents, "shards": max(documents, tokens / 10_000)}[stage]
    name = "encode" if stage == "shards" else stage
    return useful_workers(limit, [Unit(name, str(i), "", math.ceil(measure / pieces), {}) for i in range(pieces)])
