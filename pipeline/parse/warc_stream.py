"""Decoded bytes of an archive together with the compressed place they came from.

An archive is a run of members: gzip members, zstd frames, or (uncompressed) the file itself. `MemberStream` decodes one
member at a time with bounded memory, checks that each one really ends (gzip: CRC-32 and length), and knows at any
moment how many compressed bytes it has used. That is what the usual readers hide and what a cut file is recognised by.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from pipeline.errors import InputError
from pipeline.storage import open_input

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# Skippable zstd frames; the WARC-zstd convention puts a dictionary into one of type 0x5D at the start of the file.
ZSTD_SKIPPABLE = {bytes((kind, 0x2A, 0x4D, 0x18)) for kind in range(0x50, 0x60)}
ZSTD_DICTIONARY = b"\x5d\x2a\x4d\x18"

READ_BYTES = (
    1 << 16
)  # reads end at multiples of this in the file, so that a record's length does not depend on the range
OUTPUT_BYTES = 1 << 18  # decoded bytes asked for at once
MAX_DICTIONARY = 1 << 24


class Decoder(Protocol):
    """One member being decoded, in the manner of `zlib.decompressobj`."""

    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes:
        """Decode; what does not fit into ``max_length`` waits in ``unconsumed_tail``."""


class ZstdMember:
    """zstandard's decompressor with the output of one call bounded by feeding little input at a time."""

    # A zstd block decodes to at most 128 KiB and takes at least 4 bytes: 512 bytes give at most 16 MiB.
    SLICE = 512

    def __init__(self, dictionary: Any = None) -> None:
        import zstandard

        self._object = zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()
        self._fault = zstandard.ZstdError
        self.eof = False
        self.unused_data = b""
        self.unconsumed_tail = b""

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        """Decode slices of ``data`` until ``max_length`` is reached; the rest waits in ``unconsumed_tail``."""
        out: list[bytes] = []
        size = place = 0
        while place < len(data) and not self.eof and (not max_length or size < max_length):
            try:
                piece = self._object.decompress(data[place : place + self.SLICE])
            except self._fault as fault:
                raise zlib.error(str(fault)) from None
            place += self.SLICE
            out.append(piece)
            size += len(piece)
            self.eof = self._object.eof
        self.unused_data = self._object.unused_data + data[place:] if self.eof else b""
        self.unconsumed_tail = b"" if self.eof else data[place:]
        return b"".join(out)


def gzip_member() -> Decoder:
    """A decoder of one gzip member that checks the member's CRC and length."""
    return zlib.decompressobj(wbits=31)  # type: ignore[return-value]


def read_dictionary(raw: BinaryIO, path: str) -> Any:
    """The shared zstd dictionary at the head of ``raw``, or None; leaves ``raw`` anywhere."""
    import zstandard

    raw.seek(0)
    head = raw.read(8)
    if len(head) < 8 or head[:4] != ZSTD_DICTIONARY:
        return None
    size = int.from_bytes(head[4:], "little")
    if size > MAX_DICTIONARY:
        raise InputError(
            f"a zstd dictionary of {size} bytes is refused (limit {MAX_DICTIONARY})",
            file=path,
            offset=0,
            mend="compress the file again with a smaller dictionary, or none",
        )
    data = raw.read(size)
    if len(data) < size:
        raise InputError("truncated inside the zstd dictionary", file=path, offset=0, mend="fetch the file again")
    try:
        if data[:4] == ZSTD_MAGIC:
            data = zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_DICTIONARY)
        return zstandard.ZstdCompressionDict(data)
    except zstandard.ZstdError as fault:
        raise InputError(
            f"corrupt zstd dictionary: {fault}", file=path, offset=0, mend="fetch the file again"
        ) from None


def compression(raw: BinaryIO, path: str) -> str:
    """``"gzip"``, ``"zstd"`` or ``""`` (plain), by the first bytes of the file; leaves ``raw`` anywhere.

    A file named as compressed that is neither compressed nor begins as an archive is refused.
    """
    raw.seek(0)
    head = raw.read(4)
    if head and (head[:3] == GZIP_MAGIC or GZIP_MAGIC.startswith(head)):
        return "gzip"
    if head and (head in ZSTD_SKIPPABLE or ZSTD_MAGIC.startswith(head)):
        return "zstd"
    name = path.lower()
    if name.endswith((".gz", ".zst")) and not head.isalpha():
        raise InputError(
            "the name says compressed and the first bytes do not",
            file=path,
            offset=0,
            mend="fetch the file again, or correct its name",
        )
    return ""


