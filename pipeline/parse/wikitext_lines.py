"""The flat part of wikitext: tables, and the lines of a page with their headings, lists and holes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from pipeline.parse.wikitext_brackets import BREAK, HOLE, LOST, NOTE

# ---------------------------------------------------------------------------------------------------------------------
# Tables

_TABLE_MARK = re.compile(
    r"\n[ \t:*#;\x00\x06\x07]*(?:\{\||\|\})|\n=[^\n]+=[ \t]*(?=\n|\Z)|<(/?)table\b[^<>]*>", re.IGNORECASE
)
_BEFORE_MARK = "\n \t:*#;\x00\x06\x07"


def resolve_tables(text: str, table: Callable[[str], str]) -> str:
    """Replace each outermost table by what ``table`` makes of its source; one that never closes ends at a heading."""
    if "{|" not in text and "<table" not in text and "<TABLE" not in text:
        return text
    text = "\n" + text
    out: list[str] = []
    done = depth = begin = 0
    for match in _TABLE_MARK.finditer(text):
        mark = match[0].lstrip(_BEFORE_MARK)
        if mark[0] == "{" or (mark[0] == "<" and not match[1]):
            if not depth:
                begin = match.start()
            depth += 1
        elif mark[0] == "=":
            if depth:  # a heading: the table was never closed
                out.append(text[done:begin])
                done, depth = match.start(), 0
        elif depth:
            depth -= 1
            if not depth:
                out += (text[done:begin], "\n", HOLE, table(text[begin : match.end()]))
                done = match.end()
    out.append(text[done : begin if depth else len(text)])
    return "".join(out)


def table_rows(source: str) -> str:
    """A table as lines, one a row, its cells parted by `` | ``; tables inside it are left out.

    A cell that spans several rows stands in each of them.
    """
    rows: list[list[_Cell]] = [[]]
    depth = 0
    for line in source.split("\n"):
        line = line.strip(" \t\x00\x06\x07")
        if line.lstrip(":*#;").startswith("{|"):
            depth += 1
        elif line.startswith("|}"):
            depth -= 1
        elif depth != 1:
            continue
        elif line.startswith("|-"):
            rows.append([])
        elif line.startswith("|+"):
            rows += [[_cell(line[2:])], []]
        elif line[:1] in ("|", "!"):
            cells = line[1:].replace("!!", "||") if line[0] == "!" else line[1:]
            rows[-1] += [_cell(cell) for cell in cells.split("||")]
        elif rows[-1] and line:
            rows[-1][-1].text += " " + line
    lines = (" | ".join(filter(None, row)) for row in _spread(rows, len(source)))
    return "\n" + "\n".join(line for line in lines if line) + "\n"


class _Cell:
    __slots__ = ("columns", "rows", "text")

    def __init__(self, text: str, rows: int, columns: int):
        self.text, self.rows, self.columns = text, rows, columns


def _spread(rows: list[list[_Cell]], budget: int) -> Iterator[list[str]]:
    """The texts of each row, with those of the cells that reach into it from above, up to ``budget`` characters."""
    reaching: dict[int, _Cell] = {}  # by column, ascending; `rows` counts those still to come
    for row in rows:
        if not row:
            continue
        texts: list[str] = []
        column = 0
        above, reaching = (reaching if budget > 0 else {}), {}
        cells = iter(row)
        while True:
            if cell := above.pop(column, None):
                budget -= len(cell.text) + 3
            elif (cell := next(cells, None)) is None:
                if not above:
                    break
                column = next(iter(above))  # the columns before it are empty here
                continue
            texts.append(cell.text)
            cell.rows -= 1
            if cell.rows > 0:
                reaching[column] = cell
            column += cell.columns
        yield texts


_ONLY_ATTRIBUTES = re.compile(
    r"(?:\s*(?:colspan|rowspan|style|class|id|v?align|bgcolor|width|height|scope|nowrap|data-sort-value)"
    r"\s*=\s*(?:\"[^\"]*\"|'[^']*'|[\w#%.]+))+[\s\x00\x06\x07]*",
    re.IGNORECASE,
)


_NO_CELL_TEXT = re.compile(r"[\x00\x06\x07]|<br\s*/?>", re.IGNORECASE)
_SPAN = re.compile(r"\b(row|col)span\s*=\s*[\"']?\s*(\d{1,3})", re.IGNORECASE)


def _cell(source: str) -> _Cell:
    """A cell, without the attributes that may stand before a bar of its own."""
    attributes, bar, text = source.partition("|")
    spans: dict[str, int] = {}
    if bar and ("=" in attributes or not attributes.strip()) and "[" not in attributes:
        source = text
        if "span" in attributes:
            spans = {name.lower(): max(int(number), 1) for name, number in _SPAN.findall(attributes)}
    elif not bar and len(source) < 200 and _ONLY_ATTRIBUTES.fullmatch(source):  # a template held the rest of the cell
        source = ""
    text = " ".join(_NO_CELL_TEXT.sub(" ", source).split())
    return _Cell(text, spans.get("row", 1), spans.get("col", 1))


# ---------------------------------------------------------------------------------------------------------------------
# Quotes

_QUOTES = re.compile(r"('{2,})")


def strip_quotes(line: str) -> str:
    """A line without its marks of bold and italics, keeping the apostrophes among them.

    Three apostrophes are bold, unless a line's marks only pair up when one of them is an apostrophe before italics, as
    in ``l'''Odyssée''``: then it is the first after a one-letter word, else after a longer word, else after a space
    (the rule of MediaWiki's ``doQuotes``).
    """
    if "'''" not in line:
        return line.replace("''", "")
    parts = _QUOTES.split(line)
    bold = italic = 0
    for at in range(1, len(parts), 2):
        size = len(parts[at])
        kept = size - 5 if size > 5 else 1 if size == 4 else 0
        parts[at - 1] += "'" * kept
        size -= kept
        bold += size != 2
        italic += size != 3
        parts[at] = "'" * size
    if bold % 2 and italic % 2:
        candidates: list[tuple[int, int]] = []
        for at in range(1, len(parts), 2):
            if len(parts[at]) == 3:
                before = (
                    "".join(parts[max(0, at - 1) : at]) if at == 1 or len(parts[at - 1]) > 1 else "  " + parts[at - 1]
                )
                kind = 2 if before[-1:] in ("", " ") else 0 if before[-2:-1] in ("", " ") else 1
                candidates.append((kind, at))
        if candidates:
            parts[min(candidates)[1] - 1] += "'"
    return "".join(parts[::2])


