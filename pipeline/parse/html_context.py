"""What the block classifier sees at its second look: the verdicts of the first around each block.

A block is seldom judged alone: paragraphs of one text stand together, in one element, in elements of one kind. So the
verdicts of the first trees, as probabilities and weighted by text, become numbers about a block's neighbours, the
elements around it, the blocks of its kind, its section, and the page (stacked sequential learning, Cohen and Carvalho,
2005). The trees of the second look learn from verdicts on pages that those of the first have not seen.
"""

from __future__ import annotations

import numpy as np

from pipeline.compiled import compiled
from pipeline.parse.html_blocks import Page
from pipeline.parse.html_features import LONG, distance, groups
from pipeline.parse.html_model import SETTLED, WHOLE, chances

_MOST = 8.0  # logit above which verdicts are as good as certain
N_COLUMNS = 47
_CORE = (0.6, 0.9)  # shares of the text that the smallest elements around it hold


@compiled(
    "float32[:, ::1](float64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])",
)
def _matrix(logit, chance, size, node, tag, parent, sign):
    n = len(logit)
    m = len(parent)
    chosen = chance * size / WHOLE  # characters of the block that are expected to be text
    heading = np.empty(n, np.bool_)
    likely = np.empty(n, np.bool_)
    running = np.empty(n, np.bool_)
    surest = -100.0
    first = last = -1
    n_likely = 0
    certain = 0.0
    sums = np.zeros((n + 1, 3), np.float64)  # expected text, text, chances
    for i in range(n):
        share = chance[i] / WHOLE
        heading[i] = 5 <= tag[i] <= 8
        likely[i] = 2 * chance[i] > WHOLE
        running[i] = likely[i] and size[i] >= LONG
        surest = max(surest, logit[i])
        if likely[i]:
            n_likely += 1
            last = i
            if first < 0:
                first = i
        certain += size[i] * abs(2 * share - 1)
        sums[i + 1, 0] = sums[i, 0] + chosen[i]
        sums[i + 1, 1] = sums[i, 1] + size[i]
        sums[i + 1, 2] = sums[i, 2] + share
    if first < 0:
        first, last = 0, n - 1
    total = max(sums[n, 0], 1e-6)

    # Elements: what each holds, and the blocks in it.
    held = np.zeros((m, 2), np.float64)
    begin = np.full(m, n, np.int64)
    end = np.full(m, -1, np.int64)
    depth = np.zeros(m, np.int64)
    for i in range(n):
        at = node[i]
        held[at, 0] += chosen[i]
        held[at, 1] += size[i]
        begin[at] = min(begin[at], i)
        end[at] = max(end[at], i)
    for child in range(m - 1, 0, -1):
        at = parent[child]
        held[at] += held[child]
        begin[at] = min(begin[at], begin[child])
        end[at] = max(end[at], end[child])
    core = np.zeros(2, np.int64)
    for child in range(1, m):
        depth[child] = depth[parent[child]] + 1
        for k, share in enumerate(_CORE):
            if held[child, 0] >= share * total and depth[child] >= depth[core[k]]:
                core[k] = child
    within = np.zeros((2, m), np.bool_)
    for k in range(2):
        within[k, core[k]] = True
        for child in range(1, m):
            within[k, child] |= within[k, parent[child]]

    # Blocks of one kind, those of them that share an element, and sections (from a heading to the next).
    keys = np.empty(n, np.int64)
    for i in range(n):
        keys[i] = sign[node[i]] * 16 + tag[i]
    kind, n_kinds = groups(keys)
    for i in range(n):
        keys[i] = kind[i] * m + max(parent[node[i]], 0)
    pair, n_pairs = groups(keys)
    of_kind = np.zeros((n_kinds, 4), np.float64)  # expected text, text, chances, blocks
    of_pair = np.zeros((n_pairs, 4), np.float64)
    of_section = np.zeros((n + 1, 3), np.float64)
    section = np.zeros(n, np.int64)
    above = np.full(n, -1, np.int64)
    under = -1
    now = 0
    for i in range(n):
        if heading[i]:
            if i and not heading[i - 1]:
                now += 1
            under = i
        section[i], above[i] = now, under
        for sums_of, k in ((of_kind, kind[i]), (of_pair, pair[i])):
            sums_of[k, 0] += chosen[i]
            sums_of[k, 1] += size[i]
            sums_of[k, 2] += chance[i] / WHOLE
            sums_of[k, 3] += 1
        of_section[now, 0] += chosen[i]
        of_section[now, 1] += size[i]
        of_section[now, 2] += 1

    back_likely, ahead_likely = distance(likely, 1), distance(likely, -1)
    back_running, ahead_running = distance(running, 1), distance(running, -1)
    out = np.empty((n, N_COLUMNS), np.float32)
    for i in range(n):
        row = out[i]
        row[0] = logit[i]
        c = 1
        for by in (-1, 1, -2, 2, -3, 3):
            row[c] = logit[i + by] if 0 <= i + by < n else SETTLED
            c += 1
        for around in (4, 12):
            start, stop = max(i - around, 0), min(i + around + 1, n)
            row[c] = (sums[stop, 0] - sums[start, 0]) / (sums[stop, 1] - sums[start, 1])
            row[c + 1] = (sums[stop, 2] - sums[start, 2]) / (stop - start)
            c += 2
        at = node[i]
        for _ in range(4):  # what the elements around it hold besides
            others = held[at, 1] - size[i]
            row[c] = (held[at, 0] - chosen[i]) / others if others > 0 else -1
            row[c + 1] = (held[at, 0] - chosen[i]) / total
            at = max(parent[at], 0)
            c += 2
        for sums_of, k in ((of_kind, kind[i]), (of_pair, pair[i])):
            if sums_of[k, 3] > 1:
                row[c] = (sums_of[k, 0] - chosen[i]) / (sums_of[k, 1] - size[i])
                row[c + 1] = (sums_of[k, 2] - chance[i] / WHOLE) / (sums_of[k, 3] - 1)
            else:
                row[c] = row[c + 1] = -1
            c += 2
        row[c] = (of_kind[kind[i], 0] - chosen[i]) / total
        row[c + 1] = np.log1p(total)
        row[c + 2] = total / sums[n, 1]
        row[c + 3] = certain / sums[n, 1]
        row[c + 4] = np.log1p(n_likely)
        row[c + 5] = surest
        row[c + 6] = sums[i, 0] / total
        row[c + 7] = (total - sums[i + 1, 0]) / total
        row[c + 8] = np.sign(i - first) * np.log1p(abs(i - first))
        row[c + 9] = np.sign(last - i) * np.log1p(abs(last - i))
        row[c + 10] = back_likely[i]
        row[c + 11] = ahead_likely[i]
        row[c + 12] = back_running[i]
        row[c + 13] = ahead_running[i]
        c += 14
        for k in range(2):
            row[c] = within[k, node[i]]
            row[c + 1] = -1 if i < begin[core[k]] else 1 if i > end[core[k]] else 0
            row[c + 2] = depth[node[i]] - depth[core[k]] if within[k, node[i]] else -1
            c += 3
        now = section[i]
        row[c] = (of_section[now, 0] - chosen[i]) / (of_section[now, 1] - size[i]) if of_section[now, 2] > 1 else -1
        row[c + 1] = logit[above[i]] if above[i] >= 0 else SETTLED
        row[c + 2] = logit[i] - surest
        row[c + 3] = chosen[i] / total
    return out


def context(page: Page, logits: np.ndarray) -> np.ndarray:
    """The matrix (blocks x `N_COLUMNS`), float32, for the first verdicts (``logits``) on a page's blocks."""
    logits = np.clip(logits, SETTLED, _MOST)
    size = np.maximum(np.array([len(text) for text in page.text]) - page.link, 1)
    return _matrix(logits, chances(logits), size, page.node, page.tag, page.parent, page.sign)
