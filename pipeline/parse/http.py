"""HTTP responses as archives store them: header, chunked transfer coding, compressed content."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_STATUS = re.compile(rb"\s*HTTP/\d(?:\.\d)?\s+(\d{3})\b[^\n]*\n?")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.I)


@dataclass(slots=True)
class Response:
    """A parsed response. ``payload`` is decoded, except where ``fault`` names why it could not be."""

    status: int
    headers: dict[str, str]
    payload: bytes
    raw: bytes  # the payload as sent: chunked and compressed as it was
    too_large: bool = False
    fault: str = ""  # "", "http_encoding"

    @property
    def content_type(self) -> str:
        """The Content-Type header, as sent."""
        return self.headers.get("content-type", "")

    def forms(self) -> Iterator[bytes]:
        """What a payload digest may have been computed over: archives differ on the codings."""
        yield self.raw
        dechunked = dechunk(self.raw)
        if dechunked is not None:
            yield dechunked
        yield self.payload


def parse_response(block: bytes, max_payload: int) -> Response | None:
    """The response in a record's block, or None where it does not begin with an HTTP status line.

    At most ``max_payload`` bytes are decoded (then ``too_large``). Headers come with lower-case names; of a
    repeated one the last counts.
    """
    match = _STATUS.match(block)
    if not match:
        return None
    end = _HEADER_END.search(block, match.end() - 2)
    lines = block[match.end() : end.start()] if end and end.start() > match.end() else b""
    if not end:
        lines = block[match.end() :]
    headers: dict[str, str] = {}
    name = ""
    for line in lines.decode("latin-1").split("\n"):
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        key, colon, value = line.partition(":")
        if colon:
            name = key.strip().lower()
            headers[name] = value.strip()
    raw = block[end.end() :] if end else b""
    response = Response(int(match[1]), headers, raw, raw)
    _decode(response, max_payload)
    return response


def _decode(response: Response, max_payload: int) -> None:
    data = response.raw
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        # Many archives store the payload already dechunked under the old header: then it stays as it is.
        plain = dechunk(data)
        data = data if plain is None else plain
    codings = re.split(r"[\s,]+", response.headers.get("content-encoding", "").lower().strip())
    for coding in reversed(codings):
        if coding in ("", "identity", "none", "utf-8"):
            continue
        try:
            decoded = _decompress(coding, data, max_payload)
        except _CodingFault:
            # The header of a payload that the crawler already decoded is often kept.
            if _looks_compressed(coding, data):
                response.fault = "http_encoding"
            break
        if len(decoded) > max_payload:
            response.too_large = True
        data = decoded
    response.payload = data
    response.too_large |= len(data) > max_payload


class _CodingFault(ValueError):
    pass


def _looks_compressed(coding: str, data: bytes) -> bool:
    if coding in ("gzip", "x-gzip"):
        return data[:2] == b"\x1f\x8b"
    if coding == "zstd":
        return data[:4] == b"\x28\xb5\x2f\xfd"
    return b"<" not in data[:256]  # deflate and brotli have no magic: text would show a tag


def _decompress(coding: str, data: bytes, limit: int) -> bytes:
    """``data`` decoded, at most a little over ``limit`` bytes of it. A cut stream gives what it holds."""
    if coding in ("gzip", "x-gzip"):
        return _inflate(data, 31, limit)
    if coding == "deflate":  # RFC 9110 means zlib; some servers send the bare stream
        try:
            return _inflate(data, 15, limit)
        except _CodingFault:
            return _inflate(data, -15, limit)
    if coding == "br":
        import brotli

        decoder = brotli.Decompressor()
        try:
            out = decoder.process(data, output_buffer_limit=limit + 1)
            while len(out) <= limit and not decoder.is_finished():
                more = decoder.process(b"", output_buffer_limit=limit + 1 - len(out))
                if not more:
                    break
                out += more
        except brotli.error:
            raise _CodingFault(coding) from None
        return out
    if coding == "zstd":
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        try:
            return reader.read(limit + 1)
        except zstandard.ZstdError:
            raise _CodingFault(coding) from None
    raise _CodingFault(coding)


def _inflate(data: bytes, window: int, limit: int) -> bytes:
    decoder = zlib.decompressobj(wbits=window)
    try:
        out = decoder.decompress(data, limit + 1)
    except zlib.error:
        raise _CodingFault("deflate") from None
    return out


def dechunk(data: bytes) -> bytes | None:
    """The body of a chunked message, or None where ``data`` does not begin with a chunk.

    A message that is cut or goes wrong after its first chunk gives what is there.
    """
    parts: list[bytes] = []
    place = 0
    while match := _CHUNK_SIZE.match(data, place):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts) if parts or len(data) < 64 else None
        place = match.end()
        parts.append(data[place : place + size])
        place += size
        if place < len(data) and not data.startswith((b"\r\n", b"\n"), place):
            if len(parts) == 1:
                return None
            break
        place += 2 if data.startswith(b"\r\n", place) else 1
    return b"".join(parts) + data[place:] if parts else None


def charset(content_type: str) -> str:
    """The charset parameter of a Content-Type header, ``""`` where there is none."""
    match = _CHARSET.search(content_type)
    return match[1] if match else ""
