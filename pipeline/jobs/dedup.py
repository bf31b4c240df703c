"""The Beam graphs of deduplication: packed blocks of hashes meet under their name, and edges merge.

What meets is held in the runner's memory, so it comes in passes, each over some ranges of the hash values: as many as
the memory asks for. The number of passes changes nothing else. Between the graphs, small results lie in the
corpus's exchange folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from pipeline import progress
from pipeline.config import Dedup, Lines
from pipeline.dedup.components import (
    EMPTY,
    clusters,
    distinct_edges,
    edges_merge,
    edges_of,
    forest_merge,
    keepers,
    nearest_keepers,
)
from pipeline.errors import CorpusmillError
from pipeline.jobs.runner import FollowsDriver, Runner, beam, run
from pipeline.ledger import Unit
from pipeline.stages import dedup, exchange
from pipeline.stages.places import Places
from pipeline.storage import Root, refused

Merge = Callable[..., bytes]

_FAILED = f"{dedup.EXCHANGE}/failed"
_RESERVE = f"{dedup.EXCHANGE}/reserve"
_RESERVE_BYTES = 1 << 16


class Merged(beam.CombineFn):
    """Merge edges, in any order and grouping, into a forest or a set.

    The accumulator is what is merged and the edges that wait for it: adding copies all, so it happens only when as
    much waits as is there.
    """

    def __init__(self, merge: Merge):
        self.merge = merge

    def create_accumulator(self) -> tuple[bytes, bytes]:
        """No edges."""
        return EMPTY, b""

    def add_input(self, accumulator: tuple[bytes, bytes], element: bytes) -> tuple[bytes, bytes]:
        """Edges wait, or join."""
        known, waiting = accumulator[0], accumulator[1] + element
        return (self._grown(known, waiting), b"") if len(waiting) > len(known) else (known, waiting)

    def merge_accumulators(self, accumulators: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        """All join."""
        known, waiting = zip(*accumulators, strict=True)
        return self.merge(known), b"".join(waiting)

    def extract_output(self, accumulator: tuple[bytes, bytes]) -> bytes:
        """What is merged."""
        return self._grown(*accumulator)

    def _grown(self, known: bytes, edges: bytes) -> bytes:
        return self.merge([known], np.frombuffer(edges, "<i8").reshape(-1, 2))


class Guarded(FollowsDriver):
    """Work on an element; what cannot be read or written is left for the driver, which tells it without Beam's
    traceback."""

    def __init__(self, root_url: str, driver: int | None, work: Callable[..., Iterator[Any]], *arguments: Any):
        super().__init__(root_url, driver)
        self.work = work
        self.arguments = arguments

    def process(self, element: Any) -> Iterator[Any]:
        """One element."""
        root = Root(self.root_url)
        try:
            yield from self.work(root, element, *self.arguments)
        except (CorpusmillError, OSError) as error:
            told = refused(error) if isinstance(error, OSError) else error
            value = {"cause": told.cause, "file": told.file, "offset": told.offset, "mend": told.mend}
            with contextlib.suppress(CorpusmillError, OSError):
                root.remove(_RESERVE)  # a full disk has no other room for what follows
            root.write(f"{_FAILED}/{_name(element)}", json.dumps(value).encode())


def _name(element: Any) -> str:
    """The name of a unit or batch, or the key of what met under one."""
    return element.name if hasattr(element, "name") else str(element[0])


def find_duplicates(root_url: str, units: list[Unit], runner: Runner, memory: int) -> None:
    """Compare the documents of all ``units``; leave in the exchange what `dedup.process` writes for each.

    ``memory`` (bytes) bounds what this process holds, about. Raises CorpusmillError for a part that cannot be read, and
    where so many documents cannot be compared in so little memory.
    """
    _Search(root_url, units, runner, memory).run()


class _Search:
    def __init__(self, root_url: str, units: list[Unit], runner: Runner, memory: int):
        self.root = Root(root_url)
        self.places = Places.of(units)
        self.units = list(self.places.units)
        self.runner = runner
        self.settings = Dedup.model_validate(self.units[0].spec["dedup"]) if units else Dedup()
        self.room = exchange.room(len(self.places), memory, self.root.url)

    def run(self) -> None:
        for name in self.root.sizes(dedup.EXCHANGE):  # of a run that was killed
            self.root.remove(name)
        self.root.write(_RESERVE, bytes(_RESERVE_BYTES))
        met = self._meet("equal keys", dedup.keyed_blocks, dedup.edges, forest_merge, len(self.places))
        verdicts = dedup.judge_keyed(
            self.root, self.places, self.settings, {level: clusters(forest) for level, forest in met.items()}
        )
        if self.settings.near:
            dedup.leave_gone(self.root, self.places, verdicts)
            self._near(verdicts)
        verdicts.resolve()
        dedup.leave_verdicts(self.root, self.places, verdicts)
        if self.settings.lines.documents:
            self._lines()

    def _near(self, verdicts: dedup.Verdicts) -> None:
        params = self.settings.minhash.params()
        alive = len(self.places) - len(verdicts.dropped)
        if not self.settings.verify:
            met = self._meet("bands", dedup.near_blocks, dedup.edges, forest_merge, alive)
            star = clusters(met.get(dedup.NEAR, EMPTY))
            order = dedup.ranks(self.root, self.places, star[:, 0], list(self.settings.keeper))
            found = keepers(star, order)
            copies = found[found[:, 0] != found[:, 1]]
            values = dedup.estimates(self.root, self.places, params, copies, self.room)
        else:
            met = self._meet("bands", dedup.near_blocks, dedup.candidates, edges_merge, alive)
            pairs = distinct_edges(edges_of(met.get(dedup.NEAR, EMPTY)))
            similarity = self._compare(pairs)
            alike = similarity >= self.settings.verify
            pairs, similarity = pairs[alike], similarity[alike]
            documents = np.unique(pairs)
            order = dedup.ranks(self.root, self.places, documents, list(self.settings.keeper))
            copies, edge = nearest_keepers(pairs, order[np.searchsorted(documents, pairs)])
            values = similarity[edge]
        verdicts.drop(dedup.NEAR, copies, values)

    def _meet(
        self,
        what: str,
        blocks: Callable[..., Iterator[dedup.Block]],
        edges: Callable[..., tuple[str, bytes]],
        merge: Merge,
        documents: int,
    ) -> dict[str, bytes]:
        """What is merged of the edges among all blocks of so many documents, by level."""
        merged: dict[str, bytes] = {}
        for ranges, chosen in self._passes(what, documents):
            meet(self.root.url, self.units, self.runner, blocks, edges, merge, ranges, chosen)
            self._check()
            _give_back_memory()
            for name in self.root.sizes(f"{dedup.EXCHANGE}/edges"):
                level = name.rsplit("/", 1)[1]
                merged[level] = merge([merged.get(level, EMPTY), self.root.read(name)])
                self.root.remove(name)
        return merged

    def _compare(self, pairs: np.ndarray) -> np.ndarray:
        """The Jaccard similarities of pairs (ascending), from the texts."""
        share = self.room // (2 * max(1, self.runner.workers))
        cuts = dedup.batches_of_pairs(self.root, self.places, pairs, share)
        spec = {"dedup": self.settings.model_dump(mode="json")}
        batches = []
        for number, cut in enumerate(cuts):
            dedup.leave(self.root, f"pairs/{number:06}", pairs[cut].astype("<i8"))
            batches.append(Unit(dedup.STAGE, f"pairs/{number:06}", "", cut.stop - cut.start, spec))
        if batches:
            dedup.leave_places(self.root, self.places)
            progress.say(f"dedup: {len(pairs):,} pairs to verify in {len(batches)} batches")
            compare(self.root.url, batches, self.runner)
            self._check()
        found = [dedup.left(self.root, f"similarities/{n:06}", np.dtype("<f8")) for n in range(len(batches))]
        return np.concatenate([np.empty(0), *found])

    def _lines(self) -> None:
        for ranges, chosen in self._passes("lines", len(self.places)):
            count_lines(self.root.url, self.units, self.runner, self.settings.lines, ranges, chosen)
            self._check()

    def _passes(self, what: str, documents: int) -> Iterator[tuple[int, range]]:
        """The ranges of hash values, and those of each pass: as many as of any other."""
        text_bytes = sum(unit.spec["text_bytes"] for unit in self.units)
        passes = exchange.passes(exchange.met(documents, self.settings, text_bytes)[what], self.room)
        each = max(1, documents // (exchange.BLOCK_RECORDS * passes))
        ranges = passes * min(each, exchange.MOST_RANGES // passes)
        for number in range(passes):
            if passes > 1:
                progress.say(f"dedup: {what}, pass {number + 1} of {passes}")
            yield ranges, range(number * ranges // passes, (number + 1) * ranges // passes)

    def _check(self) -> None:
        """Raise what a worker could not read."""
        failed = [self.root.read_json(name) for name in self.root.sizes(_FAILED)]
        if failed:
            more = f" (and {len(failed) - 1} more like it)" if failed[1:] else ""
            raise CorpusmillError(failed[0].pop("cause") + more, **failed[0])


def _give_back_memory() -> None:
    """What a pass held goes back to the system: Beam's graphs are cycles, and the allocator would keep it for later."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not this C library
        ctypes.CDLL(None).malloc_trim(0)


