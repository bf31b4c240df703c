"""Equal URLs: one key for the addresses that name one page."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa


def canonical(url: str) -> str:
    """Return what two URLs of one page have in common: host in lower case, no scheme, fragment or default port.

    Path and query are kept as they are: servers may tell any two apart. "" where there is no host to speak of.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # no URL: a document without one
        return ""
    if not host:
        return ""
    shown = f":{port}" if port not in (None, 80, 443) else ""
    return f"{host}{shown}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")


def url_keys(urls: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the key ("S16", the BLAKE2b-128 of the canonical form) of each URL that has one, and its place (int64)."""
    names = [canonical(url or "") for url in urls.to_pylist()]
    rows = np.flatnonzero([bool(name) for name in names])
    digests = [hashlib.blake2b(names[row].encode("utf-8", "surrogatepass"), digest_size=16).digest() for row in rows]
    return np.frombuffer(b"".join(digests), "S16"), rows
