"""What the block classifier sees of a page: one row of numbers a block.

Numbers about the block (length, links, punctuation, words that mark boilerplate), about the elements around it (their
names, how much text and how many links they hold), about blocks of the same kind, about its place on the page, and
about its neighbours. Both passes are compiled (numba).
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.compiled import compiled
from pipeline.parse.html_blocks import N_BITS, N_ZONES, TAGS, ZONE_BODY, Page
from pipeline.parse.html_scan import MARK, fnv, look_up, table

# Words of short blocks that are rarely text: one bit a group.
_MARKS = {
    "legal": "copyright © rights reserved terms conditions disclaimer llc ltd inc trademark 版权所有 copyright©",
    "share": "share tweet facebook twitter whatsapp pinterest linkedin email print instagram youtube telegram "
    "reddit rss 分享 поделиться udostępnij κοινοποίηση teilen partager compartir condividi tiktok bluesky",
    "join": "subscribe newsletter sign signup login log register account join download app unsubscribe inbox 登录 "
    "注册 войти zaloguj σύνδεση",
    "more": "related read more also recommended trending popular latest next previous continue see click here "
    "view all watch show load 相关 更多 阅读 推荐 上一篇 下一篇 далее читайте czytaj więcej zobacz "
    "περισσότερα διαβάστε lesen mehr lire aussi leia leer también leggi anche miss",
    "photo": "photo photos image images getty credit reuters ap afp video caption picture courtesy photograph file "
    "shutterstock фото zdjęcie fot φωτογραφία 图 图片 foto fotos bild bilder imago dpa quelle crédit imagen archivo "
    "fuente immagine fonte photograph pictured seen",
    "ad": "advertisement advertise advertising sponsored ad ads promo deal coupon buy shop 广告 реклама reklama "
    "anzeige werbung publicité publicidad publicidade pubblicità advert commission affiliate",
    "comment": "comment comments reply replies report login like likes votes respond 评论 回复 комментарии komentarze "
    "σχόλια",
    "cookie": "cookie cookies consent privacy policy gdpr accept settings preferences",
    "byline": "by author published updated posted written editor correspondent ago edt est gmt pm am min read "
    "作者 来源 编辑 责任编辑 автор źródło πηγή",
    "date": "jan feb mar apr may jun jul aug sep sept oct nov dec january february march april june july august "
    "september october november december monday tuesday wednesday thursday friday saturday sunday",
    "form": "search submit name password username send cancel close menu home back top toggle skip select loading "
    "sort filter reset open 首页",
    "bio": "writer reporter covers journalist freelance columnist author correspondent fellow contributor editor "
    "podcast host professor founder director autor autorin redakteur redakteurin reporterin автор autorka",
    "note": "reporting editing contributed originally published appeared republished courtesy source updated update "
    "correction transcript disclosure affiliate commission opinions expressed views edited compiled translated "
    "copyright permission dpa disclaimer note quelle источник źródło",
    "appeal": "follow join get support donate our us your free today inbox email download episode listen watch enjoy "
    "please help contribute member membership subscribers unlimited read story stories app newsletter newsletters",
    "function": "the of and to in a is that was for it with as on be he are his have this from or had they you which "
    "one were all we her she there their what if will would who has been when more no out so said do not "
    "an but at и в не на что с он как это по но из у за к που και το να του η της με για την τα w i na z "
    "się że nie do jest to o jak co ale po 的 是 了 在 der die und das den von ist mit des auf nicht ein eine "
    "le la les et des un une est que dans pour qui el los las una por con para di il che per non sono os "
    "em uma com não het een van voor",
}
_N_MARKS = len(_MARKS) - 1
_FUNCTION = 1 << _N_MARKS


def _mark_table() -> tuple[np.ndarray, np.ndarray]:
    bits: dict[int, int] = {}
    for k, words in enumerate(_MARKS.values()):
        for word in words.split():
            bits[fnv(word)] = bits.get(fnv(word), 0) | 1 << k
    return table(bits)


_MARK_KEYS, _MARK_BITS = _mark_table()
# What a character is, for code points below the first that is none of these, and for a few above it.
_SMALL = 0x600
_UPPER, _LOWER, _DIGIT, _BLANK, _SENTENCE, _ENDS, _BREAKS = (1 << k for k in range(7))


def _kinds() -> tuple[np.ndarray, np.ndarray]:
    """Classes and lower case of code points: those below `_SMALL`, then the general punctuation block."""
    kinds = np.zeros(_SMALL + 256, np.uint8)
    lower = np.arange(_SMALL + 256).astype(np.uint32)
    for place in range(_SMALL + 256):
        c = chr(place if place < _SMALL else place - _SMALL + 0x2000)
        kinds[place] = (
            _UPPER * c.isupper()
            | _LOWER * c.islower()
            | _DIGIT * c.isdecimal()
            | _BLANK * c.isspace()
            | _SENTENCE * (c in '.!?…"”»')
            | _ENDS * (c in '.!?…"”’»;:)')
            | _BREAKS * (c in "()[]{}.,;:!?\"'“”‘’|•·«»–—>©")
        )
        if place < _SMALL and len(c.lower()) == 1:
            lower[place] = ord(c.lower())
    return kinds, lower


_KINDS, _LOWER_CASE = _kinds()
_NOT_WORD = re.compile(r"\W+")
LONG = 100  # characters outside links from which a block counts as running text


@compiled("Tuple((int64[::1], int64))(int64[::1])")
def groups(keys):
    """Each key's number, in the order of their first appearance, and how many there are."""
    size = 16
    while size < 3 * len(keys):
        size *= 2
    slots = np.full(size, -1, np.int64)
    firsts = np.empty(len(keys), np.int64)
    found = np.empty(len(keys), np.int64)
    count = 0
    mask = np.uint64(size - 1)
    for i in range(len(keys)):
        place = ((np.uint64(keys[i]) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
        while slots[place] >= 0 and firsts[slots[place]] != keys[i]:
            place = (place + np.uint64(1)) & mask
        if slots[place] < 0:
            slots[place] = count
            firsts[count] = keys[i]
            count += 1
        found[i] = slots[place]
    return found, count


@compiled(
    "Tuple((float32[:, ::1], int64[::1], int64[::1]))(uint32[::1], int64, uint32[::1], uint8[::1], uint32[::1],"
    " uint64[::1], int64[::1], int64)",
)
def _describe(codes, n, title, kinds, lower, mark_keys, mark_bits, function):
    """What the text of each block says (n x 20), the groups of marking words in the short ones, and of the first words.

    ``codes``: code points of the blocks, each followed by `MARK`. ``title``: those of the page's title, lower case.
    Columns: characters (wide ones twice), words, commas, stops, share of function words, ends a sentence, ends in
    punctuation, ends in a colon, begins with a capital, with a digit, stands in the title, has wide characters, share
    of digits, is in capitals, has separators, characters, mean length of words, has @ or #, how often the same text
    stands on the page (logarithm), has stood before.
    """
    out = np.zeros((n, 20), np.float32)
    marks = np.zeros(n, np.int64)
    leads = np.zeros(n, np.int64)
    hashes = np.empty(n, np.int64)
    offset, prime = np.uint64(14695981039346656037), np.uint64(1099511628211)
    place = 0
    for i in range(n):
        start = place
        words = commas = stops = wide = digits = uppers = lowers = bars = functions = 0
        word, in_word = offset, False
        whole = offset
        seen = lead = handles = 0
        last = last_kind = 0
        while codes[place] != MARK:
            code = codes[place]
            place += 1
            whole = (whole ^ np.uint64(code)) * prime
            if code < 0x600:
                kind = kinds[code]
                small = lower[code]
            elif 0x2000 <= code < 0x2100:
                kind = kinds[code - 0x2000 + 0x600]
                small = code
            else:
                kind = 0
                small = code
                if 0x3000 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7AF or code >= 0xF900:
                    if code == 0x3000:
                        kind = 8
                    elif code == 0x3002:  # an ideographic full stop
                        kind = 16 | 32
                        stops += 1
                    elif code == 0x3001 or code == 0xFF0C:
                        kind = 64
                        commas += 1
                    elif code == 0xFF01 or code == 0xFF1F:
                        kind = 16 | 32
                    elif code == 0xFF1B or code == 0xFF1A or code == 0xFF09:
                        kind = 32
                    elif code <= 0x303F or code >= 0xFB00:
                        kind = 64
                    else:
                        wide += 1
                        if look_up(mark_keys, mark_bits, (offset ^ np.uint64(code)) * prime) & function:
                            functions += 1
            if kind & 1:
                uppers += 1
            elif kind & 2:
                lowers += 1
            elif kind & 4:
                digits += 1
            if code == 44:
                commas += 1
            elif code == 32 and last == 46:
                stops += 1
            elif code == 124 or code == 187 or code == 183:
                bars += 1
            elif code == 64 or code == 35:
                handles += 1
            if kind & (8 | 16 | 64):
                if in_word:
                    bits = look_up(mark_keys, mark_bits, word)
                    seen |= bits
                    functions += bits & function != 0
                    words += 1
                    if words <= 2:
                        lead |= bits
                word, in_word = offset, False
            else:
                word = (word ^ np.uint64(small)) * prime
                in_word = True
            last = code
            last_kind = kind
        if in_word:
            bits = look_up(mark_keys, mark_bits, word)
            seen |= bits
            functions += bits & function != 0
            words += 1
            if words <= 2:
                lead |= bits
        length = place - start
        words = max(words, 1) + wide // 2
        first = codes[start]
        first_kind = kinds[first] if first < 0x600 else 0
        known = False
        if 8 < length < 300 and length <= len(title):
            for k in range(len(title) - length + 1):
                same = True
                for m in range(length):
                    code = codes[start + m]
                    if (lower[code] if code < 0x600 else code) != title[k + m]:
                        same = False
                        break
                if same:
                    known = True
                    break
        if length < 400:
            marks[i] = seen & (function - 1)
        leads[i] = lead & (function - 1)
        row = out[i]
        row[0] = length + wide
        row[1] = words
        row[2] = commas
        row[3] = stops
        row[4] = functions / words
        row[5] = last_kind & 16 != 0
        row[6] = last_kind & 32 != 0
        row[7] = last == 58
        row[8] = first_kind & 1 != 0
        row[9] = first_kind & 4 != 0
        row[10] = known
        row[11] = wide > 0
        row[12] = digits / length if length < 60 else 0
        row[13] = uppers > 0 and lowers == 0
        row[14] = bars > 0
        row[15] = length
        row[16] = (length + wide) / words / 8 if words > 8 else 0
        row[17] = handles > 0
        hashes[i] = np.int64(whole >> np.uint64(1))
        place += 1
    same, count = groups(hashes)
    times = np.zeros(count, np.int64)
    for i in range(n):
        out[i, 19] = times[same[i]] > 0
        times[same[i]] += 1
    for i in range(n):
        out[i, 18] = np.log(times[same[i]])
    return out, marks, leads


@compiled("float32[::1](boolean[::1], int64)")
def distance(where, step):
    """log(1 + blocks to the nearest one in ``where``), looking back (1) or ahead (-1); 200 where there is none."""
    n = len(where)
    out = np.empty(n, np.float32)
    far = 200.0
    for k in range(n):
        i = k if step > 0 else n - 1 - k
        far = 0.0 if where[i] else min(far + 1, 200.0)
        out[i] = np.log1p(far)
    return out


@compiled(
    "float32[:, ::1](float32[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1],"
    " int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], boolean[::1], float32[::1], float64,"
    " int64, int64, int64, int64, int64)",
)
def _matrix(
    text, marks, leads, link_in, links, stress, pictures, node, tag, parent, page_bits, own, sign, claims, told,
    declared, body, n_zones, n_bits, n_marks, n_tags,
):  # fmt: skip
    n = len(node)
    m = len(parent)
    size = text[:, 0].copy()
    link = np.empty(n, np.float32)
    density = np.empty(n, np.float32)
    free = np.empty(n, np.float32)
    weight = np.zeros(n, np.float32)
    heading = np.empty(n, np.bool_)
    long = np.empty(n, np.bool_)
    all_size = all_link = 0.0
    for i in range(n):
        link[i] = min(link_in[i] * (size[i] / max(text[i, 15], 1.0)), size[i])
        density[i] = link[i] / max(size[i], 1.0)
        free[i] = size[i] - link[i]
        heading[i] = 5 <= tag[i] <= 8
        long[i] = free[i] >= LONG and density[i] < 0.4
        if long[i]:
            weight[i] = free[i]
        all_size += size[i]
        all_link += link[i]

    # Elements: what each holds, summed upwards (a parent always has a smaller number than its children).
    held = np.zeros((m, 5), np.float64)  # text, links, running text, blocks, points
    direct = np.zeros(m, np.float64)
    for i in range(n):
        at = node[i]
        held[at, 0] += size[i]
        held[at, 1] += link[i]
        held[at, 2] += weight[i]
        held[at, 3] += 1
        direct[at] += weight[i]
        if density[i] < 0.5 and free[i] >= 25:
            score = 1 + text[i, 2] + min(free[i] / 100, 3.0)
            holder = at
            code = tag[i]
            if (code == 1 or code == 3 or code == 9 or code == 10 or code == 11) and parent[holder] >= 0:
                holder = parent[holder]  # a paragraph speaks for the element around it
            held[holder, 4] += score
            if parent[holder] >= 0:
                held[parent[holder], 4] += score / 2
    for child in range(m - 1, 0, -1):
        if held[child, 3]:
            for k in range(4):
                held[parent[child], k] += held[child, k]
    best = 0
    most = -1.0
    for at in range(m):
        score = held[at, 4] * (1 - held[at, 1] / max(held[at, 0], 1.0))
        if own[at] & body:
            score *= 1.25
        if score > most:
            best, most = at, score
    inside = np.zeros(m, np.bool_)
    depth = np.zeros(m, np.int64)
    inside[best] = True
    for child in range(1, m):
        depth[child] = depth[parent[child]] + 1
        inside[child] |= inside[parent[child]]
    up1 = np.empty(n, np.int64)
    up2 = np.empty(n, np.int64)
    up3 = np.empty(n, np.int64)
    best_in = np.empty(n, np.bool_)
    for i in range(n):
        up1[i] = max(parent[node[i]], 0)
        up2[i] = max(parent[up1[i]], 0)
        up3[i] = max(parent[up2[i]], 0)
        best_in[i] = inside[node[i]]
    total = max(held[0, 2], 1.0)

    # Blocks of one kind: the same tag in elements of the same names.
    keys = np.empty(n, np.int64)
    for i in range(n):
        keys[i] = sign[node[i]] * 16 + tag[i]
    kind, n_kinds = groups(keys)
    per_kind = np.zeros((n_kinds, 4), np.float64)
    for i in range(n):
        per_kind[kind[i], 0] += size[i]
        per_kind[kind[i], 1] += link[i]
        per_kind[kind[i], 2] += weight[i]
        per_kind[kind[i], 3] += 1
        keys[i] = kind[i] * m + up1[i]
    # Paragraphs of one text share an element; the texts of cards and teasers each have their own.
    pair, n_pairs = groups(keys)
    together = np.zeros(n_pairs, np.int64)
    rank = np.empty(n, np.int64)  # of the block among those that share its element
    for i in range(n):
        rank[i] = together[pair[i]]
        together[pair[i]] += 1
    shown = np.zeros(m, np.int64)  # pictures in each element
    for i in range(n):
        shown[node[i]] += pictures[i]
    for child in range(m - 1, 0, -1):
        shown[parent[child]] += shown[child]
    sort, n_sorts = groups(sign)
    alike = np.zeros(n_sorts, np.int64)
    for at in range(m):
        alike[sort[at]] += 1

    # Place on the page.
    running = 0.0
    place = 0.0
    under = -1
    first_h1 = titled = -1
    for i in range(n):
        if tag[i] == 5 and first_h1 < 0:
            first_h1 = i
        if heading[i] and text[i, 10] > 0 and titled < 0:
            titled = i
    at_title = titled if titled >= 0 else first_h1
    back_long, ahead_long = distance(long, 1), distance(long, -1)
    back_best, ahead_best = distance(long & best_in, 1), distance(long & best_in, -1)
    back_head, ahead_head = distance(heading, 1), distance(heading, -1)
    pictured = pictures > 0
    back_picture, ahead_picture = distance(pictured, 1), distance(pictured, -1)
    of_title = per_kind[kind[at_title], 3] if at_title >= 0 else 0.0
    chief = 0  # headings of the kind of the title's so far
    sums = np.zeros((n + 1, 4), np.float64)
    for i in range(n):
        sums[i + 1, 0] = sums[i, 0] + np.log1p(free[i])
        sums[i + 1, 1] = sums[i, 1] + density[i]
        sums[i + 1, 2] = sums[i, 2] + long[i]
        sums[i + 1, 3] = sums[i, 3] + heading[i]
    n_text = text.shape[1]
    width = 126 + 25 + n_marks + n_text + n_bits + n_zones + n_marks + n_tags + len(claims)
    out = np.zeros((n, width), np.float32)
    for i in range(n):
        row = out[i]
        at = node[i]
        of_kind = per_kind[kind[i]]
        c = 0
        row[0] = np.log1p(size[i])
        row[1] = np.log1p(free[i])
        row[2] = np.log1p(text[i, 1])
        row[3] = density[i]
        row[4] = np.log1p(links[i])
        row[5] = np.log1p(text[i, 2])
        row[6] = np.log1p(text[i, 3])
        c = 7
        for k in range(4, n_text):
            if k != 15:
                row[c] = text[i, k]
                c += 1
        row[c] = long[i]
        c += 1
        for level in range(4):
            around = at if level == 0 else up1[i] if level == 1 else up2[i] if level == 2 else up3[i]
            row[c] = held[around, 1] / max(held[around, 0], 1.0)
            row[c + 1] = held[around, 2] / total
            row[c + 2] = np.log1p(held[around, 2])
            row[c + 3] = np.log1p(held[around, 3])
            c += 4
        row[c] = best_in[i]
        row[c + 1] = at == best
        row[c + 2] = up1[i] == best
        row[c + 3] = up2[i] == best
        row[c + 4] = held[best, 2] / total
        row[c + 5] = depth[at] / 16
        row[c + 6] = direct[at] / total
        row[c + 7] = direct[up1[i]] / total
        c += 8
        row[c] = np.log1p(of_kind[0])
        row[c + 1] = of_kind[1] / max(of_kind[0], 1.0)
        row[c + 2] = of_kind[2] / total
        row[c + 3] = np.log1p(of_kind[3])
        row[c + 4] = np.log1p(of_kind[2] / of_kind[3])
        row[c + 5] = together[pair[i]] / of_kind[3]
        row[c + 6] = np.log1p(together[pair[i]])
        row[c + 7] = np.log1p(alike[sort[up1[i]]])
        row[c + 8] = np.log1p(alike[sort[up2[i]]])
        row[c + 9] = np.log1p(alike[sort[up3[i]]])
        row[c + 10] = density[i] > 0.9 and best_in[i]
        row[c + 11] = free[i] < 4 and size[i] > 25
        row[c + 12] = density[i] if heading[i] else 0
        c += 13
        if heading[i]:
            under = i
        if at_title >= 0 and heading[i] and kind[i] == kind[at_title]:
            chief += 1
        if under >= 0 and i - under <= 4:  # the heading above a block
            row[c] = density[under]
            row[c + 1] = per_kind[kind[under], 3] > 2
            row[c + 2] = np.log1p(per_kind[kind[under], 3])
            row[c + 3] = marks[under] != 0
            row[c + 4] = leads[under] != 0
            row[c + 5] = i - under
            row[c + 6] = text[under, 10]
        c += 7
        row[c] = stress[i] / 100
        row[c + 1] = stress[i - 1] / 100 if i > 0 else 0
        row[c + 2] = stress[i + 1] / 100 if i + 1 < n else 0
        row[c + 3] = np.log1p(pictures[i])
        row[c + 4] = np.log1p(pictures[i + 1]) if i + 1 < n else 0
        row[c + 5] = back_picture[i]
        row[c + 6] = ahead_picture[i]
        row[c + 7] = np.log1p(shown[at])
        row[c + 8] = np.log1p(shown[up1[i]])
        row[c + 9] = shown[at] / held[at, 3]
        row[c + 10] = shown[up1[i]] / held[up1[i], 3]
        row[c + 11] = np.log1p(rank[i])
        row[c + 12] = np.log1p(together[pair[i]] - rank[i] - 1)
        row[c + 13] = of_title
        row[c + 14] = chief
        row[c + 15] = np.log1p(held[up1[i], 0] - held[at, 0])
        row[c + 16] = size[i] / held[up1[i], 0]
        row[c + 17] = size[i] / held[at, 0]
        row[c + 18] = marks[i - 1] == marks[i] if i > 0 else 0
        row[c + 19] = leads[i - 1] == leads[i] if i > 0 else 0
        row[c + 20] = leads[i + 1] == leads[i] if i + 1 < n else 0
        c += 21
        place += size[i]
        row[c] = i / n
        row[c + 1] = place / max(all_size, 1.0)
        row[c + 2] = np.log1p(i)
        row[c + 3] = np.log1p(n - i)
        row[c + 4] = np.log1p(n)
        row[c + 5] = np.log1p(total)
        row[c + 6] = running / total
        running += weight[i]
        row[c + 7] = (held[0, 2] - running) / total
        row[c + 8] = back_long[i]
        row[c + 9] = ahead_long[i]
        row[c + 10] = back_best[i]
        row[c + 11] = ahead_best[i]
        row[c + 12] = back_head[i]
        row[c + 13] = ahead_head[i]
        row[c + 14] = at_title >= 0
        row[c + 15] = max(-1.0, min((i - at_title) / 20, 1.0)) if at_title >= 0 else 0
        row[c + 16] = i == at_title
        row[c + 17] = all_link / max(all_size, 1.0)
        row[c + 18] = np.log1p(sums[n, 2])
        row[c + 19] = sums[n, 3] / n
        c += 20
        near = own[at] | own[up1[i]] | own[up2[i]]
        for k in range(n_bits):
            row[c + k] = page_bits[at] >> k & 1
        c += n_bits
        for k in range(n_zones):
            row[c + k] = near >> k & 1
        c += n_zones
        for k in range(n_marks):
            row[c + k] = marks[i] >> k & 1
        c += n_marks
        for k in range(n_marks):
            row[c + k] = leads[i] >> k & 1
        c += n_marks
        for k in range(1, n_tags):
            row[c + k - 1] = tag[i] == k
        c += n_tags - 1

        # Neighbours.
        for by in (-1, 1, -2, 2, -3, 3):
            j = i + by
            if 0 <= j < n:
                row[c] = np.log1p(free[j])
                row[c + 1] = density[j]
                row[c + 2] = text[j, 5]
                row[c + 3] = heading[j]
                row[c + 4] = best_in[j]
                row[c + 5] = text[j, 4]
                row[c + 6] = marks[j] != 0
                row[c + 7] = kind[j] == kind[i]
            c += 8
        for around in (4, 10, 30):
            low, high = max(i - around, 0), min(i + around + 1, n)
            for k in range(4):
                row[c + k] = (sums[high, k] - sums[low, k]) / (high - low)
            c += 4
        for k in range(len(claims)):
            row[c + k] = claims[k]
        c += len(claims)
        row[c] = told[i]
        row[c + 1] = declared
        row[c + 2] = (1 - told[i]) * (declared > 0.7)
        row[c + 3] = told[i] * (size[i] > 40)
    return out


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(bytearray(text.encode("utf-32-le", "surrogatepass")), np.uint32)


def features(page: Page) -> np.ndarray:
    """The matrix (blocks x features), float32; at least one block."""
    texts = page.text
    n = len(texts)
    mark = chr(MARK)
    text, marks, leads = _describe(
        _codes(mark.join(texts) + mark),
        n,
        _codes(page.title.lower()),
        _KINDS,
        _LOWER_CASE,
        _MARK_KEYS,
        _MARK_BITS,
        _FUNCTION,
    )
    # What the page's metadata declares to be the article.
    declared = _NOT_WORD.sub("", page.declared)
    told = np.zeros(n, np.float32)
    covered = 0.0
    if len(declared) > 100:
        told[:] = [len(key) > 3 and key in declared for key in (_NOT_WORD.sub("", text[:90])[:60] for text in texts)]
        covered = min(float((told * text[:, 0]).sum(dtype=np.float64)) / len(declared), 1.0)
    return _matrix(
        text,
        marks,
        leads,
        page.link,
        page.links,
        page.stress,
        page.pictures,
        page.node,
        page.tag,
        page.parent,
        page.bits,
        page.own,
        page.sign,
        np.array(page.claims, np.bool_),
        told,
        covered,
        ZONE_BODY,
        N_ZONES,
        N_BITS,
        _N_MARKS,
        len(TAGS),
    )
