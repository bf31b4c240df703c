"""Normalisation of texts, each kind of change counted, and the tutorials' classic preprocessing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import characters, words
from pipeline.clean.characters import UNSTABLE
from pipeline.errors import CorpusmillError, UsageError

LINE_ENDS = r"\r\n|[\r\x0B\x0C\x{85}\x{2028}\x{2029}]"
CONTROLS = r"[\x00-\x08\x0E-\x1F\x7F-\x{9F}\x{200B}\x{2060}\x{FEFF}\x{FFF9}-\x{FFFB}\x{FFFE}\x{FFFF}]"
SPACES = r"[\t \x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]"

CHANGES: dict[str, tuple[str, str]] = {
    "line_ends": (LINE_ENDS, "\n"),
    "controls": (CONTROLS, ""),
    "spaces": (rf"{SPACES}{{2,}}|[\t\x{{A0}}\x{{1680}}\x{{2000}}-\x{{200A}}\x{{202F}}\x{{205F}}]", " "),
    "line_edges": (rf"(?:{SPACES}+\n{SPACES}*)|(?:\n{SPACES}+)", "\n"),
    "blank_lines": (r"\n{3,}", "\n\n"),
    "text_edges": (r"\A\s+|\s+\z", ""),
}
"""Changes by name, in order: a pattern (RE2) and what replaces it. Line ends of any system become line feeds; control
characters, zero-width spaces and byte order marks go; runs of spaces and the odd ones become one space, none at the
edges of lines; at most one empty line in a row; no white space around the text."""

_TAG = re.compile(r"<[^<>]*>")
_LETTERS = re.compile(r"[^\W\d_]+")

NFC = "nfc"
"""The name under which texts changed by Unicode's composed form are counted."""

MOJIBAKE = "mojibake"
"""The name of the repair of text decoded with the wrong character set (by ftfy), done first where it is asked for."""


def check(name: str) -> str:
    """Return the name of a change; refuse an unknown one."""
    if name not in (MOJIBAKE, *CHANGES, NFC):
        raise UsageError(f"there is no normalisation {name!r}; there are {', '.join((MOJIBAKE, *CHANGES, NFC))}")
    return name


def normalise(texts: pa.Array, changes: Iterable[str] = (*CHANGES, NFC)) -> tuple[pa.Array, dict[str, np.ndarray]]:
    """Return the texts normalised, and per document how often each change was made (int64; for "nfc" and "mojibake"
    0 or 1).

    Changes are made in the order of `CHANGES`, mojibake before and NFC after them. Doing it twice changes nothing more.
    Raises UsageError for an unknown change.
    """
    values = pc.fill_null(texts, "")
    counts: dict[str, np.ndarray] = {}
    chosen = {check(name) for name in changes}
    for name in (name for name in (MOJIBAKE, *CHANGES, NFC) if name in chosen):
        if name in (NFC, MOJIBAKE):
            values, counts[name] = _compose(values) if name == NFC else _repair(values)
            continue
        pattern, replacement = CHANGES[name]
        found = pc.count_substring_regex(values, pattern).to_numpy(zero_copy_only=False).astype(np.int64)
        if found.any():
            values = pc.replace_substring_regex(values, pattern, replacement)
        counts[name] = found
    return values, counts


def _compose(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return the texts in NFC; only those with a code point that it may change are looked at."""
    data, offsets = characters.flat(values)
    others = characters.wide(data)
    at = others.at[(characters.flags_of(others.point) & UNSTABLE) > 0]
    rows = np.unique(np.searchsorted(offsets, at, side="right") - 1)
    return _rewrite(values, rows, lambda text: unicodedata.normalize("NFC", text))


def _repair(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return the texts with mojibake repaired; text in ASCII has none."""
    try:
        import ftfy
    except ImportError as error:
        raise CorpusmillError(
            "the ftfy package is missing", mend="in a clone of corpusmill: pip install '.[pipeline]'"
        ) from error
    rows = np.flatnonzero(~pc.string_is_ascii(values).to_numpy(zero_copy_only=False))
    return _rewrite(values, rows, ftfy.fix_encoding)


def _rewrite(values: pa.Array, rows: np.ndarray, change: Callable[[str], str]) -> tuple[pa.Array, np.ndarray]:
    """Return the texts with some of them changed, and which are different now (int64, 1)."""
    changed = np.zeros(len(values), np.int64)
    new = []
    for row, text in zip(rows.tolist(), values.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
        if (other := change(text)) != text:
            new.append(other)
            changed[row] = 1
    if not new:
        return values, changed
    places = np.arange(len(values))
    places[changed > 0] = len(values) + np.arange(len(new))
    return pa.concat_arrays([values, pa.array(new, values.type)]).take(pa.array(places)), changed


def classic(texts: pa.Array, language: str | pa.Array) -> pa.LargeStringArray:
    """Return the texts as tutorials preprocess them: no tags, lower case, only letters, no stop words, one space
    between words.

    ``language`` is one code, or an array of one per document; without a list of its words none are dropped. Meant to
    repeat classic experiments: a language model needs what this removes.
    """
    codes = [language] * len(texts) if isinstance(language, str) else language.to_pylist()
    dropped = {code: _stop_words(code) for code in sorted({code for code in codes if code})}
    found = []
    for text, code in zip(texts.to_pylist(), codes, strict=True):
        kept = _LETTERS.findall(_TAG.sub(" ", text or "").lower())
        stop = dropped.get(code, frozenset())
        found.append(" ".join([word for word in kept if word not in stop]))
    return pa.array(found, pa.large_string())


def _stop_words(code: str) -> frozenset[str]:
    lists = words.lists()
    return frozenset(lists["stop_words"].get(code, ()) + lists["function_words"].get(code, ()))
