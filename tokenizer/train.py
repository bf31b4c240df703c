"""Train a SentencePiece model that anyone with the same text and options gets again, byte for byte.

Choices that the options leave no say in, and why:

- Text is segmented as it stands: no space is added in front of it and none is removed, and a line break is a piece of
  its own. So a line has the same pieces wherever it stands, and with the identity normaliser decoding gives back every
  text but one with U+2581, the sign that SentencePiece writes for a space.
- A document reaches the trainer as its lines, long ones in several cuts. SentencePiece leaves out sentences that are
  longer than its limit or hold U+2585 (its own mark) without an error; no line here is or does, so that no text is lost
  in silence.
- The scores of a unigram model are rounded to multiples of 1/64. SentencePiece adds them up as 32-bit floats over a
  whole document, so that in long ones rounding decides between segmentations; sums of such multiples are exact up to
  2**18 (some 40,000 tokens), and other implementations that add in 64 bits (Hugging Face tokenizers) find the very same
  pieces.
- Every printable ASCII character has a piece, even where the sample lacks it: a later prompt must not turn to bytes,
  and the name of a special piece, written in a text, is text.
- The thread count is part of the options: the counts that threads hand together decide the last digits of the scores,
  hence the pieces.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sentencepiece

from pipeline.errors import CorpusmillError, UsageError
from tokenizer import modelfile

UNK, BOS, EOS, PAD = "<unk>", "<s>", "</s>", "<pad>"
SPECIAL = {"unk": 0, "bos": 1, "eos": 2, "pad": 3}
"""The ids of the special pieces in every model trained here."""

STEP = 64
"""Unigram scores are multiples of 1 / STEP."""

NEWLINE = "\n"
ASCII = "".join(map(chr, range(0x21, 0x7F)))
"""The printable characters; each has a piece in every model."""

_CUT = 16_384  # characters a sentence at most: 65,536 bytes of UTF-8
_RESERVED_BY_SENTENCEPIECE = "\u2585"
_NOT_IN_SYMBOLS = "\0\u2581\u2585"
_QUIET = 2  # errors only; all of them reach us as exceptions too


@dataclass(frozen=True)
class TokenizerOptions:
    """What a model is trained with, beside the text.

    ``vocab_size`` counts all pieces: the 4 special ones, the line break, ``user_symbols`` (never split, whatever the
    text), ``reserved`` (``<reserved_0>``..., ids that no text can produce, free for later use) and, with
    ``byte_fallback``, the 256 bytes. ``normalizer`` is a rule name of SentencePiece. ``character_coverage`` is the
    share of the sample's characters that get a piece of their own.
    """

    kind: Literal["unigram", "bpe"] = "unigram"
    vocab_size: int = 8000
    character_coverage: float = 0.9995
    byte_fallback: bool = True
    split_digits: bool = True
    normalizer: Literal["identity", "nfkc", "nmt_nfkc"] = "identity"
    user_symbols: tuple[str, ...] = ()
    reserved: int = 0
    threads: int = 8

    def __post_init__(self) -> None:
        names = [UNK, BOS, EOS, PAD, NEWLINE, *self.control_symbols, *self.user_symbols]
        for symbol in self.user_symbols:
            if names.count(symbol) > 1:
                raise UsageError(
                    f"tokenizer.user_symbols: {symbol!r} is there twice or is a piece anyway",
                    mend="name it once, or leave out what is a piece anyway",
                )
            if not symbol or any(char.isspace() or char in _NOT_IN_SYMBOLS for char in symbol):
                raise UsageError(
                    f"tokenizer.user_symbols: {symbol!r} is empty or holds white space or NUL",
                    mend="give one without, such as <|user|>",
                )

    @property
    def control_symbols(self) -> list[str]:
        """The reserved pieces: no text is ever encoded to one."""
        return [f"<reserved_{i}>" for i in range(self.reserved)]


@dataclass(frozen=True)
class Trained:
    """A finished model.

    ``model``: the bytes of the model file. ``vocabulary``: a line for each piece in the order of ids, with its text
    (line break, tab and backslash escaped), a tab and its score. ``manifest``: options, versions, sample and digests,
    as JSON can hold them.
    """

    model: bytes
    vocabulary: str
    manifest: dict[str, Any]


class _Sample:
    """Documents as sentences for the trainer, counted and hashed on their way."""

    def __init__(self, texts: Iterable[str]):
        self.texts = texts
        self.documents = self.bytes = self.sentences = 0
        self.digest = hashlib.sha256()
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for text in self.texts:
                self._count(text)
                for sentence in sentences(text):
                    self.sentences += 1
                    yield sentence
        except Exception as error:  # SentencePiece raises a RuntimeError in its place: keep the cause
            self.failure = error
            raise

    def _count(self, text: str) -> None:
        try:
            content = text.encode()
        except UnicodeEncodeError as error:
            raise CorpusmillError(
                f"document {self.documents} of the tokenizer sample holds a lone surrogate at character {error.start}",
                mend="repair the text before training (corpusmill ingest does)",
            ) from None
        if b"\0" in content:
            raise CorpusmillError(
                f"document {self.documents} of the tokenizer sample holds NUL at byte {content.index(0)}",
                mend="repair the text before training (corpusmill ingest does)",
            )
        self.documents += 1
        self.bytes += len(content)
        self.digest.update(len(content).to_bytes(8, "little") + content)


def sentences(text: str) -> Iterator[str]:
    """The lines of a text, without its line breaks and U+2585; long ones cut, before a space where there is one."""
    for line in re.split(f"[{NEWLINE}{_RESERVED_BY_SENTENCEPIECE}]", text):
        start = 0
        while len(line) - start > _CUT:
            space = line.rfind(" ", start + 1, start + _CUT)
            stop = space if space > 0 else start + _CUT
            yield line[start:stop]
            start = stop
        if start < len(line):
            yield line[start:]


def train(texts: Iterable[str], options: TokenizerOptions | None = None) -> Trained:
    """Train a model on ``texts``, a sample in a deterministic order.

    Raises CorpusmillError for an empty sample, a vocabulary larger than the text supports (naming the largest that
    fits) or smaller than its characters need, and for text with NUL or lone surrogates.
    """
    options = options or TokenizerOptions()
    sample = _Sample(texts)
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=writer,
            model_type=options.kind,
            vocab_size=options.vocab_size,
            hard_vocab_limit=False,  # a smaller result tells the largest vocabulary that fits
            character_coverage=options.character_coverage,
            byte_fallback=options.byte_fallback,
            split_digits=options.split_digits,
            normalization_rule_name=options.normalizer,
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            required_chars=ASCII,
            user_defined_symbols=[NEWLINE, *options.user_symbols],
            control_symbols=options.control_symbols,
            unk_id=SPECIAL["unk"],
            bos_id=SPECIAL["bos"],
            eos_id=SPECIAL["eos"],
            pad_id=SPECIAL["pad"],
            unk_piece=UNK,
            bos_piece=BOS,
            eos_piece=EOS,
            pad_piece=PAD,
            num_threads=options.threads,
            max_sentence_length=4 * _CUT,
            shuffle_input_sentence=False,
            minloglevel=_QUIET,
        )
    except RuntimeError as error:
        raise sample.failure or _refusal(str(error), options, sample) from error
    model = writer.getvalue()
    content = modelfile.read(model)
    if len(content.pieces) < options.vocab_size:
        raise CorpusmillError(
            f"tokenizer.vocab_size = {options.vocab_size} is too large for {sample.bytes} bytes of text: "
            f"at most {len(content.pieces)} pieces can be found in it",
            mend=f"set tokenizer.vocab_size = {len(content.pieces)} or less, or train on more text",
        )
    if options.kind == "unigram":
        scores = [round(piece.score * STEP) / STEP for piece in content.pieces]
        model = modelfile.with_scores(model, content.pieces, scores)
        content = modelfile.read(model)
    return Trained(model, _vocabulary(content.pieces), _manifest(model, options, sample))


def describe(model: bytes) -> Trained:
    """A model that was trained elsewhere, with its vocabulary and a manifest of what its file says."""
    content = modelfile.read(model)
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise CorpusmillError(f"not a SentencePiece model: {error}", mend=modelfile.MEND) from error
    roles = {role: getattr(processor, f"{role}_id")() for role in SPECIAL}
    manifest = {
        "brought": True,
        "vocab_size": len(content.pieces),
        "byte_fallback": content.byte_fallback,
        "special_ids": {role: number for role, number in roles.items() if number >= 0},
        "model_sha256": hashlib.sha256(model).hexdigest(),
    }
    return Trained(model, _vocabulary(content.pieces), manifest)


def _refusal(message: str, options: TokenizerOptions, sample: _Sample) -> CorpusmillError:
    """What SentencePiece's error means for whoever wrote the configuration."""
    if not sample.sentences:
        return CorpusmillError(
            f"no text to train a tokenizer on: {sample.documents} documents, all empty",
            mend="keep more documents (corpusmill report shows the drops by reason)",
        )
    if needed := re.search(r"required_chars\. (\d+) vs (\d+)", message):
        return CorpusmillError(
            f"tokenizer.vocab_size = {options.vocab_size} is too small: "
            f"the characters of the text alone need {needed[2]} pieces",
            mend=f"set tokenizer.vocab_size = {needed[2]} or more",
        )
    return CorpusmillError(
        f"SentencePiece could not train on {sample.documents} documents: {message}",
        mend="another tokenizer.vocab_size or tokenizer.kind, or more text: tokenizer.sample",
    )


def _vocabulary(pieces: list[modelfile.Piece]) -> str:
    return "".join(f"{_visible(piece.text)}\t{piece.score}\n" for piece in pieces)


def _visible(piece: str) -> str:
    return piece.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def _manifest(model: bytes, options: TokenizerOptions, sample: _Sample) -> dict[str, Any]:
    return {
        "options": {**asdict(options), "user_symbols": list(options.user_symbols)},
        "sentencepiece": sentencepiece.__version__,
        "sample": {
            "documents": sample.documents,
            "bytes": sample.bytes,
            "sentences": sample.sentences,
            "sha256": sample.digest.hexdigest(),
        },
        "special_ids": dict(SPECIAL),
        "model_sha256": hashlib.sha256(model).hexdigest(),
    }
