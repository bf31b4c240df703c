"""How well a tokenizer fits a corpus: tokens a word and bytes a token by language, and what it cannot say.

The baselines need no training: a byte tokenizer has one byte a token and ``bytes / words`` tokens a word, a character
tokenizer ``bytes / characters`` bytes a token and ``characters / words`` tokens a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import characters
from tokenizer.encode import Model, decode, encode

ALL = "all"

_COUNTS = ("documents", "bytes", "characters", "words", "tokens", "unknown", "byte_pieces", "round_trip_failures")


class Tally:
    """Counts over batches of documents; `result` turns them into the report."""

    def __init__(self, model: Model):
        self.model = model
        self._counts: dict[str, np.ndarray] = {}
        self._uses = np.zeros(model.vocab_size, dtype=np.int64)
        processor = model.processor
        self._is_byte = np.array([processor.is_byte(piece) for piece in range(model.vocab_size)])

    def add(self, texts: pa.StringArray, languages: Sequence[str] | pa.Array) -> None:
        """Encode and decode one batch and count; ``languages`` has a label for each text."""
        labels = languages.to_pylist() if isinstance(languages, pa.Array) else list(languages)
        tokens = encode(texts, self.model, add_eos=False)
        ids = tokens.values.to_numpy()
        self._uses += np.bincount(ids, minlength=len(self._uses))
        offsets = tokens.offsets.to_numpy()
        data, starts = characters.flat(texts)
        word_starts, _ = characters.words(data, starts, characters.wide(data))
        rows = np.column_stack(
            [
                np.ones(len(texts), dtype=np.int64),
                np.diff(starts),
                pc.utf8_length(texts).to_numpy(),
                np.diff(np.searchsorted(word_starts, starts)),
                np.diff(offsets),
                _per_list(ids == self.model.special_ids.get("unk", -1), offsets),
                _per_list(self._is_byte[ids], offsets),
                pc.not_equal(decode(tokens, self.model), texts).to_numpy(zero_copy_only=False),
            ]
        )
        for language in sorted({str(label) for label in labels}):
            chosen = np.array([str(label) == language for label in labels])
            self._counts[language] = self._counts.get(language, 0) + rows[chosen].sum(axis=0)

    def result(self) -> dict[str, Any]:
        """The report, as JSON can hold it.

        ``languages``: one row a language in alphabetical order, the last for ``"all"``, with the counts and
        ``tokens_per_word`` (fertility; a word as in deduplication: each Han or kana character is one),
        ``bytes_per_token``, ``unknown_rate`` and ``byte_rate`` (shares of the tokens), and under ``baseline`` the first
        two for bytes and characters. A ratio over nothing is None. ``vocabulary``: pieces, how many of them were ever
        used, and the share.
        """
        rows = [(language, self._counts[language]) for language in sorted(self._counts)]
        rows.append((ALL, sum((counts for _, counts in rows), np.zeros(len(_COUNTS), dtype=np.int64))))
        used = int((self._uses > 0).sum())
        size = len(self._uses)
        return {
            "languages": [_row(language, counts) for language, counts in rows],
            "vocabulary": {"pieces": size, "used": used, "used_share": used / size},
        }


def report(texts: pa.StringArray, languages: Sequence[str] | pa.Array, model: Model) -> dict[str, Any]:
    """The report over one batch; see `Tally.result`."""
    tally = Tally(model)
    tally.add(texts, languages)
    return tally.result()


def _row(language: str, counts: np.ndarray) -> dict[str, Any]:
    n = dict(zip(_COUNTS, (int(count) for count in counts), strict=True))
    return {
        "language": language,
        **n,
        "tokens_per_word": _ratio(n["tokens"], n["words"]),
        "bytes_per_token": _ratio(n["bytes"], n["tokens"]),
        "unknown_rate": _ratio(n["unknown"], n["tokens"]),
        "byte_rate": _ratio(n["byte_pieces"], n["tokens"]),
        "baseline": {
            "bytes": {"tokens_per_word": _ratio(n["bytes"], n["words"]), "bytes_per_token": 1.0},
            "characters": {
                "tokens_per_word": _ratio(n["characters"], n["words"]),
                "bytes_per_token": _ratio(n["bytes"], n["characters"]),
            },
        },
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _per_list(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many flags are set within each list."""
    before = np.concatenate(([0], np.cumsum(flags)))
    return before[offsets[1:]] - before[offsets[:-1]]
