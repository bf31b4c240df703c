"""The few fields of a SentencePiece model file that its Python API does not show.

A model file is one protocol buffer message (``sentencepiece_model.proto`` of the SentencePiece sources). The generated
module that the package carries wants a protobuf newer than Apache Beam allows, so the wire format is read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.errors import CorpusmillError

MEND = "name a .model file of SentencePiece, such as CORPUS/tokenizer/tokenizer.model"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""ModelProto.SentencePiece.Type."""

UNIGRAM, BPE, WORD, CHARACTER = 1, 2, 3, 4
"""TrainerSpec.ModelType."""


class Piece(NamedTuple):
    """One piece: its text, its score, its type and the byte position of the score in the file (-1: not written)."""

    text: str
    score: float
    type: int
    at: int


class ModelFile(NamedTuple):
    """What a model file says: the pieces by id, and how text is prepared before the search."""

    pieces: list[Piece]
    model_type: int
    byte_fallback: bool
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    whitespace_suffix: bool


def read(model: bytes) -> ModelFile:
    """Parse a model file; a CorpusmillError if it is none."""
    try:
        pieces: list[Piece] = []
        trainer: dict[int, int] = {}
        normalizer: dict[int, int] = {}
        charsmap = b""
        for number, start, stop, _ in _fields(model, 0, len(model)):
            if number == 1:
                pieces.append(_piece(model, start, stop))
            elif number == 2:
                trainer = {field: value for field, _, _, value in _fields(model, start, stop)}
            elif number == 3:
                for field, first, last, value in _fields(model, start, stop):
                    normalizer[field] = value
                    if field == 2:
                        charsmap = model[first:last]
    except (IndexError, ValueError, struct.error) as error:
        raise CorpusmillError(f"not a SentencePiece model: {error}", mend=MEND) from error
    if not pieces:
        raise CorpusmillError("not a SentencePiece model: it has no pieces", mend=MEND)
    return ModelFile(
        pieces,
        model_type=trainer.get(3, UNIGRAM),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=charsmap,
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
        escape_whitespaces=bool(normalizer.get(5, 1)),
        whitespace_suffix=bool(trainer.get(24, 0)),
    )


def with_scores(model: bytes, pieces: list[Piece], scores: list[float]) -> bytes:
    """The same model with other scores: each is a float of four bytes, overwritten in its place."""
    changed = bytearray(model)
    for piece, score in zip(pieces, scores, strict=True):
        if piece.at >= 0:
            struct.pack_into("<f", changed, piece.at, score)
    return bytes(changed)


def _piece(model: bytes, start: int, stop: int) -> Piece:
    text, score, kind, at = "", 0.0, NORMAL, -1
    for field, first, last, value in _fields(model, start, stop):
        if field == 1:
            text = model[first:last].decode()
        elif field == 2:
            at, score = first, struct.unpack_from("<f", model, first)[0]
        elif field == 3:
            kind = value
    return Piece(text, score, kind, at)


def _fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of one message: number, where the payload starts and stops, and the value of a varint (else 0)."""
    while at < stop:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value, start = 0, at
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 1:
            at += 8
        elif wire == 2:
            size, start = _varint(data, at)
            at = start + size
        elif wire == 5:
            at += 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > stop:
            raise ValueError(f"a field runs past the end at byte {start}")
        yield number, start, at, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number without an end at byte {at}")
