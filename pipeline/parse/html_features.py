"""What the block classifier sees of a page: one row of numbers a block.

Numbers about the block (length, links, punctuation, words that mark boilerplate), about the elements around it (their
names, how much text and how many links they hold), about blocks of the same kind, about its place on the page, and about
its neighbours.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.parse.html_blocks import N_BITS, N_ZONES, TAGS, Page

_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")  # scripts written without blanks
_ENDS = frozenset('.!?…。！？"”’»;；:：)）')
_SENTENCE = frozenset('.!?…。！？"”»')

# Words of short blocks that are rarely text: one bit a group.
_MARKS = {
    "legal": "copyright © (c) rights reserved terms conditions disclaimer llc ltd inc. trademark 版权所有 copyright©",
    "share": "share tweet facebook twitter whatsapp pinterest linkedin email print instagram youtube telegram reddit rss "
    "分享 поделиться udostępnij κοινοποίηση",
    "join": "subscribe newsletter sign signup login log register account join download app unsubscribe inbox 登录 注册 "
    "войти zaloguj σύνδεση",
    "more": "related read more also recommended trending popular latest next previous continue see click here view all "
    "watch show load 相关 更多 阅读 推荐 上一篇 下一篇 далее читайте czytaj więcej zobacz περισσότερα διαβάστε",
    "photo": "photo photos image images getty credit reuters ap afp video caption picture courtesy photograph file shutterstock "
    "фото zdjęcie fot φωτογραφία 图 图片",
    "ad": "advertisement advertise advertising sponsored ad ads promo deal coupon buy shop 广告 реклама reklama",
    "comment": "comment comments reply replies report login like likes votes respond 评论 回复 комментарии komentarze σχόλια",
    "cookie": "cookie cookies consent privacy policy gdpr accept settings preferences",
    "byline": "by author published updated posted written editor correspondent ago edt est gmt pm am min read "
    "作者 来源 编辑 责任编辑 автор źródło πηγή",
    "date": "jan feb mar apr may jun jul aug sep sept oct nov dec january february march april june july august september "
    "october november december monday tuesday wednesday thursday friday saturday sunday",
    "form": "search submit name password username send cancel close menu home back top toggle skip select loading sort filter "
    "reset open 首页",
    "function": "the of and to in a is that was for it with as on be he are his have this from or had they you which "
    "one were all we her she there their what if will would who has been when more no out so said do not an but at "
    "и в не на что с он как это по но из у за к που και το να του η της με για την τα w i na z się że nie do jest to o jak "
    "co ale po 的 是 了 在",
}
_MARK: dict[str, int] = {}
for _k, _words in enumerate(_MARKS.values()):
    for _word in _words.split():
        _MARK[_word] = _MARK.get(_word, 0) | 1 << _k
_N_MARKS = len(_MARKS) - 1
_FUNCTION = frozenset(_MARKS["function"].split())
_STRIP = "()[]{}.,;:!?\"'“”‘’|•·«»-–—>"

_NOT_WORD = re.compile(r"\W+")
_PARAGRAPH = frozenset((1, 10, 9))
LONG = 100  # characters outside links from which a block counts as running text


def _shift(column: np.ndarray, by: int) -> np.ndarray:
    out = np.zeros_like(column)
    if by > 0:
        out[by:] = column[:-by]
    else:
        out[:by] = column[-by:]
    return out


def features(page: Page) -> np.ndarray:
    """The matrix (blocks x features), float32; at least one block."""
    texts, tags, nodes = page.text, page.tag, page.node
    n = len(texts)
    title = page.title.lower()
    plain: list[tuple] = []
    marks = [0] * n
    for i, text in enumerate(texts):
        size = len(text)
        wide = 0 if text.isascii() else len(_WIDE.findall(text))
        words = text.count(" ") + 1 + wide // 2
        commas = text.count(",")
        stops = text.count(". ")
        if wide:
            commas += text.count("，") + text.count("、")
            stops += text.count("。")
        function = 0
        mark = 0
        known = 0
        if size < 300:
            lower = text.lower()
            if size < 160:
                for word in lower.split():
                    mark |= _MARK.get(word, 0) or _MARK.get(word.strip(_STRIP), 0)
                    function += word in _FUNCTION
                if size > 8 and lower in title:
                    known = 1
            else:
                function = words // 3
        else:
            function = words // 3
        marks[i] = mark
        last = text[-1]
        plain.append(
            (
                size + wide,
                words,
                commas,
                stops,
                function / words,
                last in _SENTENCE,
                last in _ENDS,
                last == ":",
                text[0].isupper(),
                text[0].isdigit(),
                known,
                wide > 0,
                sum(map(text.count, "0123456789")) / size if size < 60 else 0.0,
                text.isupper(),
                text.count("|") + text.count("»") + text.count("·") > 0,
            )
        )
    block = np.array(plain, np.float32)
    size = block[:, 0]
    link = np.minimum(np.array(page.link, np.float32) * (size / np.maximum([len(t) for t in texts], 1)), size)
    density = link / np.maximum(size, 1)
    free = size - link
    tag = np.array(tags)
    heading = np.isin(tag, (5, 6, 7, 8))
    long = (free >= LONG) & (density < 0.4)
    weight = np.where(long, free, 0).astype(np.float32)

    # Elements: what each holds, summed upwards (a parent always has a smaller number than its children).
    m = len(page.parent)
    parent = page.parent
    held = np.zeros((m, 4), np.float64)
    node = np.array(nodes)
    np.add.at(held, node, np.stack([size, link, weight, np.ones(n)], 1))
    points = [0.0] * m
    direct = [0.0] * m
    scores = np.where(density < 0.5, np.where(free >= 25, 1 + block[:, 2] + np.minimum(free / 100, 3), 0), 0).tolist()
    for i, score in enumerate(scores):
        if score:
            holder = nodes[i]
            direct[holder] += weight[i]
            if tags[i] in _PARAGRAPH or tags[i] in (3, 11):
                holder = parent[holder] if parent[holder] >= 0 else holder
            points[holder] += score
            if parent[holder] >= 0:
                points[parent[holder]] += score / 2
    rows = held.tolist()
    for child in range(m - 1, 0, -1):
        above = rows[parent[child]]
        row = rows[child]
        above[0] += row[0]
        above[1] += row[1]
        above[2] += row[2]
        above[3] += row[3]
    best = max(
        range(m),
        key=lambda k: (
            points[k] * (1 - rows[k][1] / max(rows[k][0], 1)) * (1.25 if page.own[k] >> N_ZONES - 1 & 1 else 1)
        ),
    )
    inside = [False] * m
    depth = [0] * m
    for child in range(1, m):
        above_node = parent[child]
        inside[child] = inside[above_node] or child == best
        depth[child] = depth[above_node] + 1
    if best == 0:
        inside = [True] * m
    held = np.array(rows, np.float32)
    parents = np.array(parent)
    parents[0] = 0
    up1, up2, up3 = parents[node], parents[parents[node]], parents[parents[parents[node]]]
    total = np.maximum(held[0], 1)
    columns = [
        np.log1p(size),
        np.log1p(free),
        np.log1p(block[:, 1]),
        density,
        np.log1p(np.array(page.links, np.float32)),
        np.log1p(block[:, 2]),
        np.log1p(block[:, 3]),
        *block[:, 4:].T,
        (block[:, 1] > 8) * (size / np.maximum(block[:, 1], 1)) / 8,
        long,
    ]
    for around in (node, up1, up2, up3):
        columns += [
            held[around, 1] / np.maximum(held[around, 0], 1),
            held[around, 2] / total[2],
            np.log1p(held[around, 2]),
            np.log1p(held[around, 3]),
        ]
    best_in = np.array(inside, np.float32)[node]
    columns += [
        best_in,
        node == best,
        up1 == best,
        up2 == best,
        np.full(n, held[best, 2] / total[2]),
        np.array(depth, np.float32)[node] / 16,
        np.array([direct[k] for k in nodes], np.float32) / total[2],
        np.array([direct[parent[k]] if parent[k] >= 0 else 0 for k in nodes], np.float32) / total[2],
    ]

    # Blocks of one kind: the same tag in elements of the same names.
    kinds: dict[tuple, int] = {}
    kind = np.array([kinds.setdefault((page.sign[k], tags[i]), len(kinds)) for i, k in enumerate(nodes)])
    per_kind = np.zeros((len(kinds), 4), np.float32)
    np.add.at(per_kind, kind, np.stack([size, link, weight, np.ones(n, np.float32)], 1))
    columns += [
        np.log1p(per_kind[kind, 0]),
        per_kind[kind, 1] / np.maximum(per_kind[kind, 0], 1),
        per_kind[kind, 2] / total[2],
        np.log1p(per_kind[kind, 3]),
        np.log1p(per_kind[kind, 2] / per_kind[kind, 3]),
    ]

    # Paragraphs of one text share an element; the texts of cards and teasers each have their own.
    in_holder: dict[tuple[int, int], int] = {}
    for k, holder in zip(kind.tolist(), up1.tolist(), strict=True):
        in_holder[k, holder] = in_holder.get((k, holder), 0) + 1
    together = np.array([in_holder[pair] for pair in zip(kind.tolist(), up1.tolist(), strict=True)], np.float32)
    alike: dict[tuple, int] = {}
    for sign in page.sign:
        alike[sign] = alike.get(sign, 0) + 1
    repeats = np.log1p(np.array([alike[sign] for sign in page.sign], np.float32))
    columns += [
        together / per_kind[kind, 3],
        np.log1p(together),
        repeats[up1],
        repeats[up2],
        repeats[up3],
        (density > 0.9) & (best_in > 0),
        (free < 4) & (size > 25),
        np.where(heading, density, 0),
    ]
    under = np.maximum.accumulate(np.where(heading, np.arange(n), -1))  # the heading above a block
    near_heading = (under >= 0) & (np.arange(n) - under <= 4)
    columns += [
        np.where(near_heading, density[under], 0),
        np.where(near_heading, per_kind[kind[under], 3] > 2, 0),
        np.where(near_heading, np.log1p(per_kind[kind[under], 3]), 0),
    ]

    # What the page's metadata declares to be the article.
    declared = _NOT_WORD.sub("", page.declared)
    told = np.zeros(n, np.float32)
    if len(declared) > 100:
        told += [len(key) > 3 and key in declared for key in (_NOT_WORD.sub("", text)[:60] for text in texts)]
    share = float((told * size).sum()) / max(len(declared), 1)
    columns += [told, np.full(n, min(share, 1.0)), (1 - told) * (share > 0.7), told * (size > 40)]

    # Place on the page.
    order = np.arange(n, dtype=np.float32)
    before = np.cumsum(weight) - weight
    after = before[-1] + weight[-1] - before - weight
    sum_weight = max(float(weight.sum()), 1.0)
    place = np.cumsum(size) / max(float(size.sum()), 1.0)
    first_h1 = int(np.argmax(tag == 5)) if (tag == 5).any() else -1
    titled = np.flatnonzero(heading & (block[:, 10] > 0))
    titled_at = int(titled[0]) if len(titled) else first_h1
    columns += [
        order / n,
        place,
        np.log1p(order),
        np.log1p(n - order),
        np.full(n, np.log1p(n)),
        np.full(n, np.log1p(sum_weight)),
        before / sum_weight,
        after / sum_weight,
        np.log1p(_distance(long, order, 1)),
        np.log1p(_distance(long, order, -1)),
        np.log1p(_distance(long & (best_in > 0), order, 1)),
        np.log1p(_distance(long & (best_in > 0), order, -1)),
        np.log1p(_distance(heading, order, 1)),
        np.log1p(_distance(heading, order, -1)),
        np.full(n, titled_at >= 0),
        np.clip((order - titled_at) / 20, -1, 1) if titled_at >= 0 else np.zeros(n),
        order == titled_at,
    ]
    own = np.array([page.own[k] for k in nodes])
    around_bits = np.array([page.bits[k] for k in nodes])
    near = own | np.array([page.own[k] for k in up1]) | np.array([page.own[k] for k in up2])
    bit = 1 << np.arange(N_BITS)
    columns += [*((around_bits[:, None] & bit) > 0).T, *((near[:, None] & bit[:N_ZONES]) > 0).T]
    mark_bits = np.array(marks)[:, None] & (1 << np.arange(_N_MARKS))
    columns += list((mark_bits > 0).T)
    columns += [tag == k for k in range(1, len(TAGS))]

    # Neighbours.
    context = [np.log1p(free), density, block[:, 5], heading, best_in, block[:, 4], (mark_bits > 0).any(1), kind]
    for by in (1, 2, 3):
        for sign in (by, -by):
            columns += [_shift(np.asarray(c, np.float32), sign) for c in context[:7]]
            columns.append(_shift(kind + 1, sign) == kind + 1)
    for width in (4, 10):
        columns += [_window(np.asarray(c, np.float32), width) for c in (np.log1p(free), density, long, heading)]
    return np.stack(columns, 1).astype(np.float32)


def _distance(where: np.ndarray, order: np.ndarray, side: int) -> np.ndarray:
    """Blocks to the nearest one marked in ``where``, before (1) or after (-1) this one; 200 where there is none."""
    if side < 0:
        return _distance(where[::-1], order, 1)[::-1]
    last = np.maximum.accumulate(np.where(where, order, -1e9))
    return np.minimum(order - last, 200)


def _window(column: np.ndarray, width: int) -> np.ndarray:
    """Mean over the block and ``width`` blocks on each side."""
    sums = np.concatenate([[0.0], np.cumsum(column, dtype=np.float64)])
    n = len(column)
    low = np.maximum(np.arange(n) - width, 0)
    high = np.minimum(np.arange(n) + width + 1, n)
    return ((sums[high] - sums[low]) / (high - low)).astype(np.float32)