# ---------------------------------------------------------------------------------------------------------------------
# Holes

_SPACE = " \t"
_OPENING, _CLOSING = "(（[【", ")）]】"
_SEPARATORS = ",;:、，；：/·•–—-"
_NO_SPACE_BEFORE = ",;:.!?、，；：。！？"
_SEGMENT = re.compile(r"([;,；，、])")


def mend(line: str) -> str:
    """A line without its holes and without the punctuation that they leave: brackets, doubled commas, spaces."""
    if HOLE in line:
        line = _mend_brackets(line, HOLE)
    line = line.replace(NOTE, HOLE)
    if HOLE not in line:
        return line.strip()
    first, *pieces = line.split(HOLE)
    out = [first.rstrip()] if first.strip() else []
    spaced = first[-1:] in (" ", "\t")
    for piece in pieces:
        right = piece.lstrip(_SPACE)
        spaced = spaced or len(right) < len(piece)
        if not right.strip():  # nothing, or spaces of another kind
            spaced = spaced or bool(right)
            continue
        if not out:
            right = right.lstrip(_SPACE + ",;、，；")
            if not right.strip():
                continue
            out.append(right.rstrip())
        elif out[-1][-1] in _OPENING:
            _close(out, right.lstrip(_SPACE + _SEPARATORS))
        elif right[0] in _CLOSING:
            out[-1] = out[-1].rstrip(_SPACE + _SEPARATORS) or out[-1]
            _close(out, right)
        elif right[0] in _NO_SPACE_BEFORE:
            if right.rstrip() in ",;、，；":  # what parted two things that are gone
                spaced = True
                continue
            if out[-1][-1] in ",;:、，；：":
                out[-1:] = filter(None, (out[-1][:-1],))
            keeps_space = right[0] in ";:!?" and len(right) < len(piece)  # as French and others write
            out.append((" " if keeps_space else "") + right.rstrip())
        else:
            out.append((" " if spaced else "") + right.rstrip())
        spaced = right[-1] in _SPACE
    return "".join(out).strip()


_SENTENCE_END = re.compile(r"(?:(?<=\w{3})|(?<=[)\]”»\x00\x06\x07]))[.!?…][\"'”»)\]]*[\x00\x06\x07]*\s+|(?<=[。！？])")
_LOST_WORD = re.compile(r"\w[ \u00a0]\x06[ \u00a0]*(?:(?=\w)|(?<=\x06)[.,;:!?%])|[$€£¥₹]\x06")


def drop_lost_sentences(line: str) -> str:
    """A line without the sentences that lost a word in their middle: "It had {{population}} inhabitants."

    A mark at the edge of a line or a sentence, after punctuation, or right behind a word is a note on the text, and its
    sentence stays. What is lost in brackets takes only its part of the brackets along.
    """
    line = _mend_brackets(line, LOST)
    if not _LOST_WORD.search(line):
        return line
    edges = [0, *(match.end() for match in _SENTENCE_END.finditer(line)), len(line)]
    sentences = [line[a:b] for a, b in pairwise(edges)]
    return "".join(sentence for sentence in sentences if not _LOST_WORD.search(sentence))


