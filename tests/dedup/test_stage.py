"""The dedup stage on corpora of known documents: levels, keepers, verification, lines, memory, bad input."""

import pickle
import random
import re
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timezone

import networkx
import numpy as np
import pyarrow as pa
import pytest

from pipeline.dedup import minhash
from pipeline.dedup.urls import canonical
from pipeline.errors import CorpusmillError
from pipeline.jobs.dedup import find_duplicates
from pipeline.jobs.runner import Runner
from pipeline.ledger import Ledger
from pipeline.schema import document_id
from pipeline.stages import dedup, exchange
from tests.dedup.corpora import Corpus, Document, plant

WORDS = [a + b for a in ("al", "be", "ga", "de", "ep", "ze", "et", "th") for b in ("pha", "ta", "mma", "lta", "silon")]


def prose(seed: int, words: int = 120) -> str:
    draw = random.Random(seed)
    return " ".join(f"{draw.choice(WORDS)}{draw.randrange(50)}" for _ in range(words))


def edited(text: str, seed: int, edits: int) -> str:
    draw = random.Random(seed)
    words = text.split()
    for place in draw.sample(range(len(words)), edits):
        words[place] = f"edit{seed}x{place}"
    return " ".join(words)


def similarity(a: str, b: str) -> float:
    return float(minhash.similarity(pa.array([a]), pa.array([b]), minhash.MinHashParams())[0])


def some_units(seed: int) -> dict[str, list[Document]]:
    """Copies of every kind among 90 documents of three sources."""
    draw = random.Random(seed)
    originals = [prose(n) for n in range(12)]
    units: dict[str, list[Document]] = {f"{s}--{f}--0": [] for s in ("new", "old", "wiki") for f in "ab"}
    for n in range(90):
        text = draw.choice(originals)
        kind = draw.randrange(5)
        text = text + "\n " if kind == 0 else edited(text, n, draw.choice([1, 2, 4, 30])) if kind < 4 else text[:15]
        name = f"id{draw.randrange(70)}"
        url = f"http://site.org/{draw.randrange(60)}" if draw.random() < 0.5 else ""
        time = datetime(2026, 1, draw.randrange(1, 9), tzinfo=timezone.utc) if draw.random() < 0.8 else None
        units[draw.choice(list(units))].append(Document(text, name, url, time))
    return units


def expected(corpus: Corpus) -> dict[tuple[str, int], tuple[str, str, int]]:
    """What the stage says, by comparing all with all."""
    settings = corpus.config.dedup
    places = [(unit.name, row) for unit in corpus.planned for row in range(len(corpus.units[unit.name]))]
    documents = [corpus.units[unit][row] for unit, row in places]
    texts = pa.array([document.text for document in documents])
    params = settings.minhash.params()
    bands = minhash.band_hashes(minhash.signatures(texts, params), params).tolist()
    exact = [row.tobytes() for row in minhash.text_hashes(texts)]

    def rank(n: int, first: tuple[str, ...] = ()) -> tuple:
        document, (unit, _) = documents[n], places[n]
        time = document.timestamp.timestamp() if document.timestamp else np.inf
        of = {
            "place": n,
            "source": [s.name for s in corpus.config.source].index(unit.split("--")[0]),
            "oldest": time,
            "newest": -time if document.timestamp else np.inf,
            "longest": -len(document.text.encode()),
        }
        return (*(of[name] for name in (*first, *settings.keeper)), document_id(document.name), n)

    keeper: dict[int, int] = {}
    reason: dict[int, str] = {}

    def drop(members: list[int], why: str, first: tuple[str, ...] = ()) -> None:
        best = min(members, key=lambda n: rank(n, first))
        for n in members:
            if n != best:
                keeper[n], reason[n] = best, why

    def groups(key) -> list[list[int]]:
        found = defaultdict(list)
        for n in range(len(documents)):
            if n not in keeper and key(n):
                found[key(n)].append(n)
        return list(found.values())

    for members in groups(lambda n: documents[n].name):
        drop(members, "duplicate_record", ("place",))
    if settings.revision:
        for members in groups(lambda n: places[n][0].startswith("wiki") and canonical(documents[n].url)):
            drop(members, "older_revision", ("newest",))
    if settings.url:
        for members in groups(lambda n: canonical(documents[n].url)):
            drop(members, "duplicate_url")
    if settings.exact:
        for members in groups(lambda n: exact[n]):
            drop(members, "duplicate_exact")
    left = sorted((n for n in range(len(documents)) if n not in keeper), key=rank)
    near = networkx.Graph()
    near.add_edges_from(
        (a, b)
        for a in left
        for b in left
        if a < b and any(x == y != 0 for x, y in zip(bands[a], bands[b], strict=True))
    )
    if settings.near and not settings.verify:
        for members in list(networkx.connected_components(near)):
            drop(list(members), "duplicate_near")
    elif settings.near:
        for n in left:
            alike = [
                m for m in near.adj.get(n, ()) if similarity(documents[n].text, documents[m].text) >= settings.verify
            ]
            if stays := [m for m in alike if m not in keeper and rank(m) < rank(n)]:
                keeper[n], reason[n] = min(stays, key=rank), "duplicate_near"

    def end(n: int) -> int:
        return end(keeper[n]) if n in keeper else n

    return {places[n]: (reason[n], *places[end(n)]) for n in keeper}


