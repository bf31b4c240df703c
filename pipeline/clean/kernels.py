"""The compiled loops of `segments`, `stats`, `lines` and `repetition`: one pass over a batch, document by document.

``data`` are the bytes of all documents, ``offsets`` where each starts, ``flags`` what Unicode says of a code point
(`segments.flags`), ``starts`` and ``ends`` of units are byte positions, ``edges`` the first unit of each document.
"""

from __future__ import annotations

import numpy as np

from pipeline.compiled import compiled

_WORD, _ALONE, _LETTER, _SPACE, _TERMINAL = 1, 2, 8, 16, 32  # flags of pipeline.clean.segments
_BASE = np.uint64(0x9E3779B97F4A7C15)  # of pipeline.clean.hashing
_GRAM_BASE = np.uint64(0x9FB21C651E98DF25)


@compiled()
def _mix(value):
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value


@compiled()
def _flags_at(data, at, flags):
    """Flags of the code point that starts here, and its number of bytes."""
    byte = data[at]
    if byte < 0x80:
        return flags[byte], 1
    if byte < 0xE0:
        return flags[(np.int64(byte) & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F)], 2
    point = np.int64(data[at + 1]) & 0x3F
    if byte < 0xF0:
        point = (np.int64(byte) & 0x0F) << 12 | point << 6 | (np.int64(data[at + 2]) & 0x3F)
        return flags[point], 3
    point = (np.int64(byte) & 0x07) << 18 | point << 12 | (np.int64(data[at + 2]) & 0x3F) << 6
    point |= np.int64(data[at + 3]) & 0x3F
    return (flags[point] if point < len(flags) else np.uint8(0)), 4


@compiled()
def _hash(data, start, end, codes):
    """`hash_spans` of one span."""
    found, power = np.uint64(0), np.uint64(1)
    for at in range(start, end):
        found += codes[data[at]] * power
        power *= _BASE
    return _mix(found)


@compiled()
def _words(data, low, high, flags, starts, ends):
    """Words of the document [low, high): runs of letters, marks and digits; each code point of some scripts alone."""
    count = 0
    inside = False
    at = low
    while at < high:
        flag, width = _flags_at(data, at, flags)
        if flag & _WORD:
            if flag & _ALONE:
                if inside:
                    ends[count] = at
                    count += 1
                starts[count] = at
                ends[count] = at + width
                count += 1
                inside = False
            elif not inside:
                starts[count] = at
                inside = True
        elif inside:
            ends[count] = at
            count += 1
            inside = False
        at += width
    if inside:
        ends[count] = high
        count += 1
    return count


