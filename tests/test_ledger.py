import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CorpusmillError
from pipeline.ledger import Committed, Counts, Ledger, Row, Unit, digest, digest_of_list
from pipeline.storage import Root

REASONS = st.sampled_from(["redirect", "short", "error:xml", "error:http"])


@given(st.lists(st.lists(st.none() | REASONS)))
def test_counts_account_for_every_record(units):
    total = Counts()
    for unit in units:
        counts = Counts(read=len(unit))
        for reason in unit:
            if reason is None:
                counts.kept += 1
            else:
                counts.drop(reason)
        counts.check("unit")
        total.add(counts)
    total.check("all")
    assert total.read == sum(map(len, units))
    assert sum(total.errors.values()) == sum(r is not None and r.startswith("error:") for u in units for r in u)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))
def test_a_lost_record_breaks_the_identity(kept, dropped, lost):
    counts = Counts(read=kept + dropped + lost, kept=kept)
    counts.drop("short", dropped)
    with pytest.raises(CorpusmillError, match="accounting broken"):
        counts.check("unit")


def test_digest_is_of_the_value_not_of_its_spelling():
    assert digest({"a": 1, "b": [1, "é"]}) == digest(json.loads('{"b": [1, "\\u00e9"], "a": 1}'))
    assert digest({"a": 1}) != digest({"a": 2})


@given(st.lists(st.integers() | st.text() | st.tuples(st.text(), st.none())))
def test_the_digest_of_a_list_needs_no_list(values):
    assert digest_of_list(iter(values)) == digest(values)


@given(
    st.lists(st.sampled_from(["a", "tokenizer", "/", ".", "model"]), min_size=1), st.sampled_from(["a", "tokenizer"])
)
def test_what_is_kept_of_a_row_names_its_parts(path, unit):
    output = {"path": "".join(path), "bytes": 5, "sha256": digest(path), "rows": 1}
    counts = Counts(read=3, kept=3, amounts={"text_bytes": 7})
    kept = Committed.of(Row("s", unit, "key", [output], counts))
    assert (kept.key, kept.kept, kept.text_bytes) == ("key", 3, 7)
    assert [(o.path(unit), o.size, o.sha256.hex()) for o in kept.outputs] == [("".join(path), 5, digest(path))]
    assert kept.outputs[0].place.rpartition("/")[0] == "".join(path).rpartition("/")[0]


def committed(ledger, name, data=b"part", key="k"):
    ledger.root.write(f"data/{name}", data)
    output = {"path": f"data/{name}", "bytes": len(data), "sha256": digest(name)}
    ledger.commit(Row("s", name, key, [output], Counts(read=2, kept=1, dropped={"short": 1})))


def units(*names, key="k"):
    return [Unit("s", name, key, i, {}) for i, name in enumerate(names)]


def test_only_what_is_committed_with_the_same_key_is_skipped(tmp_path):
    ledger = Ledger(Root(str(tmp_path)))
    committed(ledger, "a")
    committed(ledger, "b")
    assert [u.name for u in ledger.pending("s", units("a", "b", "c", "d"), ("data",))] == ["d", "c"]
    assert [u.name for u in ledger.pending("s", units("a", "b", key="other"), ("data",))] == ["b", "a"]
    ledger.root.write("data/a", b"cut")
    ledger.root.remove("data/b")
    assert [u.name for u in ledger.pending("s", units("a", "b"), ("data",))] == ["b", "a"]


def test_a_stage_row_sums_its_rows_and_stale_units_go(tmp_path):
    ledger = Ledger(Root(str(tmp_path)))
    for name in ("a", "b", "old"):
        committed(ledger, name)
    ledger.root.write("data/orphan", b"no row names this")
    ledger.forget_others("s", units("a", "b"), ("data",))
    ledger.remove_orphans("s", ("data",))
    row = ledger.close("s", "key")
    assert sorted(ledger.root.sizes("data")) == ["data/a", "data/b"]
    assert (row["units"], row["counts"]["read"], row["counts"]["dropped"]) == (2, 4, {"short": 2})
    assert ledger.stage("s") == row
    assert ledger.intact("s", ("data",))
    ledger.root.remove("data/a")
    assert not ledger.intact("s", ("data",))


def test_rows_are_remembered_only_while_the_stage_stays_closed_as_it_was(tmp_path):
    ledger, other = (Ledger(Root(str(tmp_path))) for _ in range(2))
    committed(other, "a")
    ledger.close("s", "key")
    assert list(ledger.committed("s")) == ["a"]
    ledger.reopen("s")
    committed(other, "b")  # as worker processes do
    assert list(ledger.committed("s")) == ["a", "b"]
    assert ledger.close("s", "key")["units"] == len(ledger.committed("s")) == 2
    other.forget("s", "a")
    other.close("s", "key")
    assert list(ledger.committed("s")) == ["b"]


def test_the_time_it_took_is_no_part_of_the_digest(tmp_path):
    ledger = Ledger(Root(str(tmp_path)))
    committed(ledger, "a")
    row = ledger.row("s", "a")
    row.took = {"seconds": 3.0}
    ledger.commit(row)
    assert ledger.row("s", "a").digest == row.digest


def test_a_row_edited_by_hand_is_refused(tmp_path):
    ledger = Ledger(Root(str(tmp_path)))
    committed(ledger, "a")
    name = "ledger/s/a.json"
    ledger.root.write(name, ledger.root.read(name).replace(b'"kept": 1', b'"kept": 2'))
    with pytest.raises(CorpusmillError, match="does not match its digest"):
        ledger.committed("s")
