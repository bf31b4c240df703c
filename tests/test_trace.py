"""Every document leads back to its bytes in the dump, and every page to its fate, in a built corpus of real pages."""

import bz2
import hashlib
import html
import json
import shutil
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import cli
from pipeline.errors import CorpusmillError, UsageError
from pipeline.storage import Root
from pipeline.trace import find, trace_row
from tests.corpus import copy
from tokenizer.encode import load


def shards(corpus):
    return sorted((corpus / "shards").glob("*.arrow"))


def rows(corpus, folder):
    return [row for path in sorted((corpus / folder).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def the_bytes(found):
    """What lies in the dump at the place of a trace, read without our parsers."""
    dump = found["dump"]
    data = Path(dump["path"]).read_bytes()[dump["offset"] : dump["offset"] + dump["length"]]
    assert hashlib.sha256(data).hexdigest() == dump["sha256"]
    if data[:3] == b"BZh":
        return bz2.BZ2Decompressor().decompress(data)
    return zlib.decompressobj(wbits=31).decompress(data) if data[:2] == b"\x1f\x8b" else data


def test_rows_lead_to_the_bytes_of_the_dump(built_corpus):
    root = Root(str(built_corpus))
    texts = {row["id"]: row["text"] for row in rows(built_corpus, "documents")}
    sources = set()
    for path in shards(built_corpus):
        table = pa.ipc.open_file(str(path)).read_all()
        for row in range(0, table.num_rows, 7):
            found = trace_row(root, path.name, row)
            assert found["fate"] == "in shards"
            assert found["document"]["id"] == table["doc_id"][row].as_py().hex()
            assert found["text"] == texts[table["doc_id"][row].as_py()]
            raw = the_bytes(found)
            place = found["dump"]
            sources.add(found["document"]["source"])
            if found["document"]["source"] == "wiki":
                begin, size = map(int, place["record"].split("+"))
                page = raw[begin : begin + size]
                assert page.startswith(b"<page>")
                assert f"<title>{found['document']['title']}</title>".encode() in page.replace(b"&amp;", b"&")
                assert page.count(b"<page>") == 1
                assert found["original"] in html.unescape(page.decode())
            else:
                assert place["record"].encode() in raw
                assert found["document"]["url"].encode() in raw
                assert found["original"].split("\n")[0].strip().encode() in raw
    assert sources == {"wiki", "web"}


def test_a_token_leads_to_its_characters(built_corpus):
    root = Root(str(built_corpus))
    model = load(built_corpus / "tokenizer/tokenizer.model")
    path = shards(built_corpus)[0]
    tokens = pa.ipc.open_file(str(path)).read_all()["tokens"][1].as_py()
    said = [trace_row(root, path.name, 1, number)["token"] for number in range(6)]
    assert "".join(token["text"] for token in said) == model.processor.decode(tokens[:6])
    assert [token["id"] for token in said] == tokens[:6]
    end = trace_row(root, path.name, 1, len(tokens) - 1)["token"]
    assert (end["piece"], end["characters"]) == ("</s>", "")
    for row, token in ((10**6, None), (-1, None), (1, len(tokens))):
        with pytest.raises(UsageError, match="not"):
            trace_row(root, path.name, row, token)


def test_every_drop_is_found_with_its_reason(built_corpus):
    root = Root(str(built_corpus))
    by_reason = {row["reason"]: row for row in rows(built_corpus, "dropped")}
    assert {"characters", "redirect", "namespace"} <= by_reason.keys()
    for reason, row in by_reason.items():
        (found,) = find(root, id=row["id"].hex())
        assert found["fate"] == reason
        the_bytes(found)
        if row["threshold"] is not None:
            assert found["steps"][0]["threshold"] == row["threshold"]


def test_a_copy_and_its_keeper_name_each_other(built_corpus):
    root = Root(str(built_corpus))
    lost = next(row for row in rows(built_corpus, "duplicates") if row["reason"] == "duplicate_near")
    (copy_,) = find(root, id=lost["id"].hex())
    assert copy_["fate"] == "duplicate_near"
    (keeper,) = find(root, id=copy_["steps"][-1]["keeper"])
    assert keeper["fate"] == "in shards"
    dedup = next(step for step in keeper["steps"] if step["stage"] == "dedup")
    assert lost["id"].hex() in [one["id"] for one in dedup["copies"]]


def test_by_url_title_and_text(built_corpus, capsys):
    kept = next(row for row in rows(built_corpus, "documents") if row["title"] and row["url"])
    snippet = kept["text"][100:160]
    for option, value in (("--url", kept["url"]), ("--title", kept["title"]), ("--text", snippet)):
        assert cli.main(["trace", str(built_corpus), option, value, "--json"]) == 0
        assert kept["id"].hex() in [one["document"]["id"] for one in json.loads(capsys.readouterr().out)]
    assert cli.main(["trace", str(built_corpus), "--title", kept["title"]]) == 0
    shown = capsys.readouterr().out
    assert "passed characters" in shown
    assert f"{kept['id'].hex()}" in shown
    assert cli.main(["trace", str(shards(built_corpus)[0]), "0", "0"]) == 0
    assert "id " in capsys.readouterr().out
    assert cli.main(["trace", str(built_corpus), "--title", "no such title"]) == 1
    assert cli.main(["trace", str(built_corpus)]) == 2
    assert cli.main(["trace", str(built_corpus), "--id", "xyz"]) == 2


def test_a_dump_that_changed_is_refused(built_corpus, tmp_path):
    corpus = copy(built_corpus, tmp_path / "corpus")
    root = Root(str(corpus))
    known = json.loads((corpus / "ledger/inputs.json").read_text())
    document = rows(corpus, "documents")[0]
    path = next(path for path in known if path.endswith(document["file"]))
    moved = tmp_path / document["file"]
    shutil.copy(path, moved)
    (found,) = find(root, id=document["id"].hex(), dump=str(moved))
    assert found["dump"]["path"] == str(moved)
    data = bytearray(moved.read_bytes())
    data[len(data) // 2] ^= 1
    moved.write_bytes(data)
    with pytest.raises(CorpusmillError, match="another dump: SHA-256"):
        find(root, id=document["id"].hex(), dump=str(moved))
    moved.write_bytes(data[:-1])
    with pytest.raises(CorpusmillError, match="were read"):
        find(root, id=document["id"].hex(), dump=str(moved))
    (corpus / "ledger/inputs.json").write_text(json.dumps({}))
    with pytest.raises(CorpusmillError, match="--dump PATH"):
        find(root, id=document["id"].hex())
