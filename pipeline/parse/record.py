"""What every parser hands to ingest: one `Parsed` a record, whatever became of it.

A record is never lost: it is a document (``reason`` empty), a drop (``reason`` a plain word) or an error
(``reason`` starts with ``"error:"``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import without_query


@dataclass(slots=True)
class Parsed:
    """One record of a dump after parsing.

    ``identity`` names the record across dumps (its BLAKE2b-128 is the document id). ``offset`` and ``length`` are
    compressed bytes of the file (the bz2 stream, gzip member or plain record that holds it), ``record`` what finds it
    inside.
    """

    identity: str
    text: str
    url: str
    title: str
    timestamp: datetime | None
    offset: int
    length: int
    record: str
    reason: str = ""
    value: float | None = None
    threshold: float | None = None


def file_name(path: str) -> str:
    """The last part of a dump's path, as it stands in rows and identities."""
    return without_query(path).rsplit("/", 1)[-1].encode("utf-8", "backslashreplace").decode()