SETTINGS = [
    {},
    {"url": True, "revision": True, "keeper": ["source", "newest"]},
    {"verify": 0.8, "keeper": ["longest"]},
    {"verify": 0.5, "url": True, "exact": False, "keeper": ["oldest"]},
    {"near": False, "revision": True, "minhash": {"ngram": 3}},
    {"minhash": {"threshold": 0.5, "unit": "char", "ngram": 9}, "keeper": ["source", "longest"]},
]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_the_stage_says_what_comparing_all_with_all_says(tmp_path, number):
    settings = SETTINGS[number]
    corpus = Corpus(tmp_path, some_units(number), settings, ["wiki", "old", "new"], {"wiki": "wikimedia"})
    found = corpus.find()
    assert {place: (row["reason"], row["keeper_part"], row["keeper_row"]) for place, row in found.items()} == expected(
        corpus
    )
    assert len({row["reason"] for row in found.values()}) >= 2
    for (unit, n), row in found.items():
        keeper = corpus.units[row["keeper_part"]][row["keeper_row"]]
        assert row["keeper"] == document_id(keeper.name)
        assert row["keeper_source"] == row["keeper_part"].split("--")[0]
        true = similarity(corpus.units[unit][n].text, keeper.text)
        if row["reason"] == "duplicate_near" and corpus.config.dedup.verify:
            assert row["value"] == pytest.approx(true)
            assert row["value"] >= row["threshold"] == corpus.config.dedup.verify
        elif row["reason"] == "duplicate_near" and row["value"] is not None and number == 0:
            assert row["value"] == pytest.approx(true, abs=0.25)  # four standard deviations of 14 bands
        elif row["value"] == 1 and len(keeper.text.split()) >= 5 and number == 0:
            assert row["reason"] != "duplicate_url"


def test_passes_change_no_byte_and_too_little_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exchange, "HELD", 9e4)  # as if there were thirty thousand times as many documents
    corpus = Corpus(tmp_path, some_units(9), {"lines": {"documents": 3}})
    whole = corpus.find(memory=4_000_000_000)
    parts = corpus.parts()
    capsys.readouterr()
    assert corpus.find(memory=600_000_000) == whole
    assert corpus.parts() == parts
    said = capsys.readouterr().err
    assert "pass 1 of " in said
    with pytest.raises(CorpusmillError, match="90 documents cannot be compared in 100,000 bytes") as refused:
        corpus.find(memory=100_000)
    assert refused.value.file == str(tmp_path)
    monkeypatch.undo()
    enough = re.fullmatch(r"the same command with --memory (\d+)MB or more", refused.value.mend)[1]
    assert corpus.find(memory=int(enough) * 1_000_000) == whole


def test_a_new_dump_changes_nothing_of_the_old_ones_and_names_them(tmp_path):
    units = some_units(4)
    old = {name: documents for name, documents in units.items() if not name.startswith("new")}
    settings = {"keeper": ["source"], "verify": 0.7}
    before = Corpus(tmp_path / "c", old, settings, ["wiki", "old"]).reasons()
    again = Corpus(tmp_path / "c", units, settings, ["wiki", "old", "new"])
    after = again.reasons()
    assert {place: row for place, row in after.items() if not place[0].startswith("new")} == before
    named = {row[1].split("--")[0] for place, row in after.items() if place[0].startswith("new")}
    assert {"wiki", "old"} <= named
    full = Corpus(tmp_path / "full", units, settings, ["wiki", "old", "new"])
    full.find()
    assert again.parts() == full.parts()


