"""Language identification: accuracy by language on labelled sentences, short text too, and speed beside the bare model.

    python benchmarks/language.py sentences.tsv.gz

The file has a line a sentence: its language (ISO 639-1 or 639-3), a tab, the text (for example lingua-py's test
sentences). Languages that the model has no label for are named and left out. "wanted" asks for the sentence's own
language among confusable ones, as `clean.confusable` does.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import Counter
from pathlib import Path

from measure import best

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LENGTHS = {"1 word": 1, "4 words": 4, "sentence": None}


def main() -> None:
    import pyarrow as pa

    from pipeline.clean import language

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sentences", help="a TSV file, gzipped or plain: language, text")
    options = parser.parse_args()
    opener = gzip.open if options.sentences.endswith(".gz") else open
    with opener(options.sentences, "rt", encoding="utf-8") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    known = [(language.codes()[code], text) for code, text in rows if code in language.codes()]
    unknown = sorted({code for code, _ in rows} - set(language.codes()))
    truth = [code for code, _ in known]
    total = Counter(truth)
    print(f"{len(known):,} sentences in {len(total)} languages; no label for {', '.join(unknown) or 'none'}")
    right: dict[str, Counter[str]] = {}
    confused: Counter[tuple[str, str]] = Counter()
    for name, words in LENGTHS.items():
        texts = pa.array([text if words is None else " ".join(text.split()[:words]) for _, text in known])
        labels = language.identify(texts)[0].to_pylist()
        right[name] = Counter(code for code, label in zip(truth, labels, strict=True) if code == label)
        if words is None:
            confused = Counter((code, label) for code, label in zip(truth, labels, strict=True) if code != label)
    right["wanted"] = Counter()
    for code in sorted(total):
        mine = pa.array([text for other, text in known if other == code])
        right["wanted"][code] = language.identify(mine, [code])[0].to_pylist().count(code)
    print(f"{'language':<10}{'sentences':>10}" + "".join(f"{name:>10}" for name in right))
    for code in sorted(total, key=lambda code: (-right["sentence"][code] / total[code], code)):
        print(
            f"{code:<10}{total[code]:>10,}" + "".join(f"{found[code] / total[code]:>10.3f}" for found in right.values())
        )
    every = sum(total.values())
    print(f"{'all':<10}{every:>10,}" + "".join(f"{found.total() / every:>10.3f}" for found in right.values()))
    print("most confused: " + ", ".join(f"{code} as {label} {n}" for (code, label), n in confused.most_common(12)))

    # documents of some 5 kB, as in a corpus
    documents = [" ".join(text for _, text in known[start : start + 40]) for start in range(0, len(known), 40)]
    size = sum(len(text.encode()) for text in documents) / 1e6
    model, array = language.load_model(), pa.array(documents)

    print(f"identify        {size / best(lambda: language.identify(array)):8.2f} MB/s")
    print(f"the bare model  {size / best(lambda: [model.predict(text) for text in documents]):8.2f} MB/s")


if __name__ == "__main__":
    main()