def meet(
    root_url: str,
    units: list[Unit],
    runner: Runner,
    blocks: Callable[..., Iterator[dedup.Block]],
    edges: Callable[..., tuple[str, bytes]],
    merge: Merge,
    ranges: int,
    chosen: range,
) -> None:
    """Leave in the exchange what is merged of the edges among the blocks of all units, by level; one pass."""

    def build(spread: Any) -> None:
        _ = (
            spread
            | "Pack" >> beam.ParDo(Guarded(root_url, runner.driver, blocks, ranges, chosen))
            | "Meet" >> beam.GroupByKey()
            | "Edges" >> beam.MapTuple(edges)
            | "Merge" >> beam.CombinePerKey(Merged(merge))
            | "Leave" >> beam.ParDo(Guarded(root_url, runner.driver, _leave_edges))
        )

    run(build, units, runner, root_url)


def compare(root_url: str, batches: list[Unit], runner: Runner) -> None:
    """Leave in the exchange the similarities of the pairs of each batch."""

    def build(spread: Any) -> None:
        _ = spread | "Compare" >> beam.ParDo(Guarded(root_url, runner.driver, _leave_similarities))

    run(build, batches, runner, root_url)


def count_lines(root_url: str, units: list[Unit], runner: Runner, settings: Lines, ranges: int, chosen: range) -> None:
    """Leave in the exchange the hashes of lines that enough documents have; one pass."""

    def build(spread: Any) -> None:
        _ = (
            spread
            | "Pack" >> beam.ParDo(Guarded(root_url, runner.driver, dedup.line_blocks, ranges, chosen))
            | "Meet" >> beam.GroupByKey()
            | "Count" >> beam.ParDo(Guarded(root_url, runner.driver, _leave_repeated, settings))
        )

    run(build, units, runner, root_url)


def _leave_edges(root: Root, merged: tuple[str, bytes]) -> Iterator[Any]:
    level, edges = merged
    root.write(f"{dedup.EXCHANGE}/edges/{level}", edges)
    yield from ()


def _leave_similarities(root: Root, batch: Unit) -> Iterator[Any]:
    dedup.leave(root, batch.name.replace("pairs/", "similarities/"), dedup.similarities(root, batch).astype("<f8"))
    yield from ()


def _leave_repeated(root: Root, counted: tuple[int, Iterable[bytes]], settings: Lines) -> Iterator[Any]:
    index, packed = counted
    dedup.leave_repeated(root, settings, index, packed)
    yield from ()