def test_lines_of_many_documents_are_cut_and_accounted_for(tmp_path):
    menu, notice = "Home | News | Sport | Contact us", "All rights are reserved by somebody."
    texts = [f"{menu}\n\n{prose(n, 30)}\n{notice}" for n in range(5)]
    units = {"a--x--0": [Document(t) for t in texts[:3]], "b--x--0": [Document(t) for t in texts[3:]]}
    units["b--x--0"] += [Document(f"{menu}\n{notice}\n"), Document(texts[0])]
    corpus = Corpus(tmp_path, units, {"lines": {"documents": 4}})
    found = corpus.find()
    assert sorted(row["reason"] for row in found.values()) == ["duplicate_exact", "repeated_lines"]
    empty = found["b--x--0", 2]
    assert (empty["threshold"], empty["keeper"], empty["keeper_part"]) == (4, None, None)
    assert sorted(corpus.texts()) == sorted(prose(n, 30) for n in range(5))
    rows = list(Ledger(corpus.root).rows("dedup"))
    assert sum(row.counts.amounts["lines_removed"] for row in rows) == 10
    assert sum(row.counts.amounts["documents_shortened"] for row in rows) == 5
    whole = sum(len(text) for text in texts)
    assert sum(row.counts.amounts["lines_removed_bytes"] for row in rows) == whole - len("".join(corpus.texts())) - 5
    off = Corpus(tmp_path / "off", units)
    off.find()
    assert not (tmp_path / "off/lines").exists()


def test_the_first_copy_of_a_line_stays_whatever_the_workers(tmp_path):
    menu, notice = "Home | News | Sport | Contact us", "All rights are reserved by somebody."
    texts = [f"{menu}\n{prose(n, 30)}\n{notice}\n{prose(n, 9)}\n{menu}" for n in range(6)]
    units = {"b--x--0": [Document(t) for t in texts[:3]], "a--x--0": [Document(t) for t in texts[3:]]}
    units["a--x--0"].append(Document(f"{notice}\n{menu}"))
    settings = {"lines": {"documents": 3, "keep_first": True}, "keeper": ["source"]}
    parts = []
    for workers in (1, 2):
        corpus = Corpus(tmp_path / str(workers), units, settings, ["b", "a"])
        (empty,) = corpus.find(workers=workers)  # what has nothing else is gone
        assert empty == ("a--x--0", 3)
        parts.append(corpus.parts())
    assert parts[0] == parts[1]
    first = f"{menu}\n{prose(0, 30)}\n{notice}\n{prose(0, 9)}"  # of document 0 of the source named first
    rest = [f"{prose(n, 30)}\n{prose(n, 9)}" for n in range(1, 6)]
    assert corpus.texts() == [*rest[2:], first, *rest[:2]]


# Bad input.


def test_empty_and_very_short_documents_are_compared_by_their_text_alone(tmp_path):
    texts = ["", " \n", "one", "one", "one two three four", "One two three four", "one two three four five"]
    corpus = Corpus(tmp_path, {"a--x--0": [Document(text, str(n)) for n, text in enumerate(texts)]})
    found = corpus.find()
    groups = {min((0, 1), key=lambda n: document_id(str(n))), min((2, 3), key=lambda n: document_id(str(n)))}
    assert {place[1] for place in found} == {0, 1, 2, 3} - groups
    assert {row["reason"] for row in found.values()} == {"duplicate_exact"}


@pytest.mark.slow
def test_a_document_of_fifty_megabytes(tmp_path):
    text = " ".join(f"{n}word{n}" for n in range(3_300_000))
    assert len(text) > 50_000_000
    units = {"a--x--0": [Document(text, "0"), Document(prose(1)), Document(text + " one more", "1")]}
    corpus = Corpus(tmp_path, units, {"verify": 0.9})
    (found,) = corpus.find(memory=500_000_000).values()
    assert found["reason"] == "duplicate_near"
    assert found["value"] == pytest.approx(1, abs=1e-5)


def test_ids_that_collide(tmp_path, monkeypatch):
    # Equal ids are one record, whatever the texts; ids with equal halves and with trailing zeros are not equal.
    made = {"a": b"\1" * 16, "b": b"\1" * 8 + bytes(8), "c": bytes(16), "d": b"\2" + bytes(15), "e": b"\1" * 16}
    monkeypatch.setattr("tests.dedup.corpora.document_id", made.__getitem__)
    documents = [Document(prose(n), name) for n, name in enumerate("abcd")] + [Document(prose(9), "e")]
    documents += [Document(prose(0), "a")]
    corpus = Corpus(tmp_path, {"s--x--0": documents})
    found = corpus.find()
    assert {place: (row["reason"], row["keeper_row"], row["value"]) for place, row in found.items()} == {
        ("s--x--0", 4): ("duplicate_record", 0, None),
        ("s--x--0", 5): ("duplicate_record", 0, 1.0),
    }


def test_a_damaged_part_is_refused_without_a_traceback(tmp_path, capfd):
    corpus = Corpus(tmp_path, {"s--x--0": [Document(prose(n)) for n in range(3)]})
    path = tmp_path / "signatures/s--x--0.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusmillError, match=r"signatures/s--x--0.parquet: cannot read this part") as caught:
        corpus.find()
    assert "verify" in caught.value.mend
    assert "Traceback" not in capfd.readouterr().err


