"""The scanner of `html_blocks`: one compiled pass over the bytes of a page.

A page has thousands of tags, and anything Python does for each of them costs more than parsing the page. So the pass is
compiled (numba); it follows browsers where it matters for text: quoted attribute values may hold ``>``, script and
style end only at their end tag, ``p`` and ``li`` end by themselves. Its time is linear in the page's length, its memory
a few times the page, and it is indifferent to how deep the page nests.
"""

from __future__ import annotations

import numpy as np

from pipeline.compiled import compiled

MAX_DEPTH = 200  # open elements that are kept; deeper ones count as part of the last
MARK = 1  # the byte that separates blocks in the scanner's text; a page's own are dropped

INLINE, OPEN, CLOSE, LINK, UNLINK, BREAK, RULE, RAW, STRESS, UNSTRESS, PICTURE = range(11)
# Families of elements that end one another when a new one opens; negative: the elements within which they look.
ITEM, TERM, ROW, CELL, CHOICE, NO_SCRIPT = range(1, 7)
_OFFSET = np.uint64(14695981039346656037)  # FNV-1a
_PRIME = np.uint64(1099511628211)


def fnv(word: str) -> int:
    """The 64-bit FNV-1a hash of a word's code points, as the compiled passes compute it."""
    value = 14695981039346656037
    for character in word:
        value = (value ^ ord(character)) * 1099511628211 % (1 << 64)
    return value


def pair(first: str, second: str) -> int:
    """The hash of two words in a row."""
    return fnv(first) * 1099511628211 % (1 << 64) ^ fnv(second)


