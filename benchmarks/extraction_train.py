r"""Train the block classifier of pipeline/parse/html.py and write its weights.

    python benchmarks/extraction_train.py --gold FOLDER --out pipeline/parse/data/html_model.json
    python benchmarks/extraction_train.py --gold FOLDER --lines --folds 3 --seeds 3 \
        --out pipeline/parse/data/html_lines.json        # the same for texts without markup (WET records)

Only gold text licensed for it is used: AEB (MIT), WCXB (CC BY 4.0) and the Chinese set (MIT), and of these only half A;
half B is for `benchmarks/extraction.py`. A network of one hidden layer judges a block by its features; several, trained
from different starts, are stored as one. (A second network that saw the first one's verdicts on the neighbours, and
gradient-boosted trees on the same features, gained nothing in cross-validation.) The weights are stored as integers:
the sums are then exact, so that a verdict does not depend on the machine's order of summation.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from extraction_gold import Gold, load, scores, shingle_counts

from pipeline.parse import encoding, html, html_blocks, html_model
from pipeline.parse.html_features import N_DECLARED, features

_TOKENS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


def labels(texts: list[str], gold: str) -> tuple[np.ndarray, np.ndarray]:
    """For each block whether it belongs to the gold text, and its number of words."""
    words = _TOKENS.findall(gold.lower())
    grams = {tuple(words[k : k + 4]) for k in range(len(words) - 3)}
    whole = " " + " ".join(words) + " "
    lines = {" ".join(_TOKENS.findall(line.lower())) for line in gold.split("\n")}
    verdicts, sizes = [], []
    for text in texts:
        mine = _TOKENS.findall(text.lower())
        sizes.append(len(mine))
        joined = " ".join(mine)
        if len(mine) >= 6:
            inside = [tuple(mine[k : k + 4]) in grams for k in range(len(mine) - 3)]
            verdicts.append(sum(inside) >= 0.5 * len(inside))
        elif len(mine) >= 4:
            verdicts.append(f" {joined} " in whole)
        else:
            verdicts.append(bool(joined) and joined in lines)
    return np.array(verdicts, np.float32), np.array(sizes, np.float32)


class Net(torch.nn.Module):
    """Standardised features, one hidden layer, one logit."""

    def __init__(self, inputs: int, hidden: int, mean: np.ndarray, scale: np.ndarray, dropout: float) -> None:
        super().__init__()
        self.mean = torch.from_numpy(mean)
        self.scale = torch.from_numpy(scale)
        self.first = torch.nn.Linear(inputs, hidden)
        self.second = torch.nn.Linear(hidden, 1)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.clamp((x - self.mean) * self.scale, -4, 4)
        if self.training:  # no single column may decide
            x = x * (torch.rand(x.shape) > 0.1)
        return self.second(self.dropout(torch.relu(self.first(x)))).squeeze(-1)


def train(x: np.ndarray, y: np.ndarray, w: np.ndarray, *, hidden: int, epochs: int, seed: int, decay: float) -> Net:
    torch.manual_seed(seed)
    net = Net(x.shape[1], hidden, x.mean(0), 1 / np.maximum(x.std(0), 0.05), 0.25)
    rate = 4e-3
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
    data, target, weight = torch.from_numpy(x), torch.from_numpy(y * 0.98 + 0.01), torch.from_numpy(w)
    batch = 4096
    steps = epochs * (len(x) // batch + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            x_batch = data[rows]
            bare = torch.rand(len(rows), generator=generator) < 0.35  # as if the page declared nothing
            x_batch[bare, -N_DECLARED:] = 0
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x_batch), target[rows], weight[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule.last_epoch < steps:
                schedule.step()
    return net.eval()


def predict(nets: list[Net], x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.stack([net(torch.from_numpy(x)) for net in nets]).mean(0).numpy()


class Data:
    """Pages with features and labels."""

    def __init__(self, pages: list[Gold], lines: bool) -> None:
        self.gold = pages
        self.pages, self.x, self.y, self.w = [], [], [], []
        for gold in pages:
            page = html_blocks.blocks(encoding.decode(gold.html)[0])
            if lines:
                page = html_blocks.from_lines("\n".join(page.text))
            self.pages.append(page)
            if not page.text:
                page.text, page.link, page.links, page.node, page.tag, page.row = ["-"], [0], [0], [0], [0], [-1]
            self.x.append(features(page))
            y, sizes = labels(page.text, gold.text)
            weight = np.sqrt(sizes + 3) + sizes * 0.15
            self.y.append(y)
            self.w.append((weight / weight.sum() * 100).astype(np.float32))

    def rows(self, which: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(np.concatenate([column[i] for i in which]) for column in (self.x, self.y, self.w))  # type: ignore

    def report(self, verdicts: list[np.ndarray], what: str) -> None:
        groups: dict[str, list] = {}
        for gold, page, verdict in zip(self.gold, self.pages, verdicts, strict=True):
            chosen = html.choose(verdict, page)
            found = "\n".join(t for t, v in zip(page.text, chosen, strict=True) if v)
            counts = shingle_counts(gold.text, found, gold.corpus == "Chinese")
            groups.setdefault(gold.corpus, []).append(counts)
            if gold.corpus == "WCXB":
                groups.setdefault(f"WCXB {gold.group}", []).append(counts)
        print(what, {k: tuple(round(s, 3) for s in scores(v)) for k, v in sorted(groups.items())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", action="store_true", help="for texts without markup (html_lines.json)")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--decay", type=float, default=0.05)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Data([g for g in load(args.gold, ["AEB", "WCXB", "Chinese"]) if g.half == "A"], args.lines)
    n = len(data.gold)
    order = np.random.default_rng(0).permutation(n)
    folds = [sorted(order[k :: args.folds].tolist()) for k in range(args.folds)]
    options = {"hidden": args.hidden, "epochs": args.epochs, "decay": args.decay}
    data.report([y * 8 - 4 for y in data.y], "best that blocks can give")

    cross: list[np.ndarray] = [np.zeros(0)] * n
    for fold in folds:
        rows = data.rows([i for i in range(n) if i not in set(fold)])
        nets = [train(*rows, seed=seed, **options) for seed in range(2)]
        for i in fold:
            cross[i] = predict(nets, data.x[i])
    data.report(cross, "cross-validated")
    nets = [train(*data.rows(list(range(n))), seed=seed, **options) for seed in range(args.seeds)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(html_model.pack(nets), separators=(",", ":")) + "\n")
    print(args.out, args.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