def test_no_documents(tmp_path):
    assert Corpus(tmp_path, {"s--x--0": []}, {"verify": 0.5, "lines": {"documents": 2}}).find() == {}


@pytest.mark.slow
def test_a_million_equal_documents(tmp_path):
    count = 250_000
    corpus = Corpus(tmp_path, {f"s--{n}--0": [] for n in range(4)})
    every = np.random.default_rng(1).permutation(4 * count).astype(np.uint64)
    equal = np.broadcast_to(np.uint64(7), (count, 14))
    planned = []
    for number, unit in enumerate(corpus.planned):
        ids = np.zeros((count, 2), np.uint64)
        ids[:, 1] = every[number * count : (number + 1) * count]
        planned.append(plant(corpus.root, unit, number * count, ids, equal[:, :2], equal))
    find_duplicates(corpus.root.url, planned, Runner(), 2_000_000_000)
    found = [dedup.left(corpus.root, f"verdicts/s--{n}--0", dedup._VERDICT) for n in range(4)]
    assert sum(map(len, found)) == 4 * count - 1
    assert {bytes(row.ljust(16, b"\0")) for part in found for row in np.unique(part["keeper_id"])} == {bytes(16)}
    assert {dedup._LEVELS[level - 1] for part in found for level in np.unique(part["level"])} == {"exact"}


_ON_A_FULL_DISK = """
import pickle, resource, signal, sys
from pipeline.errors import CorpusmillError
from pipeline.jobs.dedup import find_duplicates
from pipeline.jobs.runner import Runner
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails as on a full disk, with an OSError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    find_duplicates(sys.argv[1], pickle.loads(sys.stdin.buffer.read()), Runner(), 4_000_000_000)
except CorpusmillError as error:
    print(error)
"""


@pytest.mark.parametrize("left", ["edges/near", "repeated/00000"])
def test_a_full_disk_is_refused_with_the_file_and_without_a_traceback(tmp_path, left):
    if left == "edges/near":
        corpus, count = Corpus(tmp_path, {f"s--{n}--0": [] for n in range(2)}), 10_000
        bands = np.random.default_rng(2).integers(1, 1 << 64, (count, 14), dtype=np.uint64)
        own = np.random.default_rng(3).integers(0, 1 << 64, (2, count, 2), dtype=np.uint64)
        planned = [
            plant(corpus.root, unit, number * count, own[number], own[number], bands)
            for number, unit in enumerate(corpus.planned)
        ]
    else:
        text = "\n".join(f"line{n}" for n in range(15_000))
        settings = {"near": False, "lines": {"documents": 2, "min_words": 1}}
        corpus = Corpus(tmp_path, {"s--x--0": [Document(text), Document(text + "\nmore")]}, settings)
        planned = corpus.planned
    command = [sys.executable, "-c", _ON_A_FULL_DISK, corpus.root.url]
    done = subprocess.run(command, input=pickle.dumps(planned), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said = f"{corpus.root.url}/exchange/{left}: File too large\n  to mend: make room there"
    assert done.stdout.decode().startswith(said)
    assert b"Traceback" not in done.stderr


_IN_LITTLE_MEMORY = """
import pickle, re, sys
from pipeline.jobs.dedup import find_duplicates
from pipeline.jobs.runner import Runner
root, memory = sys.argv[1:]
find_duplicates(root, pickle.loads(sys.stdin.buffer.read()), Runner(), int(memory))
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


@pytest.mark.slow
def test_the_memory_asked_for_is_kept(tmp_path):
    # Every document is in a cluster of two: the most that clusters and their keepers can be.
    count = 100_000
    corpus = Corpus(tmp_path, {f"s--{n}--0": [] for n in range(2)})
    draw = np.random.default_rng(2)
    bands = draw.integers(1, 1 << 64, (count, 14), dtype=np.uint64)
    planned = []
    for number, unit in enumerate(corpus.planned):
        own = draw.integers(0, 1 << 64, (count, 2), dtype=np.uint64)
        planned.append(plant(corpus.root, unit, number * count, own, own, bands))
    least = exchange.floor(2 * count) * 5 // 4
    command = [sys.executable, "-c", _IN_LITTLE_MEMORY, corpus.root.url, str(least)]
    done = subprocess.run(command, input=pickle.dumps(planned), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"bands, pass 1 of" in done.stderr
    assert int(done.stdout) <= least
    found = [dedup.left(corpus.root, f"verdicts/s--{n}--0", dedup._VERDICT) for n in range(2)]
    assert sum(map(len, found)) == count
    assert sorted(np.concatenate([part["row"] for part in found]).tolist()) == list(range(count))