def _close(out: list[str], right: str) -> None:
    """Add what follows a hole after an opening bracket or before a closing one; brackets left empty go."""
    while right[:1] and right[0] in _CLOSING and out and out[-1][-1:] and out[-1][-1] in _OPENING:
        out[-1] = out[-1][:-1].rstrip(_SPACE)
        right = right[1:]
        if not out[-1]:
            out.pop()
    if right.strip():
        out.append(right.rstrip())


def _mend_brackets(line: str, mark: str) -> str:
    """Inside round brackets, drop every part between commas or semicolons that lost what it was about."""
    parts = _ROUND.split(line)
    if not 1 < len(parts) < _MANY_BRACKETS:
        return line
    stack: list[list[str]] = [[]]
    for part in parts:
        if part and part in "(（":
            stack.append([part])
        elif part and part in ")）" and len(stack) > 1:
            content = "".join(stack.pop())
            if mark in content:
                content = _without(content, mark)
            if content:
                stack[-1] += (content, part)
            elif stack[-1]:
                stack[-1][-1] = stack[-1][-1].rstrip(_SPACE)
        else:
            stack[-1].append(part)
    return "".join("".join(parts) for parts in stack)


_ROUND = re.compile("([()（）])")
_MANY_BRACKETS = 1000


def _without(content: str, mark: str) -> str:
    """An opening bracket and those parts of its content that have no mark; "" where nothing is left.

    A mark right after a word is a note on the word, and the word stays.
    """
    parts = _SEGMENT.split(content[1:])
    kept = ""
    for at in range(0, len(parts), 2):
        before, *after = parts[at].split(mark)
        if after and not all(piece[-1:].isalnum() for piece in (before, *after[:-1])):
            continue
        part = "".join((before, *after))
        if part.strip():
            kept += (parts[at - 1] + part) if kept else part.lstrip()
    return content[0] + kept.rstrip() if kept else ""


# ---------------------------------------------------------------------------------------------------------------------
# Lines


def render_lines(text: str, dropped: frozenset[str]) -> str:
    """The last pass: paragraphs, headings and list items as lines, blank lines between blocks.

    A heading goes where nothing is left under it. Sections whose heading is in ``dropped`` (lower case) go whole.
    """
    out: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings whose text has not come yet
    skipping = 0  # the level of a section that is being dropped
    numbers: list[int] = []
    after_row = False
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            if out and out[-1]:
                out.append("")
            after_row = False
            continue
        first = line[0]
        if first == "=" and (heading := _heading(line)):
            level, title = heading
            if skipping and level > skipping:
                continue
            skipping = 0
            while waiting and waiting[-1][0] >= level:
                waiting.pop()
            title = _text(title)
            if title.lower() in dropped:
                skipping = level
            else:
                waiting.append((level, title))
            continue
        if skipping:
            continue
        if first == "|" or (first == "!" and after_row):  # a row of a table that is not there
            after_row = True
            continue
        prefix = ""
        if first in "*#:;":
            body = line.lstrip("*#:;")
            prefix = _list_prefix(line[: len(line) - len(body)], numbers)
            line = body.lstrip()
        else:
            if numbers:
                numbers.clear()
            if first == "-" and line.startswith("----"):
                line = line.lstrip("-").lstrip()
        line = _text(line)
        if not line:
            continue
        if waiting:
            for _, title in waiting:
                if title:
                    if out and out[-1]:
                        out.append("")
                    out.append(title)
            waiting.clear()
        out.append(prefix + line if prefix else line)
    return "\n".join(out)


def _text(line: str) -> str:
    if "''" in line:
        line = strip_quotes(line)
    if LOST in line:
        line = drop_lost_sentences(line).replace(LOST, HOLE)
    if HOLE in line or NOTE in line:
        line = mend(line)
    if BREAK in line:
        line = "\n".join(part for piece in line.split(BREAK) if (part := piece.strip()))
    return line


def _heading(line: str) -> tuple[int, str] | None:
    """Level and title of ``== title ==``, or None."""
    title = line.rstrip("=")
    level = min(len(line) - len(title), len(line) - len(line.lstrip("=")), 6)
    title = line[level : len(line) - level].strip()
    return (level, title) if level and title else None


def _list_prefix(marks: str, numbers: list[int]) -> str:
    """What stands before a list item: a dash, a running number, or nothing for indents and definitions."""
    depth = len(marks)
    if marks[-1] != "#":
        del numbers[depth:]
        return "- " if marks[-1] == "*" else ""
    del numbers[depth:]
    numbers += [0] * (depth - len(numbers))
    numbers[-1] += 1
    return f"{numbers[-1]}. "
