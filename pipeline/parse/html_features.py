"""What the block classifier sees of a page: one row of numbers a block.

Numbers about the block (length, links, punctuation, words that mark boilerplate), about the elements around it (their
names, how much text and how many links they hold), about blocks of the same kind, about its place on the page, and
about its neighbours.
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
    "legal": "copyright © rights reserved terms conditions disclaimer llc ltd inc trademark 版权所有 copyright©",
    "share": "share tweet facebook twitter whatsapp pinterest linkedin email print instagram youtube telegram "
    "reddit rss 分享 поделиться udostępnij κοινοποίηση",
    "join": "subscribe newsletter sign signup login log register account join download app unsubscribe inbox 登录 "
    "注册 войти zaloguj σύνδεση",
    "more": "related read more also recommended trending popular latest next previous continue see click here "
    "view all watch show load 相关 更多 阅读 推荐 上一篇 下一篇 далее читайте czytaj więcej zobacz "
    "περισσότερα διαβάστε",
    "photo": "photo photos image images getty credit reuters ap afp video caption picture courtesy photograph file "
    "shutterstock фото zdjęcie fot φωτογραφία 图 图片",
    "ad": "advertisement advertise advertising sponsored ad ads promo deal coupon buy shop 广告 реклама reklama",
    "comment": "comment comments reply replies report login like likes votes respond 评论 回复 комментарии komentarze "
    "σχόλια",
    "cookie": "cookie cookies consent privacy policy gdpr accept settings preferences",
    "byline": "by author published updated posted written editor correspondent ago edt est gmt pm am min read "
    "作者 来源 编辑 责任编辑 автор źródło πηγή",
    "date": "jan feb mar apr may jun jul aug sep sept oct nov dec january february march april june july august "
    "september october november december monday tuesday wednesday thursday friday saturday sunday",
    "form": "search submit name password username send cancel close menu home back top toggle skip select loading "
    "sort filter reset open 首页",
    "function": "the of and to in a is that was for it with as on be he are his have this from or had they you which "
    "one were all we her she there their what if will would who has been when more no out so said do not "
    "an but at и в не на что с он как это по но из у за к που και το να του η της με για την τα w i na z "
    "się że nie do jest to o jak co ale po 的 是 了 在",
}
_MARK: dict[str, int] = {}
for _k, _words in enumerate(_MARKS.values()):
    for _word in _words.split():
        _MARK[_word] = _MARK.get(_word, 0) | 1 << _k
_N_MARKS = len(_MARKS) - 1
_FUNCTION = frozenset(_MARKS["function"].split())
_KNOWN = frozenset(_MARK)
_PUNCTUATION = dict.fromkeys(map(ord, "()[]{}.,;:!?\"'“”‘’|•·«»–—>"), " ")

_DIGIT = re.compile("[0-9]")
_NOT_WORD = re.compile(r"\W+")
_PARAGRAPH = frozenset((1, 3, 9, 10, 11))  # tags whose text speaks for the element around them
_AROUND_BITS = 1 << np.arange(N_BITS)
_NEAR_BITS = 1 << np.arange(N_ZONES)
_MARK_BITS = 1 << np.arange(_N_MARKS)
_TAG_CODES = np.arange(1, len(TAGS))
N_DECLARED = 10  # the last columns: what the page's metadata says, which many pages lack
LONG = 100  # characters outside links from which a block counts as running text


def features(page: Page) -> np.ndarray:
    """The matrix (blocks x features), float32; at least one block."""
    texts, tags, nodes = page.text, page.tag, page.node
    n = len(texts)
    title = page.title.lower()
    plain: list[tuple] = []
    marks = [0] * n
    for i, text in enumerate(texts):
        length = len(text)
        wide = 0 if text.isascii() else len(_WIDE.findall(text))
        words = text.count(" ") + 1 + wide // 2
        commas = text.count(",")
        stops = text.count(". ")
        if wide:
            commas += text.count("，") + text.count("、")
            stops += text.count("。")
        function = words // 3
        mark = 0
        known = 0
        if length < 300:
            lower = text.lower()
            if length < 160:
                function = 0
                for word in _KNOWN.intersection(lower.translate(_PUNCTUATION).split()):
                    mark |= _MARK[word]
                    function += word in _FUNCTION
                known = length > 8 and lower in title
        marks[i] = mark
        last = text[-1]
        plain.append(
            (
                length + wide,
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
                len(_DIGIT.findall(text)) / length if length < 60 else 0.0,
                text.isupper(),
                text.count("|") + text.count("»") + text.count("·") > 0,
            )
        )
    block: np.ndarray = np.array(plain, np.float32)
    size = block[:, 0]
    link = np.minimum(np.array(page.link, np.float32) * (size / np.maximum([len(t) for t in texts], 1)), size)
    density = link / np.maximum(size, 1)
    free = size - link
    tag = np.array(tags)
    heading = (tag >= 5) & (tag <= 8)
    long = (free >= LONG) & (density < 0.4)
    weight = np.where(long, free, 0).astype(np.float32)

    # Elements: what each holds, summed upwards (a parent always has a smaller number than its children).
    parent = page.parent
    m = len(parent)
    node = np.array(nodes)
    held = np.stack([np.bincount(node, column, m) for column in (size, link, weight, np.ones(n))])
    points = [0.0] * m
    scores = np.where((density < 0.5) & (free >= 25), 1 + block[:, 2] + np.minimum(free / 100, 3), 0).tolist()
    for i, score in enumerate(scores):
        if score:
            holder = nodes[i]
            if tags[i] in _PARAGRAPH and parent[holder] >= 0:
                holder = parent[holder]
            points[holder] += score
            if parent[holder] >= 0:
                points[parent[holder]] += score / 2
    text_sum, link_sum, weight_sum, count_sum = held.tolist()
    for child in range(m - 1, 0, -1):
        above = parent[child]
        if count_sum[child]:
            text_sum[above] += text_sum[child]
            link_sum[above] += link_sum[child]
            weight_sum[above] += weight_sum[child]
            count_sum[above] += count_sum[child]
    held = np.array([text_sum, link_sum, weight_sum, count_sum], np.float32)
    named = (np.array(page.own) >> (N_ZONES - 1)) & 1
    best = int(np.argmax(np.array(points) * (1 - held[1] / np.maximum(held[0], 1)) * (1 + 0.25 * named)))
    inside = [False] * m
    depth = [0] * m
    inside[best] = True
    for child in range(1, m):
        above = parent[child]
        depth[child] = depth[above] + 1
        if inside[above]:
            inside[child] = True
    parents = np.array(parent)
    parents[0] = 0
    up1 = parents[node]
    up2 = parents[up1]
    up3 = parents[up2]
    total = np.maximum(held[:, 0], 1)
    direct = np.bincount(node, weight, m)
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
        of_text, of_link, of_weight, of_count = held[:, around]
        columns += [
            of_link / np.maximum(of_text, 1),
            of_weight / total[2],
            np.log1p(of_weight),
            np.log1p(of_count),
        ]
    best_in = np.array(inside, np.float32)[node]
    columns += [
        best_in,
        node == best,
        up1 == best,
        up2 == best,
        np.full(n, held[2, best] / total[2]),
        np.array(depth, np.float32)[node] / 16,
        direct[node] / total[2],
        direct[up1] / total[2],
    ]

    # Blocks of one kind: the same tag in elements of the same names.
    sign = np.array(page.sign)
    kind = np.unique(sign[node] * 16 + tag, return_inverse=True)[1]
    per_kind = np.stack([np.bincount(kind, column) for column in (size, link, weight, np.ones(n))], 1)
    columns += [
        np.log1p(per_kind[kind, 0]),
        per_kind[kind, 1] / np.maximum(per_kind[kind, 0], 1),
        per_kind[kind, 2] / total[2],
        np.log1p(per_kind[kind, 3]),
        np.log1p(per_kind[kind, 2] / per_kind[kind, 3]),
    ]

    # Paragraphs of one text share an element; the texts of cards and teasers each have their own.
    _, pair, pairs = np.unique(kind * m + up1, return_inverse=True, return_counts=True)
    together = pairs[pair]
    _, same, alike = np.unique(sign, return_inverse=True, return_counts=True)
    repeats = np.log1p(alike[same])
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
        told[:] = [len(key) > 3 and key in declared for key in (_NOT_WORD.sub("", text[:90])[:60] for text in texts)]
    covered = float((told * size).sum()) / max(len(declared), 1)
    told_columns = [told, np.full(n, min(covered, 1.0)), (1 - told) * (covered > 0.7), told * (size > 40)]

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
    own = np.array(page.own)
    near = own[node] | own[up1] | own[up2]
    around_bits = np.array(page.bits)[node]
    marked = (np.array(marks)[:, None] & _MARK_BITS) > 0
    tables = [
        np.stack(columns, 1),
        (around_bits[:, None] & _AROUND_BITS) > 0,
        (near[:, None] & _NEAR_BITS) > 0,
        marked,
        tag[:, None] == _TAG_CODES,
    ]

    # Neighbours.
    context = np.stack([np.log1p(free), density, block[:, 5], heading, best_in, block[:, 4], marked.any(1)], 1)
    padded = np.zeros((n + 6, 8), np.float32)
    padded[3:-3, :7] = context
    padded[3:-3, 7] = kind + 1
    for by in (1, -1, 2, -2, 3, -3):
        beside = padded[3 - by : 3 - by + n]
        tables += [beside[:, :7], beside[:, 7:] == kind[:, None] + 1]
    running = np.zeros((n + 1, 4))
    np.cumsum(np.stack([context[:, 0], density, long, heading], 1), 0, out=running[1:])
    place_in = np.arange(n)
    for width in (4, 10):
        low = np.maximum(place_in - width, 0)
        high = np.minimum(place_in + width + 1, n)
        tables.append((running[high] - running[low]) / (high - low)[:, None])
    tables += [np.broadcast_to(np.array(page.claims), (n, len(page.claims))), np.stack(told_columns, 1)]
    return np.concatenate(tables, 1, dtype=np.float32)


def _distance(where: np.ndarray, order: np.ndarray, side: int) -> np.ndarray:
    """Blocks to the nearest one marked in ``where``, before (1) or after (-1) this one; 200 where there is none."""
    if side < 0:
        return _distance(where[::-1], order, 1)[::-1]
    last = np.maximum.accumulate(np.where(where, order, -1e9))
    return np.minimum(order - last, 200)
