"""What a build will take, before it is started: units, hours of a core, exchange, memory, disk.

Sizes are read from listings. Rates are this machine's own, from a calibration: the heads of the dumps, mixed as the
dumps are, are built in a scratch folder at two sizes, and each stage's seconds and memory are the line through the two,
drawn on to what the stage will read or hold. Processes of their own build them, so that no stage is measured in the
memory of another. What the exchange of the dedup stage costs shows only at millions of documents, so its time is
measured on made-up signatures and its memory computed. The head of a dump is not its average page (Wikipedia's oldest
articles come first), so take it as an estimate.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.build import Builder, useful_workers
from pipeline.config import Config, Source
from pipeline.dedup import lsh
from pipeline.dedup.components import EMPTY, forest_add
from pipeline.errors import CorpusmillError
from pipeline.ledger import Ledger, Unit
from pipeline.memory import peak_memory
from pipeline.stages import exchange
from pipeline.stages.documents import kept
from pipeline.stages.parts import ROW_GROUP_BYTES, reading
from pipeline.storage import Root, open_input, scratch, size_of, sweep_scratch
from pipeline.units import cut, find_files

STAGES = ("ingest", "dedup", "tokenizer", "shards")

_SPREAD = 16  # files of a source whose heads are read
_WARM, _SMALL = 0.1, 0.3  # of the sample: what is built to warm up, and for the other end of the line
_VOCABULARIES = (32_000, 8_000, 2_000, 500)  # what little text may support, where it does not support the one wanted
_SIGNATURES = 200_000
_COMMITS = 50  # small files written, to know what one takes
_CARRIED = 3  # times what comparing takes: Beam groups and copies the blocks; 2 to 4 on 390,000 to 500,000 documents
_WRITTEN = 7  # files a unit of the dedup stage: claims, gone, verdicts, part, row
_LOOK = 3  # times what opening a part takes: a shard opens each exchange file twice, and reads a row group or two
_TIMES = 3  # a stage of so few seconds is timed that often: its line is drawn on a hundredfold
_WORKER_START = 5.0  # seconds
_ROW_GROUP_READ = 4  # bytes of memory a byte of text in the row group that is read


@dataclass(frozen=True)
class Point:
    """What a build of the heads of the dumps took, stage by stage."""

    bytes: int  # of dumps
    documents: int  # kept by ingest
    text: int  # their bytes
    unit: int  # text bytes of the largest unit
    tokens: int
    seconds: dict[str, float]
    peaks: dict[str, int]
    disk: dict[str, int]  # bytes by folder
    written: float  # seconds a document to write what dedup found
    commit: float  # seconds to commit a small file
    opening: float  # seconds to open a part
    read: float  # seconds a byte of text to read the kept documents
    cuttable: dict[str, bool]  # whether a file is cut into units, by path


def estimate(config: Config, sample: int, workers: int = 1, memory: int = 4_000_000_000) -> dict[str, Any]:
    """The plan of a build with ``workers`` processes and ``memory`` (bytes) for deduplication, from a calibration on
    ``sample`` bytes of the dumps.

    Returns files, bytes and units of the input; for each stage the seconds of one core, the seconds with the workers
    and the peak memory of a process; the documents kept, the bytes exchanged by dedup, and the bytes on disk by folder.
    """
    sizes = {source.name: {p: size_of(p) for p in find_files(source).values()} for source in config.source}
    total = sum(sum(files.values()) for files in sizes.values())
    if not total:
        raise CorpusmillError("the dumps are empty: there is nothing to plan", mend="correct source.paths")
    sweep_scratch()  # a calibration that was killed leaves gigabytes
    sample = min(total, sample)
    with scratch() as folder:
        _alone(_heads(config, sizes, sample * _WARM, Path(folder, "warm"))[0], "ingest")  # compiles what is compiled
        large = _calibrate(config, sizes, sample, Path(folder, "large"))
        small = _calibrate(config, sizes, sample * _SMALL, Path(folder, "small")) if sample < total else large
    scale = total / large.bytes
    documents = large.documents * scale
    units = _units(config, sizes, large.cuttable)
    seconds = _seconds(config, small, large, scale, units)
    unit = _largest_unit(config, large, max(size for files in sizes.values() for size in files.values()))
    peaks = _peaks(config, small, large, scale, unit)
    text = round(large.text * scale)
    peaks["dedup"] = exchange.peak_memory(round(documents), config.dedup, memory, text, config.root)
    peaks["dedup"] -= _ROW_GROUP_READ * max(0.0, ROW_GROUP_BYTES - unit)  # it reckons with full row groups
    stages = {}
    for stage in STAGES:
        n = 1 if stage == "tokenizer" else _processes(config, stage, workers, total, documents, large, scale)
        stages[stage] = {
            "core_seconds": seconds[stage],
            "workers": n,
            "seconds": seconds[stage] / n + (_WORKER_START if n > 1 else 0.0),
            "peak_memory": round(peaks[stage]),
        }
    return {
        "files": sum(map(len, sizes.values())),
        "bytes": total,
        "units": units,
        "sample": large.bytes,
        "documents": round(documents),
        "stages": stages,
        "exchange": sum(exchange.met(round(documents), config.dedup, text).values()),
        "disk": {name: round(size * (scale if name != "tokenizer" else 1)) for name, size in large.disk.items()},
    }


def _seconds(config: Config, small: Point, large: Point, scale: float, units: int) -> dict[str, float]:
    """The seconds of one core that each stage takes for ``scale`` times the larger sample, in ``units``."""
    trained = [min(text, config.tokenizer.sample) for text in (small.text, large.text, large.text * scale)]
    found = {
        stage: _line((small.bytes, small.seconds[stage]), (large.bytes, large.seconds[stage]), large.bytes * scale)
        for stage in ("ingest", "shards")
    }
    shards = large.tokens * scale / config.shards.tokens
    found["shards"] += units * max(shards - 1, 0) * _LOOK * large.opening  # the sample has a shard or two
    found["tokenizer"] = _line(
        (trained[0], small.seconds["tokenizer"]), (trained[1], large.seconds["tokenizer"]), trained[2]
    )
    found["tokenizer"] += 2 * large.read * large.text * (scale - 1)  # all is read to choose, and once more to take
    found["dedup"] = small.seconds["dedup"] + units * _WRITTEN * large.commit
    found["dedup"] += large.documents * scale * (large.written + _CARRIED * _meeting(config))
    return found


def _largest_unit(config: Config, sample: Point, largest: int) -> float:
    """Bytes of text in the largest unit, where the largest file has so many bytes."""
    cut = any(sample.cuttable.values())
    return sample.text / sample.bytes * (min(largest, config.unit) if cut else largest)


def _peaks(config: Config, small: Point, large: Point, scale: float, unit: float) -> dict[str, float]:
    """The memory of a process in each stage but dedup: it grows with what is held at once, up to a limit. ``unit``:
    bytes of text in the largest one."""
    groups = [min(text, ROW_GROUP_BYTES) for text in (small.unit, large.unit, unit)]
    more = max(0.0, groups[2] - groups[1])
    trained = [min(text, config.tokenizer.sample) for text in (small.text, large.text, large.text * scale)]
    shard = [min(tokens, config.shards.tokens) for tokens in (small.tokens, large.tokens, large.tokens * scale)]
    found = {}
    for stage, held in (("ingest", groups), ("tokenizer", trained), ("shards", shard)):
        found[stage] = _line((held[0], small.peaks[stage]), (held[1], large.peaks[stage]), max(held[1], held[2]))
        if stage != "ingest":
            found[stage] += _ROW_GROUP_READ * more
    return found


def _line(small: tuple[float, float], large: tuple[float, float], x: float) -> float:
    """The line through two points, never falling, at ``x``; through the second one alone where they are one."""
    apart = large[0] - small[0]
    slope = max((large[1] - small[1]) / apart, 0.0) if apart > 0 else 0.0
    return large[1] + slope * (x - large[0])


def _heads(
    config: Config, sizes: dict[str, dict[str, int]], sample: float, folder: Path
) -> tuple[Config, int, dict[str, bool]]:
    """The configuration of a corpus from the heads of the dumps, written to ``folder``; their bytes; and whether a file
    is cut into units, by path."""
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
    small = config.model_copy(update={"source": sources, "root": str(folder / "corpus"), "run": {}})
    return small, read, cuttable


def _calibrate(config: Config, sizes: dict[str, dict[str, int]], sample: float, folder: Path) -> Point:
    """Build the heads of the dumps, ``sample`` bytes in all."""
    small, read, cuttable = _heads(config, sizes, sample, folder)
    seconds: dict[str, float] = {}
    peaks: dict[str, int] = {}
    for stage in STAGES:
        small, seconds[stage], peaks[stage] = _alone(small, stage)
    for seed in range(1, _TIMES):  # another seed: the same work, done again
        again = small.model_copy(update={"shards": small.shards.model_copy(update={"seed": small.shards.seed + seed})})
        seconds["shards"] = min(seconds["shards"], _alone(again, "shards")[1])
    root = Root(small.root)
    rows = {stage: list(Ledger(root).rows(stage)) for stage in STAGES}
    documents = sum(row.counts.kept for row in rows["ingest"])
    texts = [row.counts.amounts.get("text_bytes", 0) for row in rows["ingest"]]
    disk: dict[str, int] = {}
    for row in (row for stage in STAGES for row in rows[stage]):
        for output in row.outputs:
            place = output["path"].split("/")[0]
            disk[place] = disk.get(place, 0) + output["bytes"]
    passes, openings = [], []
    for _ in range(3):  # the first one loads what reads
        began = time.perf_counter()
        for row in rows["dedup"]:
            for _ in kept(root, row.unit, ["id", "text", "language"]):
                pass
        passes.append(time.perf_counter() - began)
        for row in rows["ingest"]:
            with reading(root, f"signatures/{row.unit}.parquet"):
                pass
        openings.append(time.perf_counter() - began - passes[-1])
    began = time.perf_counter()
    for number in range(_COMMITS):
        root.write(f"scratch/{number}", b"{}")
    commit = (time.perf_counter() - began) / _COMMITS
    return Point(
        bytes=read,
        documents=documents,
        text=sum(texts),
        unit=max(texts),
        tokens=sum(row.counts.amounts.get("tokens", 0) for row in rows["shards"]),
        seconds=seconds,
        peaks=peaks,
        disk=disk,
        written=sum(row.took["seconds"] for row in rows["dedup"]) / max(documents, 1),
        commit=commit,
        opening=min(openings) / len(rows["ingest"]),
        read=min(passes) / max(sum(texts), 1),
        cuttable=cuttable,
    )


def _alone(config: Config, stage: str) -> tuple[Config, float, int]:
    """`_measure` in a process of its own: what it takes has no other stage's memory in it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, config, stage).result()
        except BrokenProcessPool as error:
            raise CorpusmillError(
                f"the calibration of {stage} was killed, perhaps for want of memory",
                mend="corpusmill plan CONFIG --sample, with fewer bytes than now",
            ) from error


def _measure(config: Config, stage: str) -> tuple[Config, float, int]:
    """Build a stage on one core: what was built, its seconds, and the memory of the process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # a worker's helper and threads would take another
    began = time.perf_counter()
    built = _build_stage(config, stage)
    return built, time.perf_counter() - began, peak_memory()


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
        return len(cut(source.format, head, size_of(head) // 8 + 1)) > 1
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


def _meeting(config: Config) -> float:
    """Seconds a document takes to be compared with all others in packed blocks, on made-up signatures."""
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
    config: Config, stage: str, limit: int, total: int, documents: float, sample: Point, scale: float
) -> int:
    """The worker processes that the stage will start."""
    pieces = max(1, math.ceil(total / config.unit))
    tokens = sample.tokens * scale
    measure = {"ingest": total, "dedup": documents, "shards": max(documents, tokens / 10_000)}[stage]
    name = "encode" if stage == "shards" else stage
    return useful_workers(limit, [Unit(name, str(i), "", math.ceil(measure / pieces), {}) for i in range(pieces)])
