"""The versions of what has a say in the texts and tokens that a stage writes. They are part of its keys: after an
upgrade, what the library had a say in is built again, and nothing else.

Left out is what only writes files (pyarrow: another version gives other bytes of the same rows, for which no one wants
to wait) or computes what is exact or rounded (numpy, scipy, numba), and torch: a run that is trained stays. Python is
covered by its Unicode version, which each of 3.10 to 3.13 has another one of. ARCHITECTURE.md says what is promised.
"""

from __future__ import annotations

from importlib import metadata

from pipeline.clean.characters import UNICODE
from pipeline.config import Clean, Source
from pipeline.errors import UsageError


def of_ingest(source: Source, clean: Clean) -> dict[str, str]:
    """What has a say in the documents of a source, by name; UsageError for a library that is absent."""
    names = ["fasttext-predict"]  # languages and their scores; the model that it runs has a digest of its own
    if source.format == "warc":
        names.append("resiliparse")  # character sets of pages that do not state theirs, and their text if chosen
        if source.web.extractor == "trafilatura":
            names.append("trafilatura")
    if clean.normalise and clean.normalise.mojibake:
        names.append("ftfy")
    return {"Unicode": UNICODE, **_installed(names)}


def of_tokens() -> dict[str, str]:
    """What has a say in a tokenizer and in what it makes of texts."""
    return _installed(["sentencepiece"])


def _installed(names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise UsageError(f"{name} is not installed", mend=f"pip install {name}") from None
    return found
