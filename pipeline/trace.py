"""Follow a document through a corpus: from a row of a shard to the bytes of the dump, and from a page to its fate.

Everything shown is read, nothing is guessed: the shard and its document id, the part of `documents/` or `dropped/` and
its row, the ledger row of its unit, the dump's bytes at the recorded place, parsed again. Rules are measured again on
the text with the configuration that the ledger has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Clean
from pipeline.errors import CorpusmillError, InputError, UsageError
from pipeline.ledger import Ledger
from pipeline.shards import read
from pipeline.stages.documents import kept
from pipeline.stages.judge import Judge, Material
from pipeline.stages.parts import read_batches
from pipeline.storage import Root, open_input, sha256_of, size_of, stamp_of

_KEPT, _DROPPED, _COPIES = "documents", "dropped", "duplicates"
_IDENTITY = ("id", "source", "url", "title", "timestamp", "language", "language_score")
_REASON = ("detail", "value", "threshold", "keeper")
_FETCH_AGAIN = "fetch the file again, or say where it lies now: --dump PATH"
_CONTEXT = 60  # characters shown on each side of a token

Query = tuple[str, Callable[[pa.RecordBatch], pa.Array]]
"""A column, and which rows of a batch are meant by it, as booleans."""


class Found(NamedTuple):
    """A row of a dataset: its folder, unit, number in the part, and values by column."""

    folder: str
    unit: str
    row: int
    values: dict[str, Any]

    @property
    def part(self) -> str:
        """The file that holds the row."""
        return f"{self.folder}/{self.unit}.parquet"


def trace_row(
    root: Root, shard: str, row: int, token: int | None = None, *, paranoid: bool = False, dump: str = ""
) -> dict[str, Any]:
    """Follow row ``row`` of the shard file ``shard`` back to its dump; ``token`` counts from the row's first.

    Returns what `find` gives for the document, with ``shard`` (name, row, tokens) and, for a token, ``token`` (id,
    piece, and the characters of the text it stands for). CorpusmillError for a row or token that is not there, and for
    a shard that is not what its index says.
    """
    batch = read.read_shard(root.path("shards"), shard, paranoid=paranoid)
    if not 0 <= row < batch.num_rows:
        raise UsageError(f"{shard} has rows 0 to {batch.num_rows - 1}, not {row}")
    tokens = batch["tokens"][row].values.to_numpy()
    if token is not None and not 0 <= token < len(tokens):
        raise UsageError(f"row {row} of {shard} has tokens 0 to {len(tokens) - 1}, not {token}")
    document, source = batch["doc_id"][row].as_py(), batch["source"][row].as_py()
    found = next(_rows(root, _KEPT, _equals("id", document), source), None)
    if found is None:
        raise CorpusmillError(
            f"document {document.hex()} of {shard} is not in documents/: these shards are of an earlier build",
            file=root.url,
            mend="corpusmill shards CORPUS_TOML",
        )
    first = batch["first_token"][row].as_py()
    result = _follow(root, found, dump)
    result["shard"] = {"path": shard, "row": row, "tokens": len(tokens), "first_token": first}
    if token is not None:
        result["token"] = _token(root, result["text"], first + token, int(tokens[token]))
    return result


def find(
    root: Root, *, url: str = "", title: str = "", id: str = "", text: str = "", limit: int = 10, dump: str = ""
) -> list[dict[str, Any]]:
    """Say of every record with this URL, title, id (hexadecimal) or piece of text where it went, or why it did not.

    One entry a record, kept ones first, at most ``limit``: ``fate`` ("in shards", "not in the mix", a drop's reason),
    ``document`` (identity), ``steps`` (each stage's decision with what it was based on), ``text``, ``dump`` (file,
    offset, length, record, SHA-256 of those bytes) and ``original`` (the page as it stands there).
    """
    if text:
        query = _contains(text)
    elif id:
        if not re.fullmatch("[0-9A-Fa-f]{32}", id):
            raise UsageError(f"an id is 32 hexadecimal digits, not {id!r}", mend="corpusmill inspect CORPUS --id START")
        query = _equals("id", bytes.fromhex(id))
    else:
        query = _equals("url", url) if url else _equals("title", title)
    found = []
    for folder in (_KEPT, _DROPPED):
        for one in _rows(root, folder, query):
            found.append(_follow(root, one, dump))
            if len(found) == limit:
                return found
    return found


def _equals(column: str, value: Any) -> Query:
    def equal(batch: pa.RecordBatch) -> pa.Array:
        return pc.fill_null(pc.equal(batch[column], pa.scalar(value, batch[column].type)), False)

    return column, equal


def _contains(snippet: str) -> Query:
    return "text", lambda batch: pc.fill_null(pc.match_substring(batch["text"], snippet), False)


def _rows(root: Root, folder: str, query: Query, source: str = "") -> Iterator[Found]:
    """The rows of a dataset that a query means. Only its column is read, and then the parts that have such rows."""
    for name in root.sizes(folder):
        if not source or name.startswith(f"{folder}/{source}--"):
            yield from _rows_of(root, name, query)


def _rows_of(root: Root, name: str, query: Query) -> Iterator[Found]:
    column, matches = query
    wanted = [matches(batch).to_numpy(zero_copy_only=False) for batch in read_batches(root, name, [column])]
    rows = np.flatnonzero(np.concatenate(wanted)) if wanted else np.empty(0, np.int64)
    folder, _, unit = name.removesuffix(".parquet").partition("/")
    first = 0
    for batch in read_batches(root, name) if len(rows) else ():
        for row in rows[(rows >= first) & (rows < first + batch.num_rows)].tolist():
            yield Found(folder, unit, row, batch.slice(row - first, 1).to_pylist()[0])
        first += batch.num_rows


def _follow(root: Root, found: Found, dump: str) -> dict[str, Any]:
    """Everything about one record, from its row in `documents/` or `dropped/`."""
    values = found.values
    result: dict[str, Any] = {
        "document": {name: _plain(values[name]) for name in _IDENTITY},
        "text": values["text"],
        "steps": [],
    }
    step = {"stage": "ingest", "part": found.part, "row": found.row}
    if found.folder == _DROPPED:
        result["fate"] = values["reason"]
        result["steps"].append({**step, **_reason(values)})
    else:
        result["steps"].append({**step, "decision": "kept", **_passed(root, values)})
        result["fate"] = _after_ingest(root, found, result)
    result["dump"] = place = _place(root, found, dump)
    try:
        result["original"] = _original(root, values, place)
    except InputError as error:
        if not result["fate"].startswith("error:"):
            raise
        result["original"] = f"(cannot be read: {error.cause})"
    return result


def _after_ingest(root: Root, found: Found, result: dict[str, Any]) -> str:
    """Add what deduplication and the shards stage made of a document that ingest kept; returns its fate."""
    copies_of_unit = f"{_COPIES}/{found.unit}.parquet"
    if root.size(copies_of_unit) is None:
        return "not deduplicated yet: corpusmill build goes on"
    for lost in _rows_of(root, copies_of_unit, _equals("row", found.row)):
        result["steps"].append({"stage": "dedup", "part": lost.part, "row": lost.row, **_reason(lost.values)})
        return str(lost.values["reason"])
    id = found.values["id"]
    copies = [
        {name: _plain(one.values[name]) for name in ("id", "reason", "url", "title", "file", "record")}
        for one in _rows(root, _COPIES, _equals("keeper", id))
    ]
    decision = f"kept: the keeper of a cluster of {len(copies) + 1}" if copies else "kept: no copy of it was found"
    result["steps"].append({"stage": "dedup", "decision": decision, "copies": copies})
    if root.size("shards/index.json") is None:
        return "no shards yet: corpusmill build goes on"
    for batch in kept(root, found.unit, ["id", "text"]):  # the text as it was encoded
        if (at := pc.index(batch["id"], pa.scalar(id, batch["id"].type)).as_py()) >= 0:
            result["text"] = batch["text"][at].as_py()
            break
    places = read.find_document(root.path("shards"), id)
    fate = "in shards" if places else "not in the mix"  # see shards.epochs of the configuration
    result["steps"].append({"stage": "shards", "decision": fate, "places": places})
    return fate


def _reason(values: dict[str, Any]) -> dict[str, Any]:
    """The decision of a drop, with value, threshold and keeper where it has them."""
    said = {name: _plain(values[name]) for name in _REASON if values.get(name) is not None}
    return {"decision": f"dropped: {values['reason']}", **said}


def _passed(root: Root, values: dict[str, Any]) -> dict[str, Any]:
    """Every limit of [clean] with what it measures on this document as it was kept.

    Without what only files beside the configuration could say (benchmarks, flagged words).
    """
    settings = Ledger(root).settings()["clean"]
    for name in ("decontaminate", "flagged_words", "pii"):
        settings.pop(name, None)
    try:
        judge = Judge(Clean.model_validate({**settings, "statistics": True}), Material())
        measured = judge.assess(pa.array([values["text"]], pa.string())).statistics
    except (UsageError, ValueError) as error:
        return {"checks": [], "unchecked": str(error)}
    assert measured is not None
    checks = [{"rule": "language", "value": values["language"], "allowed": settings["languages"] or "all"}]
    for name, limit in judge.limits.items():
        bounds = {bound: value for bound in ("min", "max") if (value := getattr(limit, bound)) is not None}
        checks.append({"rule": name, "value": measured[f"rule.{name}"][0].as_py(), **bounds})
    return {"checks": checks}


def _token(root: Root, text: str, number: int, expected: int) -> dict[str, Any]:
    """Which characters of the text a token stands for."""
    from tokenizer import encode

    model = encode.load(root.read("tokenizer/tokenizer.model"))
    if expected in (model.special_ids.get("bos"), model.special_ids.get("eos")):
        return {"number": number, "id": expected, "piece": model.processor.id_to_piece(expected), "characters": ""}
    spans = encode.spans(text, model)
    has_bos = Ledger(root).settings()["shards"].get("bos", False)
    piece, begin, end = spans[number - has_bos]
    found = model.processor.piece_to_id(piece)
    if found != expected:
        raise CorpusmillError(
            f"token {number} is {expected} in the shard, {found} in the text: these shards have another tokenizer",
            file=root.path("shards"),
            mend="corpusmill shards CORPUS_TOML",
        )
    return {
        "number": number,
        "id": expected,
        "piece": piece,
        "characters": [begin, end],
        "before": text[max(begin - _CONTEXT, 0) : begin],
        "text": text[begin:end],
        "after": text[end : end + _CONTEXT],
    }


def _place(root: Root, found: Found, dump: str) -> dict[str, Any]:
    """Where the record lies in its dump, with the SHA-256 of the bytes that stand there."""
    values = found.values
    inputs = Ledger(root).row("ingest", found.unit).inputs
    path = dump or _path_of(root, inputs)
    _check_dump(root, path, inputs)
    with open_input(path) as file:
        file.seek(values["offset"])
        content = file.read(values["length"])
    if len(content) != values["length"]:
        raise CorpusmillError(
            f"the dump ends before byte {values['offset'] + values['length']}", file=path, mend=_FETCH_AGAIN
        )
    place = {name: values[name] for name in ("file", "offset", "length", "record")}
    return {"path": path, **place, "sha256": hashlib.sha256(content).hexdigest()}


def _original(root: Root, values: dict[str, Any], place: dict[str, Any]) -> str:
    """The page as it stands in the dump, read again."""
    formats = {s["name"]: s["format"] for s in Ledger(root).settings()["source"]}
    if formats[values["source"]] == "wikimedia":
        from pipeline.parse.mediawiki_reader import find_page

        return find_page(place["path"], place["offset"], place["record"]).text
    from pipeline.parse.warc import find_record

    return _page(find_record(place["path"], place["offset"], place["record"]))


def _page(record: Any) -> str:
    """The page of an archive's record: the payload of a response, the block of any other, as text."""
    from pipeline.parse import encoding, http

    response = http.parse_response(record.block, len(record.block) * 100) if record.type == "response" else None
    if response is not None:
        return encoding.decode(response.payload, http.charset(response.content_type) or None)[0]
    return encoding.decode(record.block, "utf-8" if record.type == "conversion" else None)[0]


def _path_of(root: Root, inputs: dict[str, Any]) -> str:
    """Where the dump of a unit lay when it was read."""
    for path, known in (root.read_json("ledger/inputs.json") or {}).items():
        if known["content"] == inputs["content"] and path.endswith(inputs["file"]):
            return str(path)
    raise CorpusmillError(
        f"the ledger no longer knows where the dump {inputs['file']} lies", file=root.url, mend="give it: --dump PATH"
    )


def _check_dump(root: Root, path: str, inputs: dict[str, Any]) -> None:
    """Refuse a dump that is not the one that was read: by size, then time of change, then SHA-256."""
    mend = _FETCH_AGAIN
    try:
        size = size_of(path)
    except FileNotFoundError:
        raise CorpusmillError("the dump is no longer there", file=path, mend=mend) from None
    if size != inputs["bytes"]:
        raise CorpusmillError(f"a dump of {size} bytes, {inputs['bytes']} were read", file=path, mend=mend)
    known = (root.read_json("ledger/inputs.json") or {}).get(path)
    if known and known["question"][-1] == stamp_of(path):
        return
    kind, _, expected = inputs["content"].partition(":")
    if kind == "sha256":
        with open_input(path) as file:
            found = sha256_of(file)
        if found != expected:
            raise CorpusmillError(f"another dump: SHA-256 {expected} was read, {found} found", file=path, mend=mend)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else value


def lines(found: dict[str, Any], characters: int = 600) -> list[str]:
    """A trace as text for a terminal; texts are cut to ``characters`` (0: whole)."""
    out = []
    if "shard" in found:
        shard = found["shard"]
        start = f", from token {shard['first_token']:,} of the document" if shard["first_token"] else ""
        out.append(_line("shard", f"{shard['path']} row {shard['row']}: {shard['tokens']:,} tokens{start}"))
    if "token" in found:
        token = found["token"]
        shown = f"{token['before']}[{token['text']}]{token['after']}" if "text" in token else "not of the text"
        out.append(_line("token", f"{token['number']:,}: id {token['id']} {token['piece']!r}: {shown!r}"))
    document = found["document"]
    out.append(_line("document", " ".join(str(document[name]) for name in ("id", "source", "url") if document[name])))
    out.append(_line("title", f"{document['title'] or '-'}   {document['timestamp'] or ''}".rstrip()))
    out.append(_line("fate", found["fate"]))
    for step in found["steps"]:
        at = f" ({step['part']} row {step['row']})" if "row" in step else ""
        out.append(_line(step["stage"], step["decision"] + at))
        for check in step.get("checks", []):
            limits = ", ".join(f"{k} {v}" for k, v in check.items() if k not in ("rule", "value"))
            out.append(_line("", f"passed {check['rule']}: {_figure(check['value'])} ({limits})"))
        for name in _REASON:
            if name in step:
                out.append(_line("", f"{name} {_figure(step[name])}"))
        for copy in step.get("copies", []):
            out.append(_line("", f"copy {copy['id']} {copy['reason']} {copy['url'] or copy['title'] or ''}"))
        for place in step.get("places", []):
            out.append(_line("", f"{place['path']} row {place['row']}: {place['tokens']:,} tokens"))
    dump = found["dump"]
    out.append(_line("dump", dump["path"]))
    out.append(_line("", f"bytes {dump['offset']:,} to {dump['offset'] + dump['length']:,}, record {dump['record']}"))
    out.append(_line("", f"SHA-256 {dump['sha256']}"))
    for name in ("original", "text"):
        whole = found[name] or ""
        cut = whole if not characters else whole[:characters]
        more = f"\n[{len(whole) - len(cut):,} characters more]" if len(cut) < len(whole) else ""
        out += ["", f"--- {'as it stands in the dump' if name == 'original' else 'text'}", cut + more]
    return out


def _line(label: str, text: str) -> str:
    return f"{label:<10}{text}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
