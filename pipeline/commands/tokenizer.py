"""`corpusmill tokenizer`: train, encode, decode, report."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pipeline.commands.build import add_stage
from pipeline.commands.common import Commands, print_json, with_json
from pipeline.errors import CorpusmillError

if TYPE_CHECKING:
    from tokenizer.encode import Model

_MODEL = "tokenizer/tokenizer.model"
_BATCH_LINES = 1024
_IDS = "give numbers parted by spaces, a text a line, as corpusmill tokenizer encode prints them"


def add(commands: Commands) -> None:
    """Declare tokenizer; without a word of its own it is ``train``, as every stage is a command."""
    group = commands.group(
        "tokenizer",
        "train the tokenizer, use it, judge it",
        "tokenizer report corpus",
        "train",
        ("train", "encode", "decode", "report"),
    )
    add_stage(group, "train", "train it on the kept documents (and run what must come before)", "tokenizer")

    encode = group.add("encode", "texts to token ids, a line each", "encode corpus < texts.txt", _encode)
    _model(encode)
    encode.add_argument("--text", action="append", help="a text; may be given several times; default: stdin's lines")
    encode.add_argument("--pieces", action="store_true", help="print pieces, not ids")
    encode.add_argument("--bos", action="store_true", help="begin with the piece for the beginning of a text")
    encode.add_argument("--eos", action="store_true", help="end with the piece for the end of a text")
    with_json(encode)

    decode = group.add("decode", "token ids to text", "decode corpus < ids.txt", _decode)
    _model(decode)
    decode.add_argument("--ids", action="append", help="ids parted by spaces; default: those on each line of stdin")
    with_json(decode)

    report = group.add(
        "report", "fertility by language, what cannot be said, use of the vocabulary", "report corpus", _report
    )
    report.add_argument("corpus", help="folder or URL of the corpus whose kept documents are encoded")
    report.add_argument("--model", default="", metavar="MODEL", help="another model than the corpus's own")
    report.add_argument("--baseline", default="", metavar="MODEL", help="a model to compare with, beside bytes")
    report.add_argument("--bytes", type=int, default=20_000_000, metavar="N", help="text to read (default 20 MB)")
    with_json(report)


def _model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", help="a corpus, a tokenizer's folder or a SentencePiece model")


def _load(place: str) -> Model:
    """The model of a corpus, of a tokenizer's folder, or in a file."""
    from pipeline.storage import Root, open_input
    from tokenizer.encode import load

    for name in () if os.path.isfile(place) or place.endswith(".model") else (_MODEL, "tokenizer.model"):
        if Root(place).size(name) is not None:
            return load(Root(place).read(name))
    try:
        with open_input(place) as file:
            return load(file.read())
    except OSError as error:
        raise CorpusmillError(
            f"no tokenizer here: {error.strerror}", file=place, mend="corpusmill tokenizer train CORPUS_TOML"
        ) from error


def _lines() -> Iterator[str]:
    """The lines of stdin, without their ends."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise CorpusmillError(
                f"line {number} of the input is not UTF-8: {error.reason} at byte {error.start}",
                mend="convert it before, such as: iconv --from latin1 --to utf-8",
            ) from error


def _batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(values)
    while batch := list(itertools.islice(rest, _BATCH_LINES)):
        yield batch


def _encode(options: argparse.Namespace) -> int:
    import pyarrow as pa

    from tokenizer.encode import encode

    model = _load(options.model)
    for texts in _batches(options.text or _lines()):
        for ids in encode(pa.array(texts, pa.string()), model, add_bos=options.bos, add_eos=options.eos).to_pylist():
            pieces = [model.processor.id_to_piece(id) for id in ids] if options.pieces else ids
            if options.json:
                print_json(pieces)
            else:
                print(*pieces)
    return 0


def _decode(options: argparse.Namespace) -> int:
    import pyarrow as pa

    from tokenizer.encode import decode

    model = _load(options.model)
    for lists in _batches(map(_ids, options.ids or _lines())):
        try:
            tokens = pa.array(lists, pa.list_(pa.uint32()))
        except (pa.ArrowInvalid, OverflowError) as error:
            raise CorpusmillError(f"no token ids: {error}", mend=_IDS) from error
        for text in decode(tokens, model).to_pylist():
            if options.json:
                print_json(text)
            else:
                print(text)
    return 0


def _ids(line: str) -> list[int]:
    try:
        return [int(word) for word in line.split()]
    except ValueError as error:
        raise CorpusmillError(f"no token ids: {error}", mend=_IDS) from error


def _report(options: argparse.Namespace) -> int:
    import pyarrow as pa

    from pipeline.stages.tokenizer import sample
    from pipeline.storage import Root
    from tokenizer.report import report

    found = sample(Root(options.corpus), options.bytes)
    texts = pa.array([found.texts[row] for row in found.order], pa.string())
    languages = [found.languages[row] for row in found.order]
    result = report(texts, languages, _load(options.model or options.corpus))
    if options.baseline:
        baseline = report(texts, languages, _load(options.baseline))
        for mine, other in zip(result["languages"], baseline["languages"], strict=True):
            mine["baseline"]["model"] = {name: other[name] for name in ("tokens_per_word", "bytes_per_token")}
        result["vocabulary"]["baseline"] = baseline["vocabulary"]
    if options.json:
        print_json(result)
    else:
        print("\n".join(_table(result)))
    return 0


def _table(result: dict[str, Any]) -> list[str]:
    head = f"{'language':<10}{'documents':>10}{'tokens':>13}{'tokens/word':>13}{'bytes/token':>13}"
    head += f"{'unknown':>10}{'as bytes':>10}{'not restored':>14}"
    baselines = list(result["languages"][-1]["baseline"])
    head += "".join(f"{f'| {name}: t/w, b/t':>26}" for name in baselines)
    rows = [head]
    for row in result["languages"]:
        line = f"{row['language']:<10}{row['documents']:>10,}{row['tokens']:>13,}"
        line += f"{_ratio(row['tokens_per_word']):>13}{_ratio(row['bytes_per_token']):>13}"
        line += f"{_share(row['unknown_rate']):>10}{_share(row['byte_rate']):>10}{row['round_trip_failures']:>14,}"
        for name in baselines:
            other = row["baseline"][name]
            line += f"{'| ' + _ratio(other['tokens_per_word']) + ', ' + _ratio(other['bytes_per_token']):>26}"
        rows.append(line)
    vocabulary = result["vocabulary"]
    rows.append(f"vocabulary: {vocabulary['used']:,} of {vocabulary['pieces']:,} pieces used here")
    return rows


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3%}"