def table(entries: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A hash table with open addressing: keys (0: free) and values."""
    size = 1 << (4 * len(entries)).bit_length()
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    for key, value in entries.items():
        place = key & (size - 1)
        while keys[place]:
            place = (place + 1) & (size - 1)
        keys[place], values[place] = key, value
    return keys, values


_LESS, _GREATER, _SLASH, _EQUALS, _QUOTE, _APOSTROPHE, _AMPERSAND, _HYPHEN, _BANG, _QUESTION, _SPACE, _NEWLINE = (
    b"<>/=\"'&-!? \n"
)


@compiled("int64(uint64[::1], int64[::1], uint64)")
def look_up(keys: np.ndarray, values: np.ndarray, key: int) -> int:
    """The value of ``key`` in a `table`, 0 where it is absent."""
    mask = np.uint64(len(keys) - 1)
    place = key & mask
    while keys[place]:
        if keys[place] == key:
            return values[place]
        place = (place + np.uint64(1)) & mask
    return 0


@compiled("int64(uint8[::1], int64, uint8)")
def _find(data: np.ndarray, start: int, byte: int) -> int:
    """Where ``byte`` first stands at or after ``start``; the length where it does not."""
    while start < len(data) and data[start] != byte:
        start += 1
    return start


@compiled("int64(uint8[::1], int64, int64, uint64[::1], int64[::1], uint64[::1], int64[::1])")
def _name_zones(data, start, stop, word_keys, word_bits, pair_keys, pair_bits):
    """The zones that the words of ``data[start:stop]`` speak of; words end where letters or their case do."""
    bits = 0
    last = np.uint64(0)
    place = start
    while place < stop:
        byte = data[place]
        upper = 65 <= byte <= 90
        if not upper and not 97 <= byte <= 122:
            place += 1
            continue
        word = _OFFSET
        if upper:
            word = (word ^ np.uint64(byte + 32)) * _PRIME
            place += 1
            if place < stop and 65 <= data[place] <= 90:  # a run of capitals
                while place < stop and 65 <= data[place] <= 90:
                    word = (word ^ np.uint64(data[place] + 32)) * _PRIME
                    place += 1
            else:
                while place < stop and 97 <= data[place] <= 122:
                    word = (word ^ np.uint64(data[place])) * _PRIME
                    place += 1
        else:
            while place < stop and 97 <= data[place] <= 122:
                word = (word ^ np.uint64(data[place])) * _PRIME
                place += 1
        bits |= look_up(word_keys, word_bits, word)
        if last:
            bits |= look_up(pair_keys, pair_bits, last * _PRIME ^ word)
        last = word
    return bits


@compiled(
    "int64(uint8[::1], int64, int64, int64, uint64[::1], int64[::1], uint64[::1], int64[::1], uint64[::1], int64[::1])",
)
def zones(data, start, stop, hidden, word_keys, word_bits, pair_keys, pair_bits, attribute_keys, attributes):
    """The zones that the attributes in ``data[start:stop]`` of a tag speak of; ``hidden`` is the bit for hidden ones.

    ``attributes``: 1 for class, id, role and itemprop; 2 hidden; 3 aria-hidden; 4 style.
    """
    bits = 0
    place = start
    while place < stop:
        while place < stop and (data[place] <= _SPACE or data[place] == _SLASH or data[place] == _EQUALS):
            place += 1
        name = _OFFSET
        while place < stop and data[place] > _SPACE and data[place] != _EQUALS and data[place] != _SLASH:
            byte = data[place]
            name = (name ^ np.uint64(byte + 32 if 65 <= byte <= 90 else byte)) * _PRIME
            place += 1
        kind = look_up(attribute_keys, attributes, name)
        if kind == 2:
            bits |= hidden
        while place < stop and data[place] <= _SPACE:
            place += 1
        if place >= stop or data[place] != _EQUALS:
            continue
        place += 1
        while place < stop and data[place] <= _SPACE:
            place += 1
        if place >= stop:
            break
        quote = data[place]
        if quote in (_QUOTE, _APOSTROPHE):
            place += 1
            end = place
            while end < stop and data[end] != quote:
                end += 1
        else:
            end = place
            while end < stop and data[end] > _SPACE:
                end += 1
        if kind == 1 and end - place < 400:
            bits |= _name_zones(data, place, end, word_keys, word_bits, pair_keys, pair_bits)
        elif kind == 3 and end - place == 4 and data[place] | 32 == 116:  # true
            bits |= hidden
        elif kind == 4:
            for k in range(place, end - 10):  # display:none
                if data[k] | 32 == 100 and data[k + 1] | 32 == 105 and data[k + 6] | 32 == 121:
                    k += 7
                    while k < end and (data[k] <= _SPACE or data[k] == 58):
                        k += 1
                    if k + 4 <= end and data[k] | 32 == 110 and data[k + 1] | 32 == 111 and data[k + 3] | 32 == 101:
                        bits |= hidden
        place = end + 1
    return bits


@compiled("boolean(uint8[::1], int64)")
def _is_nbsp(data, place):
    return data[place] == 110 and data[place + 1] == 98 and data[place + 2] == 115 and data[place + 3] == 112


@compiled(
    "Tuple((uint8[::1], int64[:, ::1], int64[:, ::1], int64))(uint8[::1], boolean, uint64[::1], int64[:, ::1],"
    " int64[::1], uint64[::1], int64[::1], uint64[::1], int64[::1], uint64[::1], int64[::1])",
)
def scan(
    data,
    scripted,
    tag_keys,
    tags,
    masks,
    word_keys,
    word_bits,
    pair_keys,
    pair_bits,
    attribute_keys,
    attributes,
):
    """The blocks and elements of a page's UTF-8 bytes.

    ``tags`` has for each slot of ``tag_keys`` a row: what the tag does, zone bits, code in `html_blocks.TAGS`, family,
    a number for the element's name. ``masks``: the bits of skipped elements, of ``pre``, of hidden ones; the numbers of
    ``p``, ``table``, ``tr``, ``html``, ``body``, ``head``, ``title`` and ``template``. Without ``scripted`` the
    content of ``noscript`` counts as part of the page.

    Returns the text of the blocks (each followed by the byte `MARK`), blocks (n x 7: characters in links, links, node,
    tag, table row or -1, per cent of the text in bold or italics, pictures since the block before), elements (m x 7:
    parent, bits, own bits, sign, sign of the element alone, where its attributes stand in ``data``, from and to) and
    how deep the page nests.
    """
    size = len(data)
    out = np.empty(size + 16, np.uint8)
    n_out = 0
    blocks = np.empty((256, 7), np.int64)
    n_blocks = 0
    nodes = np.zeros((512, 7), np.int64)
    nodes[0, 0] = -1
    n_nodes = 1
    stack_name = np.zeros(MAX_DEPTH + 1, np.int64)
    stack_family = np.zeros(MAX_DEPTH + 1, np.int64)
    stack_node = np.zeros(MAX_DEPTH + 1, np.int64)
    stack_tag = np.zeros(MAX_DEPTH + 1, np.int64)
    depth = 0  # the stack's last place
    overflow = 0
    deepest = 0
    row = -1
    begun = 0  # where the present block's text begins in ``out``
    linked = 0
    n_links = 0
    in_link = False
    stress = stressed = since = 0  # open elements that stress, bytes in them in the present block, where they began
    pictures = 0  # since the last block
    breaks = 0
    blank = False  # whitespace seen since the last character of the block
    skip, pre, hidden = masks[0], masks[1], masks[2]
    mask = np.uint64(len(tag_keys) - 1)
    quotes_end = np.zeros(2, np.bool_)  # no further " or '
    name_p, name_head = masks[3], masks[8]
    place = 0
    while True:
        # Text up to the next tag.
        inside = nodes[stack_node[depth], 1]
        skipped = inside & skip != 0
        is_pre = inside & pre != 0
        while place < size:
            byte = data[place]
            if byte == _LESS and place + 1 < size:
                after = data[place + 1]
                if 97 <= after | 32 <= 122 or after in (_BANG, _QUESTION):
                    break
                if after == _SLASH and place + 2 < size and 97 <= data[place + 2] | 32 <= 122:
                    break
            place += 1
            if skipped:
                continue
            if byte <= _SPACE:
                if is_pre and n_out > begun and (byte in (_NEWLINE, _SPACE) or byte == 9):
                    out[n_out] = byte
                    n_out += 1
                elif byte > 8 or byte == 0:
                    blank = True
                continue
            if byte == 194 and place < size and data[place] == 160:  # a no-break space
                place += 1
                blank = True
                continue
            if byte == _AMPERSAND and place + 4 < size and _is_nbsp(data, place):
                place += 4
                if place < size and data[place] == 59:
                    place += 1
                blank = True
                continue
            if blank:
                if n_out > begun and out[n_out - 1] != _NEWLINE and out[n_out - 1] != _SPACE:
                    out[n_out] = _SPACE
                    n_out += 1
                    linked += in_link
                blank = False
            out[n_out] = byte
            n_out += 1
            breaks = 0
            if in_link and byte & 192 != 128:
                linked += 1
        ended = place >= size
        kind, family, code, name, zone_bits = OPEN, 0, 0, 0, 0
        from_attributes = to_attributes = 0
        if not ended:
            if data[place + 1] == _BANG or data[place + 1] == _QUESTION:  # a comment or a declaration
                if (
                    place + 3 < size
                    and data[place + 1] == _BANG
                    and data[place + 2] == _HYPHEN
                    and data[place + 3] == _HYPHEN
                ):
                    place += 4
                    if place < size and data[place] == _GREATER:
                        place += 1
                        continue
                    while place < size:
                        if data[place] == _GREATER and data[place - 1] == _HYPHEN and data[place - 2] == _HYPHEN:
                            break
                        place += 1
                    place += 1
                else:
                    place = _find(data, place, _GREATER) + 1
                continue
            begin = place
            closing = data[place + 1] == _SLASH
            place += 2 if closing else 1
            key = _OFFSET
            if closing:
                key = (key ^ np.uint64(47)) * _PRIME
            while place < size and data[place] > _SPACE and data[place] != _SLASH and data[place] != _GREATER:
                byte = data[place]
                key = (key ^ np.uint64(byte + 32 if 65 <= byte <= 90 else byte)) * _PRIME
                place += 1
            # To the tag's end, over quoted values.
            from_attributes = place
            equals = False
            while place < size:
                byte = data[place]
                if byte == _GREATER:
                    break
                if equals and (byte in (_QUOTE, _APOSTROPHE)):
                    which = 0 if byte == _QUOTE else 1
                    if not quotes_end[which]:
                        end = _find(data, place + 1, byte)
                        if end < size:
                            place = end
                        else:
                            quotes_end[which] = True  # never closed: it quotes nothing
                    equals = False
                elif byte == _EQUALS:
                    equals = True
                elif byte > _SPACE:
                    equals = False
                place += 1
            to_attributes = min(place, size)
            place += 1
            slot = key & mask
            kind = INLINE
            while tag_keys[slot]:
                if tag_keys[slot] == key:
                    kind, zone_bits, code = tags[slot, 0], tags[slot, 1], tags[slot, 2]
                    family, name = tags[slot, 3], tags[slot, 4]
                    break
                slot = (slot + np.uint64(1)) & mask
            if kind == INLINE:
                continue
            if kind == RAW:
                if not scripted and family == NO_SCRIPT:
                    continue
                length = from_attributes - begin - 1
                while place < size:  # to its end tag
                    if data[place] == _LESS and place + 1 < size and data[place + 1] == _SLASH:
                        same = place + 2 + length <= size
                        for k in range(length):
                            if not same or (data[place + 2 + k] | 32) != (data[begin + 1 + k] | 32):
                                same = False
                                break
                        if same:
                            break
                    place += 1
                place = _find(data, place, _GREATER) + 1
                continue
            if kind == LINK:
                in_link = True
                n_links += 1
                continue
            if kind == UNLINK:
                in_link = False
                continue
            if kind == STRESS:
                if stress == 0:
                    since = n_out
                stress += 1
                continue
            if kind == UNSTRESS:
                if stress == 1:
                    stressed += n_out - since
                stress = max(stress - 1, 0)
                continue
            if kind == PICTURE:
                pictures += 1
                continue
            if kind == BREAK:
                breaks += 1
                if n_out == begun:
                    continue
                if breaks < 2:
                    while n_out > begun and (out[n_out - 1] == _SPACE or out[n_out - 1] == _NEWLINE):
                        n_out -= 1
                    out[n_out] = _NEWLINE
                    n_out += 1
                    blank = False
                    continue
        # The block before this tag ends.
        while n_out > begun and (out[n_out - 1] == _SPACE or out[n_out - 1] == _NEWLINE or out[n_out - 1] == 9):
            n_out -= 1
        if n_out > begun:
            if n_blocks == len(blocks):
                more = np.empty((2 * n_blocks, 7), np.int64)
                more[:n_blocks] = blocks
                blocks = more
            if stress:
                stressed += max(n_out - since, 0)
            blocks[n_blocks, 5] = min(100 * stressed // (n_out - begun), 100)
            blocks[n_blocks, 6] = pictures
            out[n_out] = MARK
            n_out += 1
            blocks[n_blocks, 0] = linked
            blocks[n_blocks, 1] = n_links
            blocks[n_blocks, 2] = stack_node[depth]
            blocks[n_blocks, 3] = stack_tag[depth]
            blocks[n_blocks, 4] = row
            n_blocks += 1
            begun = n_out
            linked = stressed = stress = pictures = 0
            n_links = 1 if in_link else 0
        blank = False
        if ended:
            break
        if kind == OPEN:
            if depth and stack_name[depth] == name_p:
                depth -= 1
            if depth and stack_name[depth] == name_head and name != masks[9] and name != masks[10]:
                depth -= 1  # its end tag may be left out
            if family > 0:
                for k in range(depth, 0, -1):
                    other = stack_family[k]
                    if other == family:
                        depth = k - 1
                        break
                    if other == -family or (family == CELL and (other == ROW or other == -ROW)):
                        break
            if depth + 1 < MAX_DEPTH:
                around = stack_node[depth]
                if to_attributes - from_attributes > 4 and name != masks[6] and name != masks[7]:
                    zone_bits |= zones(
                        data,
                        from_attributes,
                        to_attributes,
                        hidden,
                        word_keys,
                        word_bits,
                        pair_keys,
                        pair_bits,
                        attribute_keys,
                        attributes,
                    )
                if n_nodes == len(nodes):
                    grown = np.zeros((2 * n_nodes, 7), np.int64)
                    grown[:n_nodes] = nodes
                    nodes = grown
                sort = np.int64(((np.uint64(zone_bits) ^ np.uint64(name << 40)) * _PRIME) >> np.uint64(33))
                nodes[n_nodes, 0] = around
                nodes[n_nodes, 1] = nodes[around, 1] | zone_bits
                nodes[n_nodes, 2] = zone_bits
                nodes[n_nodes, 3] = sort << 31 | nodes[around, 4]
                nodes[n_nodes, 4] = sort
                nodes[n_nodes, 5] = from_attributes
                nodes[n_nodes, 6] = to_attributes
                depth += 1
                stack_name[depth] = name
                stack_family[depth] = family
                stack_node[depth] = n_nodes
                stack_tag[depth] = code
                if family == ROW:
                    row = n_nodes
                elif name == masks[4]:
                    row = -1
                n_nodes += 1
            else:
                overflow += 1
            deepest = max(deepest, depth + overflow)
        elif kind == CLOSE:
            if overflow and stack_name[depth] == name:
                overflow -= 1
            else:
                for k in range(depth, 0, -1):
                    if stack_name[k] == name:
                        depth = k - 1
                        if name == masks[4] or name == masks[5]:
                            row = -1
                        break
    return out[:n_out], blocks[:n_blocks], nodes[:n_nodes], deepest
