"""The bytes of a MediaWiki dump: .bz2, .gz, .zst or plain XML, told apart by their first bytes, in flat memory from any
stream on."""

from __future__ import annotations

import codecs
import re
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from pipeline.errors import InputError

REFETCH = "fetch the file again and check its checksum"
_READ = 1 << 16  # compressed bytes a step; `length` of a page is a multiple of it from a stream's start, or its end
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a zstd frame without content: pzstd writes it before each
_INFLATED = 1 << 20  # most bytes one step of a decompressor may give: a bomb must not fit in memory


class Block(NamedTuple):
    """Some decompressed bytes, and where they come from."""

    stream: int  # compressed offset at which this block's stream begins (plain: of the block itself)
    starts: bool  # whether this block is the first of its stream
    read: int  # compressed offset up to which the file was consumed
    data: bytes
    plain: bool = False


class _Source:
    """A file read in steps that begin anew at each stream, with bytes put back after a stream's end."""

    def __init__(self, raw: BinaryIO, start: int):
        self.raw, self.at, self.held = raw, start, b""
        raw.seek(start)

    def take(self, size: int) -> bytes:
        while len(self.held) < size and (more := self.raw.read(max(size - len(self.held), 1 << 18))):
            self.held += more
        taken, self.held = self.held[:size], self.held[size:]
        self.at += len(taken)
        return taken

    def put_back(self, unused: bytes) -> None:
        self.held = unused + self.held
        self.at -= len(unused)


class _Gzip:
    """zlib's decompressor in the shape of bz2's; the trailer's CRC and length are checked by zlib."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)

    eof = property(lambda self: self._inflate.eof)
    unused_data = property(lambda self: self._inflate.unused_data)
    needs_input = property(lambda self: not self._inflate.unconsumed_tail)


class _Zstandard:
    """zstandard's decompressor in the shape of bz2's; it bounds no output, so its input goes in by the kilobyte."""

    def __init__(self) -> None:
        import zstandard

        self._inflate = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._waiting = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._waiting + data
        out, at = bytearray(), 0
        while at < len(data) and not self.eof and len(out) < max_length:
            out += self._inflate.decompress(data[at : at + 1024])
            at += 1024
        self._waiting = data[at:]
        return bytes(out)

    eof = property(lambda self: self._inflate.eof)
    unused_data = property(lambda self: self._inflate.unused_data + self._waiting)
    needs_input = property(lambda self: not self._waiting)


_DECOMPRESSORS: dict[str, Any] = {"bz2": BZ2Decompressor, "gz": _Gzip, "zst": _Zstandard}


def kind_of(path: str, raw: BinaryIO) -> str:
    """How the file is compressed, by its first bytes: a name says what was meant, not what is there."""
    raw.seek(0)
    head = raw.read(6)
    if head.startswith(b"BZh"):
        return "bz2"
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    if head.startswith(b"\x28\xb5\x2f\xfd") or _SKIPPABLE.match(head):
        return "zst"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "xml"
    if not head:
        raise InputError("the file is empty", file=path, offset=0, mend="fetch it again")
    if head == b"7z\xbc\xaf\x27\x1c":
        raise InputError("7z archives are not read", file=path, offset=0, mend=f"7z e -so {path} | zstd > dump.xml.zst")
    raise InputError("neither XML nor bz2, gzip or zstd", file=path, offset=0, mend="check what was fetched")


def _blocks(path: str, raw: BinaryIO, kind: str, start: int) -> Iterator[Block]:
    """Decompressed blocks from ``start`` (a stream's first byte, or any byte of plain XML) to the end of the file."""
    source = _Source(raw, start)
    if kind == "xml":
        while data := source.take(_INFLATED):
            yield Block(source.at - len(data), True, source.at, data, plain=True)
        return
    while head := source.take(_READ):
        stream, starts = source.at - len(head), True
        stripped = head.lstrip(b"\0")
        if not stripped and stream > start and kind == "gz":  # gzip allows zeros after its last member
            continue
        inflate = _DECOMPRESSORS[kind]()
        data = head
        while not inflate.eof:
            if not data and inflate.needs_input and not (data := source.take(_READ)):
                raise InputError(
                    f"the file is cut: its last {kind} stream does not end", file=path, offset=stream, mend=REFETCH
                )
            try:
                out = inflate.decompress(data, _INFLATED)
            except Exception as damage:  # OSError, zlib.error or ZstdError: each library has its own, all mean this
                if not isinstance(damage, (OSError, ValueError)) and type(damage).__name__ not in (
                    "error",
                    "ZstdError",
                ):
                    raise
                raise InputError(f"damaged {kind} stream: {damage}", file=path, offset=stream, mend=REFETCH) from damage
            data = b""
            if out:
                yield Block(stream, starts, source.at - len(inflate.unused_data if inflate.eof else b""), out)
                starts = False
        source.put_back(inflate.unused_data)


def _utf8(blocks: Iterator[Block]) -> Iterator[Block]:
    """The same blocks with UTF-16 turned into UTF-8, and then taken as one stream; UTF-8 passes through."""
    first = next(blocks, None)
    if first is None:
        return
    if not first.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield first
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    for block in chain((first,), blocks):
        data = decoder.decode(block.data).encode("utf-8", "replace")
        yield block._replace(stream=0, starts=block is first, data=data, plain=False)


def open_blocks(path: str, raw: BinaryIO, start: int) -> Iterator[Block]:
    """Blocks of UTF-8 from ``start`` (a stream's first byte, or any byte of plain XML) to the end of the file.

    Raises ``InputError``, after all that could be read, for a file that is cut, damaged or of another kind.
    """
    blocks = _blocks(path, raw, kind_of(path, raw), start)
    return blocks if start else _utf8(blocks)
