"""`corpusmill duplicates` on the built corpus and on clusters of known sizes."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import cli, clusters
from tests.dedup.corpora import Corpus, Document
from tests.dedup.test_stage import edited, prose


def test_the_histogram_counts_every_cluster_once():
    found = clusters.histogram(np.array([9, 5, 3, 2, 2]))
    assert found == [
        {"least": 2, "most": 3, "clusters": 3, "documents": 7},
        {"least": 4, "most": 7, "clusters": 1, "documents": 5},
        {"least": 8, "most": 15, "clusters": 1, "documents": 9},
    ]
    assert clusters.histogram(np.empty(0, np.int64)) == []


def test_side_by_side_marks_what_differs_and_shortens_what_is_equal():
    lines = clusters.side_by_side("a b c " + "same " * 40, "a x c " + "same " * 40, 80)
    assert [" ".join(line.split()) for line in lines] == [
        "a a",
        "b | x",
        *[" ".join(line.split()) for line in lines[2:]],
    ]
    assert "... 21 equal words ..." in " ".join(lines)
    assert sum(" | " in line for line in lines) == 1


def test_clusters_by_size_and_a_copy_beside_its_keeper(tmp_path, capsys):
    texts = [prose(1), *[edited(prose(1), n, 1) for n in range(4)], prose(2), prose(2) + "\n", prose(3)]
    corpus = Corpus(tmp_path, {"a--x--0": [Document(text, url=f"http://a/{n}") for n, text in enumerate(texts)]})
    corpus.find()
    from pipeline.ledger import Ledger

    Ledger(corpus.root).close("dedup", "key")
    assert cli.main(["duplicates", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [cluster["size"] for cluster in found["largest"]] == [5, 2]
    assert found["clusters"] == 2
    urls = {member["url"] for member in [found["largest"][0]["keeper"], *found["largest"][0]["copies"]]}
    assert urls == {f"http://a/{n}" for n in range(5)}
    copy = found["largest"][0]["copies"][0]
    assert cli.main(["duplicates", str(tmp_path), "--diff", copy["id"][:10]]) == 0
    shown = capsys.readouterr().out
    assert copy["url"] in shown
    assert " | edit" in shown or "edit" in shown.split(" | ")[0]
    assert cli.main(["duplicates", str(tmp_path), "--top", "1", "--copies", "2"]) == 0
    shown = capsys.readouterr().out
    assert "2 clusters, 7 documents in them" in shown
    assert "5 documents; stays: " in shown
    assert "  and 2 more" in shown
    assert cli.main(["duplicates", str(tmp_path), "--diff", "ffffffffffffffffff"]) == 1


def test_of_the_built_corpus(built_corpus, capsys):
    assert cli.main(["duplicates", str(built_corpus), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    copies = pq.read_table(built_corpus / "duplicates").num_rows
    assert sum(row["documents"] - row["clusters"] for row in found["histogram"]) == copies > 0
    assert cli.main(["inspect", str(built_corpus), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clusters"] == found["histogram"]
    assert cli.main(["inspect", str(built_corpus)]) == 0
    assert "clusters of duplicates, by size" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["duplicates"], ["duplicates", "ABSENT", "--diff", "ab"]])
def test_where_nothing_was_deduplicated(tmp_path, capsys, arguments):
    assert cli.main([*arguments[:1], str(tmp_path), *arguments[2:]]) == 1
    assert "corpusmill dedup CONFIG" in capsys.readouterr().err
