"""The Beam graph of deduplication: packed blocks of hashes meet under their band and range, forests of edges merge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipeline.dedup.components import EMPTY, forest_merge
from pipeline.jobs.runner import ProcessUnit, Runner, run
from pipeline.ledger import Unit
from pipeline.stages import dedup, work
from pipeline.storage import Root


class SpanningForest(beam.CombineFn):
    """Merge edges into one forest, in any order and grouping."""

    def create_accumulator(self) -> bytes:
        """No edges."""
        return EMPTY

    def add_input(self, accumulator: bytes, element: bytes) -> bytes:
        """Edges join the forest."""
        return forest_merge([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[bytes]) -> bytes:
        """Forests join."""
        return forest_merge(accumulators)

    def extract_output(self, accumulator: bytes) -> bytes:
        """The forest."""
        return accumulator


class PackBlocks(beam.DoFn):
    """A unit's signatures as packed blocks by (band, range)."""

    def __init__(self, root_url: str):
        self.root_url = root_url

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
            | "Pack" >> beam.ParDo(PackBlocks(root_url))
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
