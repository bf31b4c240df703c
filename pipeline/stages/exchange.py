"""What the documents of a corpus tell each other while they are deduplicated: bytes, passes, memory.

All of it lies in the memory of the process that drives the stage, in the buffers of Beam's runner, so it comes in
passes over the ranges of the hashes, as many as the memory asks for. What does not come in passes is the floor:
verdicts by document, and the clusters with the arrays that rank their members, counted as if every document were a
copy. One bucket is never cut: where a large part of all documents have one hash, its records meet at once.
"""

from __future__ import annotations

from pipeline.config import Dedup
from pipeline.dedup import lsh
from pipeline.errors import CorpusmillError

BLOCK_RECORDS = 250_000
"""Records that meet under one name, about: what sorts within the processor's cache."""

FIXED = 350_000_000  # bytes: interpreter, Beam and libraries (220 MB), and the row groups of parts being read
PER_DOCUMENT = 130  # bytes: 17 of verdicts, the rest for each that is in a cluster
HELD = 5.0  # bytes in the runner for each byte that meets: buffers, and copies while they are grouped
_LINE = 50  # bytes of a line, on average

MOST_RANGES = 1 << 16


def met(documents: int, settings: Dedup, text_bytes: int = 0) -> dict[str, int]:
    """The bytes that meet at each step that is on: "equal keys", "bands", "lines" (of the kept ``text_bytes``)."""
    levels = 1 + settings.exact + settings.url + settings.revision
    sizes = {"equal keys": lsh.KEY_RECORD.itemsize * levels * documents}
    if settings.near:
        sizes["bands"] = lsh.BAND_RECORD.itemsize * settings.minhash.params().bands * documents
    if settings.lines.documents:
        record = lsh.BAND_RECORD.itemsize if settings.lines.keep_first else 8
        sizes["lines"] = record * (text_bytes // _LINE)
    return sizes


def floor(documents: int) -> int:
    """The bytes held whatever the number of passes."""
    return FIXED + PER_DOCUMENT * documents


def room(documents: int, memory: int, corpus: str) -> int:
    """The bytes left for what meets, of ``memory``; CorpusmillError names the corpus (its folder or URL) for which that
    is too little to be of use."""
    least = floor(documents) * 5 // 4
    if memory < least:
        raise CorpusmillError(
            f"{documents:,} documents cannot be compared in {memory:,} bytes of memory",
            file=corpus,
            mend=f"the same command with --memory {-(-least // 1_000_000)}MB or more",
        )
    return memory - floor(documents)


def passes(size: int, room: int) -> int:
    """In how many passes so many bytes meet."""
    return min(MOST_RANGES, max(1, -(-int(size * HELD) // room)))


def peak_memory(documents: int, settings: Dedup, memory: int, text_bytes: int = 0, corpus: str = "") -> int:
    """The most bytes that the driver of the dedup stage holds, about, when it may hold ``memory`` (``--memory``).

    A function of its arguments alone; raises CorpusmillError where the stage would refuse.
    """
    left = room(documents, memory, corpus)
    sizes = met(documents, settings, text_bytes).values()
    return floor(documents) + max(int(size * HELD) // passes(size, left) for size in sizes)