@compiled()
def _join(data, low, high, flags, signs, starts, ends, count):
    """Join words over the symbols inside them, in place; returns how many are left. See `Segments.units`."""
    lower, upper, digit, alpha = signs[0], signs[1], signs[2], signs[3]
    operator, divider, symbol = signs[4], signs[5], signs[9]
    left_count = 0
    scanned = low  # where the search for the end of the current run without spaces goes on
    first_end = np.int64(-1)  # the end of the first word of that run
    for word in range(count):
        start, end = starts[word], ends[word]
        # A run without spaces begins anew where a space stands between two words.
        fresh = word == 0
        at = scanned
        while at < start and not fresh:
            flag, width = _flags_at(data, at, flags)
            fresh = bool(flag & _SPACE)
            at += width
        if fresh:
            first_end = end
        scanned = end
        joins = False
        if word:
            before = ends[word - 1]
            gap = start - before
            sign = data[before]
            one = gap == 1
            if gap == 3 and sign == 0xE2 and data[before + 1] == 0x80:
                if data[before + 2] == 0x93:
                    sign, one = np.uint8(ord("=")), True
                elif data[before + 2] == 0x99:
                    sign, one = np.uint8(ord("'")), True
            if one:
                left, right = data[before - 1], data[start]
                if gap == 3 or symbol[data[before]]:
                    if sign == ord("'") and end - start <= 2:
                        start = before
                    else:
                        separates = (
                            (sign == ord(".") and lower[left] and upper[right])
                            or (sign == ord(",") and alpha[left] and alpha[right])
                            or (operator[sign] and digit[left] and digit[right])
                            or (divider[sign] and alpha[right])
                        )
                        if separates and not fresh:
                            # inside a URL nothing separates: a run that begins with a word and "://"
                            colon = first_end
                            in_url = (
                                colon <= before
                                and colon + 2 < high
                                and data[colon] == ord(":")
                                and data[colon + 1] == ord("/")
                                and data[colon + 2] == ord("/")
                            )
                            separates = not in_url
                        joins = not separates
            elif 1 < gap <= 15:
                joins = True
                for at in range(before, start):
                    if not symbol[data[at]]:
                        joins = False
                        break
                if joins:
                    first, second = data[before], data[before + 1]
                    alike = first == second and (first == ord(".") or first == ord("-"))
                    quoted = first == ord(".") and (second == ord('"') or second == ord("'"))
                    joins = not (alike or quoted)
        if joins:
            joined_end = end
            starts[word] = -1
            ends[word] = joined_end
        else:
            starts[word] = start
    for word in range(count):
        if starts[word] >= 0:
            starts[left_count] = starts[word]
            ends[left_count] = ends[word]
            left_count += 1
        else:
            ends[left_count - 1] = ends[word]
    return left_count


@compiled()
def _absorb(data, low, high, signs, codes, abbreviations, starts, ends, count):
    """Extend words over the full stop of an abbreviation and over signs that stick to them, in place."""
    digit, alpha, sticks_before, sticks_after = signs[2], signs[3], signs[6], signs[7]
    for word in range(count):
        end = ends[word]
        if end < high and data[end] == ord(".") and (end + 1 == high or data[end + 1] != ord(".")):
            start = starts[word]
            known = False
            if alpha[data[end - 1]]:
                known = end - start == 1 or data[end - 2] == ord(".")
            if not known and end - start <= 16:
                value = _hash(data, start, end, codes)
                for other in abbreviations:
                    if other == value:
                        known = True
                        break
            if known:
                ends[word] = end + 1
    for word in range(count):
        start = starts[word]
        least = ends[word - 1] if word else np.int64(low - 1)
        for _ in range(3):
            at = start - 1
            if at < low or least >= at or not sticks_before[data[at]]:
                break
            if data[at] == ord(".") and at > low and data[at - 1] == ord("."):
                break
            start = at
        starts[word] = start
    for word in range(count):
        end = ends[word]
        most = starts[word + 1] if word + 1 < count else np.int64(high + 1)
        for _ in range(3):
            if end >= high or most <= end + 1 or not sticks_after[data[end]]:
                break
            if data[end] == ord("+") and digit[data[end - 1]]:
                break
            end += 1
        ends[word] = end