class MemberStream:
    """Reads ``path`` from ``start``, member by member, those that begin before ``stop``.

    `open_member` moves to the next member; `fill` decodes a little more of it into ``buffer``; ``place`` is the
    reader's position in the buffer. Raises `InputError` where a member is cut or corrupt.
    """

    def __init__(self, path: str, start: int = 0, stop: int | None = None) -> None:
        self.path = path
        self.stop = stop
        self.buffer = b""
        self.place = 0
        self.member = start  # where the present member begins
        self._raw = open_input(path)
        try:
            self.size = self._raw.seek(0, 2)
            self.kind = compression(self._raw, path)
            self._new: Callable[[], Decoder] = gzip_member
            if self.kind == "zstd":
                dictionary = read_dictionary(self._raw, path)
                self._new = lambda: ZstdMember(dictionary)
            self._raw.seek(max(start - 4, 0))
            self.before = self._raw.read(min(start, 4))  # the last bytes before the range
        except BaseException:
            self._raw.close()
            raise
        self._next = start  # compressed position of the first byte that is neither decoded nor in `_input`
        self._input = b""  # compressed bytes read but not yet decoded
        self._decoder: Decoder | None = None
        self._ended = True
        self.fresh = False  # the present member was opened and no record of it was asked for yet

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _read(self) -> bytes:
        """The next compressed bytes, up to an edge of `READ_BYTES` in the file."""
        data = self._raw.read(READ_BYTES - self._next % READ_BYTES)
        self._next += len(data)
        return data

    @property
    def position(self) -> int:
        """The compressed place reached: exact at a member's end and in a plain file."""
        unread = len(self._input) if self.kind else len(self.buffer) - self.place
        return self._next - unread

    def open_member(self) -> bool:
        """Go to the next member; False at the end of the range or the file. The present one must have ended."""
        if not self.kind:
            self.member = self.position
            if self._decoder is None and self.member < self.size:  # a plain file is one member
                self._decoder, self._ended = gzip_member(), False
                return True
            return False
        if self.fresh:
            return True
        while True:
            self.member = self.position
            if self.stop is not None and self.member >= self.stop:
                if self.member > self.stop:
                    raise InputError(
                        f"the range edge {self.stop} lies inside a record; the file holds an archive within an archive",
                        file=self.path,
                        offset=self.member,
                        mend="set the unit size above the size of this file, so that it is read whole",
                    )
                return False
            while len(self._input) < 8 and (data := self._read()):
                self._input += data
            if not self._input:
                return False
            magic = self._input[:4]
            if magic in ZSTD_SKIPPABLE and self.kind == "zstd":
                self._skip_frame()
                continue
            if magic[:3] == GZIP_MAGIC if self.kind == "gzip" else magic == ZSTD_MAGIC:
                break
            if self.kind == "gzip" and not self._input.strip(b"\0") and self._padding():
                return False
            cut = len(self._input) < 8 and (GZIP_MAGIC.startswith(magic[:3]) or ZSTD_MAGIC.startswith(magic))
            raise InputError(
                "truncated inside a member's header" if cut else f"no {self.kind} member where one must begin",
                file=self.path,
                offset=self.member,
                mend="fetch the file again",
            )
        self._decoder, self._ended, self.fresh = self._new(), False, True
        self.buffer, self.place = b"", 0
        return True

    def _padding(self) -> bool:
        """Whether only zero bytes remain (tape padding, which gzip allows)."""
        while data := self._read():
            if data.strip(b"\0"):
                return False
        self._input = b""
        return True

    def _skip_frame(self) -> None:
        while len(self._input) < 8 and (data := self._read()):
            self._input += data
        end = 8 + int.from_bytes(self._input[4:8], "little")
        while len(self._input) < end:
            data = self._read()
            if not data:
                raise self._truncated()
            end -= len(self._input)
            self._input = data
        self._input = self._input[end:]

    def _truncated(self) -> InputError:
        what = f"the {self.kind} member that begins here has no end" if self.kind else "the last record has no end"
        return InputError(f"truncated file: {what}", file=self.path, offset=self.member, mend="fetch the file again")

    def fill(self) -> bool:
        """Decode a little more into ``buffer``; False once the member has ended (whole and checked)."""
        if self._ended:
            return False
        if self.place > OUTPUT_BYTES:
            self.buffer, self.place = self.buffer[self.place :], 0
        if not self.kind:
            data = self._read()
            self._ended = not data
            self.buffer += data
            return bool(data)
        decoder = self._decoder
        assert decoder is not None
        while True:
            if not self._input:
                self._input = self._read()
                if not self._input:
                    raise self._truncated()
            try:
                data = decoder.decompress(self._input, OUTPUT_BYTES)
            except zlib.error as fault:
                raise InputError(
                    f"corrupt {self.kind} member ({fault})",
                    file=self.path,
                    offset=self.member,
                    mend="fetch the file again and check it against the publisher's checksum",
                ) from None
            if decoder.eof:
                self._ended = True
                self._input = decoder.unused_data
            else:
                self._input = decoder.unconsumed_tail
            if data:
                self.buffer = self.buffer[self.place :] + data
                self.place = 0
                return True
            if self._ended:
                return False

    def need(self, count: int) -> bool:
        """Whether ``count`` bytes lie ahead in this member (they are then in the buffer)."""
        while len(self.buffer) - self.place < count:
            if not self.fill():
                return False
        return True

    def take(self, count: int) -> bytes:
        """Up to ``count`` bytes of this member."""
        if count <= len(self.buffer) - self.place:
            self.place += count
            return self.buffer[self.place - count : self.place]
        parts = []
        while count:
            ahead = len(self.buffer) - self.place
            if not ahead and not self.fill():
                break
            piece = self.buffer[self.place : self.place + count]
            self.place += len(piece)
            count -= len(piece)
            parts.append(piece)
        return b"".join(parts)

    def skip(self, count: int) -> int:
        """Pass over up to ``count`` bytes without keeping them; the number passed."""
        left = count
        while left:
            ahead = min(left, len(self.buffer) - self.place)
            self.place += ahead
            left -= ahead
            if left and not self.fill():
                break
        return count - left

    def rewind(self, data: bytes) -> None:
        """Put bytes back that were taken last."""
        self.buffer = data + self.buffer[self.place :]
        self.place = 0
