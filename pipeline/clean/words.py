"""Lists of words by language, from the data file beside this module."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np

from pipeline.clean.hashing import hash_spans

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib


@lru_cache(maxsize=1)
def lists() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the lists by name ("stop_words", "abbreviations") and language."""
    text = (resources.files("pipeline.clean") / "words.toml").read_text("utf-8")
    return {
        name: {code: tuple(words.split()) for code, words in by_language.items()}
        for name, by_language in tomllib.loads(text).items()
    }


@lru_cache(maxsize=256)
def hashes(name: str, code: str) -> np.ndarray:
    """Return the hashes (uint64) of a language's words, as `hash_spans` gives them in a text."""
    encoded = [word.encode() for word in lists()[name][code]]
    ends = np.cumsum([len(word) for word in encoded])
    return hash_spans(np.frombuffer(b"".join(encoded), np.uint8), np.append(0, ends[:-1]), ends)