@compiled()
def units(data, offsets, flags, signs, codes, abbreviations):
    """Words and symbols of every document: edges, starts, ends, which are symbols, hashes, code points, and which
    hold a letter."""
    repeats = signs[8]
    size = len(data)
    word_starts, word_ends = np.empty(size + 1, np.int64), np.empty(size + 1, np.int64)
    starts, ends = np.empty(size, np.int64), np.empty(size, np.int64)
    edges, symbols = np.zeros(len(offsets), np.int64), np.empty(size, np.bool_)
    hashes, lengths, letters = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.bool_)
    count = 0
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        words = _words(data, low, high, flags, word_starts, word_ends)
        words = _join(data, low, high, flags, signs, word_starts, word_ends, words)
        _absorb(data, low, high, signs, codes, abbreviations, word_starts, word_ends, words)
        at = low
        for word in range(words + 1):
            stop = word_starts[word] if word < words else high
            last = np.uint8(0)  # the sign that a run goes on with
            while at < stop:
                flag, width = _flags_at(data, at, flags)
                if flag & _SPACE:
                    last = np.uint8(0)
                elif last and data[at] == last:
                    ends[count - 1] = at + 1
                    lengths[count - 1] += 1
                    hashes[count - 1] = np.uint64(0)  # made below
                else:
                    starts[count], ends[count] = at, at + width
                    symbols[count], lengths[count] = True, 1
                    letters[count] = bool(flag & _LETTER)
                    hashes[count] = _hash(data, at, at + width, codes)
                    last = data[at] if repeats[data[at]] else np.uint8(0)
                    count += 1
                if last and (at + width >= stop or data[at + width] != last):
                    if hashes[count - 1] == 0:
                        hashes[count - 1] = _hash(data, starts[count - 1], ends[count - 1], codes)
                    last = np.uint8(0)
                at += width
            if word < words:
                end = word_ends[word]
                found, power = np.uint64(0), np.uint64(1)
                signs_in, letter = 0, False
                at = stop
                while at < end:
                    byte = data[at]
                    found += codes[byte] * power
                    power *= _BASE
                    if byte < 0x80:
                        signs_in += 1
                        letter |= bool(flags[byte] & _LETTER)
                    elif byte >= 0xC0:
                        signs_in += 1
                        if not letter:
                            letter = bool(_flags_at(data, at, flags)[0] & _LETTER)
                    at += 1
                starts[count], ends[count] = stop, end
                symbols[count], lengths[count], letters[count] = False, signs_in, letter
                hashes[count] = _mix(found)
                count += 1
        edges[document + 1] = count
    return (
        edges,
        starts[:count],
        ends[:count],
        symbols[:count],
        hashes[:count],
        lengths[:count],
        letters[:count],
    )


