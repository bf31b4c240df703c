"""The Beam graph of deduplication: packed blocks of hashes meet under their band and range, forests of edges merge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.dedup.components import EMPTY, forest_add, forest_merge
from pipeline.jobs.runner import FollowsDriver, ProcessUnit, Runner, beam, run
from pipeline.ledger import Unit
from pipeline.stages import dedup, work
from pipeline.storage import Root


class SpanningForest(beam.CombineFn):
    """Merge edges into one forest, in any order and grouping.

    The accumulator is the forest and the edges that wait for it: adding copies the forest, so it happens only when as
    much waits as the forest holds.
    """

    def create_accumulator(self) -> tuple[bytes, bytes]:
        """No edges."""
        return EMPTY, b""

    def add_input(self, accumulator: tuple[bytes, bytes], element: bytes) -> tuple[bytes, bytes]:
        """Edges wait, or join the forest."""
        forest, waiting = accumulator[0], accumulator[1] + element
        return (_grown(forest, waiting), b"") if len(waiting) > len(forest) else (forest, waiting)

    def merge_accumulators(self, accumulators: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        """Forests join."""
        forests, waiting = zip(*accumulators, strict=True)
        return forest_merge(forests), b"".join(waiting)

    def extract_output(self, accumulator: tuple[bytes, bytes]) -> bytes:
        """The forest."""
        return _grown(*accumulator)


def _grown(forest: bytes, edges: bytes) -> bytes:
    return forest_add(forest, np.frombuffer(edges, "S16").reshape(-1, 2))


class PackBlocks(FollowsDriver):
    """A unit's signatures as packed blocks by (band, range)."""

    def process(self, unit: Unit) -> Iterator[tuple[tuple[int, int], bytes]]:
        """One unit."""
        yield from dedup.blocks(Root(self.root_url), unit)


class WriteDuplicates(ProcessUnit):
    """Commit the duplicates of one unit, given the verdicts on all documents."""

    def process(self, unit: Unit, verdict: dict[str, bytes]) -> Iterator[str]:  # type: ignore[override]
        """One unit."""
        if cause := work.process(self.root_url, unit, verdict):
            yield f"{unit.name}: {cause}"


def find_duplicates(root_url: str, units: list[Unit], pending: list[Unit], runner: Runner) -> None:
    """Compare the documents of all ``units``; write the duplicates of those that are ``pending``."""

    def build(pipeline: beam.Pipeline) -> None:
        verdict = (
            pipeline
            | "Signatures" >> beam.Create(units)
            | "Spread signatures" >> beam.Reshuffle()
            | "Pack" >> beam.ParDo(PackBlocks(root_url, runner.driver))
            | "Meet" >> beam.GroupByKey()
            | "Edges" >> beam.MapTuple(dedup.edges)
            | "Forests" >> beam.CombinePerKey(SpanningForest())
            | "By level" >> beam.combiners.ToDict()
            | "Verdicts" >> beam.Map(dedup.verdicts)
        )
        _ = (
            pipeline
            | "Parts" >> beam.Create(pending)
            | "Spread parts" >> beam.Reshuffle()
            | "Write" >> beam.ParDo(WriteDuplicates(root_url, runner.driver), beam.pvalue.AsSingleton(verdict))
        )

    run(build, runner, root_url, dedup.STAGE)