@compiled()
def sign_counts(data, offsets):
    """Per document: code points, "{", "#", line feeds, "…"."""
    found = np.zeros((5, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        points, braces, hashes, feeds, ellipses = 0, 0, 0, 0, 0
        text = data[offsets[document] : offsets[document + 1]]
        for byte in text:
            points += (byte & 0xC0) != 0x80
            braces += byte == ord("{")
            hashes += byte == ord("#")
            feeds += byte == ord("\n")
        for at in range(len(text) - 2):
            ellipses += (text[at] == 0xE2) & (text[at + 1] == 0x80) & (text[at + 2] == 0xA6)
        found[0, document], found[1, document], found[2, document] = points, braces, hashes
        found[3, document], found[4, document] = feeds, ellipses
    return found


@compiled()
def class_counts(data, offsets, flags):
    """Per document: letters, white space."""
    found = np.zeros((2, len(offsets) - 1), np.int64)
    for document in range(len(offsets) - 1):
        letters, spaces = 0, 0
        at, high = offsets[document], offsets[document + 1]
        while at < high:
            flag, width = _flags_at(data, at, flags)
            letters += (flag & _LETTER) != 0
            spaces += (flag & _SPACE) != 0
            at += width
        found[0, document], found[1, document] = letters, spaces
    return found


@compiled()
def unit_counts(data, edges, starts, ends, symbols, lengths, letters):
    """Per document: words, units, code points of words, units with a letter, "..." (not overlapping)."""
    found = np.zeros((5, len(edges) - 1), np.int64)
    for document in range(len(edges) - 1):
        words, points, alphabetic, dots = 0, 0, 0, 0
        for unit in range(edges[document], edges[document + 1]):
            alphabetic += letters[unit]
            if not symbols[unit]:
                words += 1
                points += lengths[unit]
            elif data[starts[unit]] == ord("."):
                dots += (ends[unit] - starts[unit]) // 3
        found[0, document], found[1, document] = words, edges[document + 1] - edges[document]
        found[2, document], found[3, document], found[4, document] = points, alphabetic, dots
    return found


@compiled()
def listed_words(hashes, edges, chosen, listed, found):
    """Fill ``found`` of the chosen documents with how many of the listed hashes (at most 64) their units have."""
    maybe = np.zeros(256, np.bool_)
    for value in listed:
        maybe[value & np.uint64(255)] = True
    for document in chosen:
        seen = np.uint64(0)
        for unit in range(edges[document], edges[document + 1]):
            value = hashes[unit]
            if maybe[value & np.uint64(255)]:
                for place in range(len(listed)):
                    if listed[place] == value:
                        seen |= np.uint64(1) << np.uint64(place)
                        break
        count = 0
        while seen:
            count += 1
            seen &= seen - np.uint64(1)
        found[document] = count


@compiled()
def _ends_sentence(data, start, end, flags):
    """Whether a symbol is one code point that ends sentences."""
    flag, width = _flags_at(data, start, flags)
    return width == end - start and (flag & _TERMINAL) != 0


@compiled()
def sentences(data, flags, starts, ends, symbols, first_units, last_units):
    """Sentences in each range of units: a word after a sentence-ending symbol starts one, the first word too."""
    found = np.zeros(len(first_units), np.int64)
    for place in range(len(first_units)):
        ended, words, count = False, False, 0
        for unit in range(first_units[place], last_units[place]):
            if symbols[unit]:
                ended |= _ends_sentence(data, starts[unit], ends[unit], flags)
            else:
                count += ended or not words
                ended, words = False, True
        found[place] = count
    return found


@compiled()
def visible_lines(data, offsets, edges, starts, ends):
    """Lines with a unit: where they start and end, their first unit and the one after the last, their document."""
    size = len(starts)
    line_starts, line_ends = np.empty(size, np.int64), np.empty(size, np.int64)
    firsts, lasts = np.empty(size, np.int64), np.empty(size, np.int64)
    documents = np.empty(size, np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        unit, last = edges[document], edges[document + 1]
        start = low
        while unit < last:
            # the line of this unit: back to the line feed before it, on to the one after it
            begin = starts[unit]
            while begin > start and data[begin - 1] != ord("\n"):
                begin -= 1
            end = ends[unit]
            first = unit
            unit += 1
            while True:
                stop = starts[unit] if unit < last else high
                while end < stop and data[end] != ord("\n"):
                    end += 1
                if end < stop or unit == last:
                    break
                end = ends[unit]
                unit += 1
            line_starts[count], line_ends[count] = begin, end
            firsts[count], lasts[count], documents[count] = first, unit, document
            count += 1
            start = end
    return line_starts[:count], line_ends[:count], firsts[:count], lasts[:count], documents[:count]


@compiled()
def _met(keys, marks, mark, value, mask):
    """Whether a hash is in the table of this mark; it is from now on."""
    slot = np.int64(value & mask)
    while marks[slot] == mark and keys[slot] != value:
        slot = (slot + 1) & np.int64(mask)
    if marks[slot] == mark:
        return True
    marks[slot], keys[slot] = mark, value
    return False


@compiled()
def line_counts(data, offsets, flags, codes, edges, starts, ends):
    """Per document: visible lines, lines, those that start with a bullet, end with an ellipsis, end a sentence, are
    short; visible lines met before and their code points; paragraphs, those met before and their code points."""
    found = np.zeros((11, len(offsets) - 1), np.int64)
    most = np.int64(0)
    for document in range(len(offsets) - 1):
        lines = np.int64(1)
        for at in range(offsets[document], offsets[document + 1]):
            lines += data[at] == ord("\n")
        most = max(most, lines)
    slots = np.int64(16)
    while slots < 2 * most:
        slots *= 2
    mask = np.uint64(slots - 1)
    line_keys, line_marks = np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    block_keys, block_marks = np.empty(slots, np.uint64), np.zeros(slots, np.int64)
    for document in range(len(offsets) - 1):
        mark = document + 1
        low, high = offsets[document], offsets[document + 1]
        unit, last_unit = edges[document], edges[document + 1]
        seen, every, bullets, ellipses, terminal, short = 0, 0, 0, 0, 0, 0
        again, again_points, blocks, blocks_again, blocks_points = 0, 0, 0, 0, 0
        block, block_points = np.uint64(0), np.int64(-1)
        start = low
        while True:
            value, power, points = np.uint64(0), np.uint64(1), 0
            end = start
            while end < high:
                byte = data[end]
                if byte == ord("\n"):
                    break
                value += codes[byte] * power
                power *= _BASE
                points += (byte & 0xC0) != 0x80
                end += 1
            first = unit
            while unit < last_unit and starts[unit] < end:
                unit += 1
            every += end < high or end > start
            if end > start:
                value = _mix(value)
                if block_points < 0:
                    block, block_points = value, points
                else:
                    block, block_points = _mix(block * _GRAM_BASE + value), block_points + 1 + points
            if block_points >= 0 and (end == start or end == high):  # noqa: SIM109  not a tuple in compiled code
                blocks += 1
                if _met(block_keys, block_marks, mark, block, mask):
                    blocks_again += 1
                    blocks_points += block_points
                block_points = np.int64(-1)
            if unit > first:
                seen += 1
                short += points <= 30
                if _met(line_keys, line_marks, mark, value, mask):
                    again += 1
                    again_points += points
                at = end - 1
                while (data[at] & 0xC0) == 0x80:
                    at -= 1
                terminal += (_flags_at(data, at, flags)[0] & _TERMINAL) != 0
                left, right = starts[first], ends[unit - 1]
                bullets += data[left] == ord("-") or (
                    data[left] == 0xE2 and data[left + 1] == 0x80 and data[left + 2] == 0xA2
                )
                if right - left >= 3:
                    dots = data[right - 1] == ord(".") and data[right - 2] == ord(".") and data[right - 3] == ord(".")
                    wide = data[right - 1] == 0xA6 and data[right - 2] == 0x80 and data[right - 3] == 0xE2
                    ellipses += dots or wide
            if end >= high:
                break
            start = end + 1
        found[0, document], found[1, document], found[2, document] = seen, every, bullets
        found[3, document], found[4, document], found[5, document] = ellipses, terminal, short
        found[6, document], found[7, document] = again, again_points
        found[8, document], found[9, document], found[10, document] = blocks, blocks_again, blocks_points
    return found


@compiled()
def spaced_words(data, starts, ends, flags):
    """In each byte range: words between white space, and the code points of the longest."""
    counts, longest = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    for place in range(len(starts)):
        at, points = starts[place], 0
        while at < ends[place]:
            flag, width = _flags_at(data, at, flags)
            if flag & _SPACE:
                points = 0
            else:
                counts[place] += points == 0
                points += 1
                longest[place] = max(longest[place], points)
            at += width
    return counts, longest


@compiled()
def compacted(data, count, spans, columns):
    """The texts made of some spans alone (start, end, first unit, one after the last, document; in order), a line feed
    between two of a document, and their units: data, offsets, edges and the units' columns."""
    span_starts, span_ends, firsts, lasts, documents = spans
    starts, ends, symbols, hashes, lengths, letters = columns
    size, unit_count = np.int64(0), np.int64(0)
    for place in range(len(span_starts)):
        size += span_ends[place] - span_starts[place] + 1
        unit_count += lasts[place] - firsts[place]
    out = np.empty(size, np.uint8)
    offsets, edges = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    new_starts, new_ends = np.empty(unit_count, np.int64), np.empty(unit_count, np.int64)
    new_symbols, new_hashes = np.empty(unit_count, np.bool_), np.empty(unit_count, np.uint64)
    new_lengths, new_letters = np.empty(unit_count, np.int32), np.empty(unit_count, np.bool_)
    at, unit, document = np.int64(0), np.int64(0), np.int64(0)
    for place in range(len(span_starts)):
        while document < documents[place]:
            document += 1
            offsets[document], edges[document] = at, unit
        if at > offsets[document]:
            out[at] = ord("\n")
            at += 1
        start, end = span_starts[place], span_ends[place]
        out[at : at + end - start] = data[start:end]
        move = at - start
        first, last = firsts[place], lasts[place]
        for old in range(first, last):
            new_starts[unit], new_ends[unit] = starts[old] + move, ends[old] + move
            new_symbols[unit], new_hashes[unit] = symbols[old], hashes[old]
            new_lengths[unit], new_letters[unit] = lengths[old], letters[old]
            unit += 1
        at += end - start
    while document < count:
        document += 1
        offsets[document], edges[document] = at, unit
    return out[:at], offsets, edges, (new_starts, new_ends, new_symbols, new_hashes, new_lengths, new_letters)


@compiled()
def ngram_characters(hashes, lengths, edges, top, duplicate, found):
    """Fill ``found`` ([top and duplicate n, documents]) with what `repetition.ngram_characters` promises."""
    most = np.int64(0)
    for document in range(len(edges) - 1):
        most = max(most, edges[document + 1] - edges[document])
    slots = np.int64(16)
    while slots < 2 * most:
        slots *= 2
    keys, marks, counts = np.empty(slots, np.uint64), np.zeros(slots, np.int32), np.empty(slots, np.int32)
    grams, slot_of = np.empty(most + 1, np.uint64), np.empty(most + 1, np.int64)
    places = np.empty(most + 1, np.int64)
    before = np.zeros(most + 1, np.int64)
    mark = 0
    for document in range(len(edges) - 1):
        low = edges[document]
        size = edges[document + 1] - low
        for place in range(size):
            before[place + 1] = before[place] + lengths[low + place]
            grams[place] = hashes[low + place]
            places[place] = place
        left = size
        for n in range(2, 11):
            mark += 1
            repeated = 0
            here = np.int64(16)
            while here < 2 * left:
                here *= 2
            mask = np.uint64(here - 1)
            best, best_count = np.int64(-1), 1
            for index in range(left):
                place = places[index]
                if place + n > size:
                    left = index
                    break
                gram = _mix(grams[place] * _GRAM_BASE + hashes[low + place + n - 1])
                grams[place] = gram
                slot = np.int64(gram & mask)
                while marks[slot] == mark and keys[slot] != gram:
                    slot = (slot + 1) & np.int64(mask)
                if marks[slot] != mark:
                    marks[slot], keys[slot], counts[slot] = mark, gram, 1
                else:
                    counts[slot] += 1
                slot_of[place] = slot
            # keep only the places of n-grams that occur more than once
            for index in range(left):
                place = places[index]
                times = counts[slot_of[place]]
                if times > 1:
                    places[repeated] = place
                    repeated += 1
                    if times > best_count:
                        best, best_count = place, times
            for row in range(len(top)):
                if top[row] == n:
                    if best < 0 and n <= size:
                        best = 0  # nothing is repeated: the first is the most frequent
                    if best >= 0:
                        found[row, document] = (before[best + n] - before[best] + (n - 1)) * best_count
            for row in range(len(duplicate)):
                if duplicate[row] == n:
                    total = np.int64(0)
                    free = np.int64(0)
                    for index in range(repeated):
                        place = places[index]
                        if place < free:
                            continue
                        slot = slot_of[place]
                        if counts[slot] > 0:  # not met before
                            counts[slot] = -counts[slot]
                        else:
                            total += before[place + n] - before[place]
                            free = place + n
                    found[len(top) + row, document] = total
            # a longer n-gram can only be repeated where both of those inside it are
            left = 0
            for index in range(repeated - 1):
                if places[index + 1] == places[index] + 1:
                    places[left] = places[index]
                    left += 1
            if left == 0 and n >= top[len(top) - 1]:
                break
