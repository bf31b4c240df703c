"""The nesting part of wikitext: comments, extension tags, templates, arguments, links, language variants.

This follows the order and the rules of MediaWiki's own preprocessor rather than a general grammar: comments and
extension tags are found from left to right and are opaque, then braces and brackets are matched with one stack, and
what does not close is plain text. Each step is one pass over the text, with every search remembered, so time is linear
in the page whatever it holds.

A few private characters travel in the text between the passes; none of them can come from XML 1.0:
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html.entities import html5

HOLE = "\x00"  # something was removed here: punctuation around it may have to go too
SAVED_OPEN, SAVED_CLOSE = "\x01", "\x02"  # around the number of a saved text that later passes must not read
PIPE, EQUALS = "\x03", "\x04"  # "|" and "=" that came out of an inner template or link: they separate no arguments
LOST = "\x06"  # a template of unknown text was removed here: a sentence cannot do without it
NOTE = "\x07"  # a footnote was removed here: only the space around it may have to go
BREAK = "\x05"  # a line break inside a paragraph, which begins no list and no heading

_CONTROLS = bytes({*range(0x20)} - {0x09, 0x0A, 0x0D})
_MAX_DEPTH = 100  # MediaWiki's own limit is 100 levels of templates
_MAX_GROWTH = 100_000  # characters an expansion may have beyond its own source

# What becomes of the content of an extension tag: dropped, saved as it is (nowiki), or read on as wikitext.
_DROPPED = frozenset(
    {
        "ask", "categorytree", "charinsert", "chart", "dynamicpagelist", "gallery", "graph", "hiero",
        "imagemap", "includeonly", "indicator", "inputbox", "languages", "mapframe", "maplink", "musical",
        "phonos", "ref", "references", "rss", "score", "script", "section", "style", "templatedata",
        "templatestyles", "timeline", "tvar",
    }
)  # fmt: skip
_SAVED = frozenset({"ce", "chem", "math", "nowiki", "pre", "source", "syntaxhighlight"})
_EXTENSION = re.compile(
    rf"<(?:!--|({'|'.join(sorted(_DROPPED | _SAVED, key=len, reverse=True))})(?=[\s/>]))", re.IGNORECASE
)


_ENTITY = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{2,31}));")


def decode_entities(text: str) -> str:
    """Character references as characters; names that HTML does not have stay, numbers of no character go."""
    return _ENTITY.sub(_entity, text) if "&" in text else text


def _entity(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return html5.get(name + ";", match[0])
    code = int(decimal) if decimal else int(hexadecimal, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (code < 0x20 and code not in (9, 10)):
        return ""
    return chr(code)


def without_private(text: str) -> str:
    """A text without the characters that are private here or that UTF-8 cannot hold, and with plain line ends."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates
        data = text.encode("utf-8", "ignore")
        text = data.decode("utf-8")
    kept = data.translate(None, _CONTROLS)
    if len(kept) != len(data):
        text = kept.decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


class Saved(list[str]):
    """Texts set aside, and their way back."""

    def put(self, text: str) -> str:
        """Set a text aside; what stands for it until ``restore``."""
        self.append(text)
        return f"{SAVED_OPEN}{len(self) - 1}{SAVED_CLOSE}"

    def restore(self, text: str) -> str:
        """Put every saved text back in its place."""
        if not self:
            return text
        return re.sub(f"{SAVED_OPEN}(\\d+){SAVED_CLOSE}", lambda match: self[int(match[1])], text)


def take_extensions(text: str, saved: Saved, keep_math: bool) -> str:
    """Remove comments and extension tags; set aside what is to be read as it stands."""
    match = _EXTENSION.search(text)
    if not match:
        return text
    out: list[str] = []
    done = 0  # up to where the text is in `out`
    gt = -1  # the next ">"
    closers: dict[str, tuple[int, int]] = {}  # tag -> begin and end of its next closing tag
    end = len(text)
    while match:
        begin, name = match.start(), match[1]
        if name is None:
            stop = text.find("-->", begin + 4)
            stop = stop + 3 if stop >= 0 else end
            before, after = begin, stop
            # A comment alone on its line takes the line with it.
            while before > done and text[before - 1] in " \t":
                before -= 1
            while after < end and text[after] in " \t":
                after += 1
            if (before == 0 or text[before - 1] == "\n") and after < end and text[after] == "\n":
                begin, stop = max(before, done), after + 1
            out.append(text[done:begin])
            done = stop
        else:
            if gt < begin:
                gt = text.find(">", begin)
                gt = gt if gt >= 0 else end
            if gt == end:
                break  # no tag ends any more: what is left has no extension tags, and comments only below
            name = name.lower()
            out.append(text[done:begin])
            if text[gt - 1] == "/":
                out.append(NOTE if name == "ref" else "")
                done = gt + 1
            else:
                close = closers.get(name)
                if close is None or close[0] < gt:
                    close = closers[name] = _closing_tag(text, name, gt, end)
                if close[0] == end:  # never closed: the tag alone goes
                    done = gt + 1
                else:
                    if name in _SAVED:
                        out.append(_keep(text[gt + 1 : close[0]], name, saved, keep_math, text[begin : gt + 1]))
                    elif name != "includeonly":
                        out.append(NOTE if name == "ref" else HOLE)
                    done = close[1]
        match = _EXTENSION.search(text, done)
    if match:  # left by the break: comments may still follow
        rest = text[done:]
        while (begin := rest.find("<!--")) >= 0:
            stop = rest.find("-->", begin)
            out.append(rest[:begin])
            rest = rest[stop + 3 :] if stop >= 0 else ""
        out.append(rest)
    else:
        out.append(text[done:])
    return "".join(out)


def _closing_tag(text: str, name: str, at: int, end: int) -> tuple[int, int]:
    """Begin and end of the next ``</name >`` in any case, or twice the text's end."""
    while True:
        begin = text.find("</" + name, at)
        if begin < 0:
            match = _closing_pattern(name).search(text, at)
            return match.span() if match else (end, end)
        match = _closing_pattern(name).match(text, begin)
        if match:
            return match.span()
        at = begin + 2


_closing_patterns: dict[str, re.Pattern[str]] = {}


def _closing_pattern(name: str) -> re.Pattern[str]:
    if name not in _closing_patterns:
        _closing_patterns[name] = re.compile(rf"</{name}\s*>", re.IGNORECASE)
    return _closing_patterns[name]


def _keep(inner: str, name: str, saved: Saved, keep_math: bool, tag: str) -> str:
    if name in ("math", "chem", "ce"):
        inner = " ".join(inner.split())
        return saved.put(f"${inner}$") if keep_math and inner else HOLE
    if name == "nowiki":
        return saved.put(decode_entities(inner)) if inner else ""
    inner = decode_entities(inner) if name == "pre" else inner
    inline = name in ("source", "syntaxhighlight") and "inline" in tag
    return saved.put(inner) if inline else f"\n{saved.put(inner.strip(chr(10)))}\n"


# ---------------------------------------------------------------------------------------------------------------------

_PLAIN_LINK = re.compile(r"\[\[(?:[^\[\]{}|\n:]+\|([^\[\]{}|\n=]+)|([^\[\]{}|\n=:]+))\]\]")
_RUN = re.compile(r"(\{\{+|\}\}+|\[\[+|\]\]+)")


class _Open:
    """A run of opening braces or brackets that waits for its close."""

    __slots__ = ("char", "closed", "count", "parts")

    def __init__(self, char: str, count: int):
        self.char, self.count, self.closed = char, count, 0
        self.parts: list[str] = []


def resolve(
    text: str, template: Callable[[str], str], argument: Callable[[str], str], link: Callable[[str], str]
) -> str:
    """Replace templates, arguments and links from the inside out by what the three functions make of their content."""
    text = "".join(filter(None, _PLAIN_LINK.split(text)))  # most links: text and what the two groups caught, in order
    root = _Open("", 0)
    stack = [root]
    top = root
    braces = 0  # open runs of braces on the stack
    pieces = iter(_RUN.split(text))
    if first := next(pieces):
        top.parts.append(first)
    for run, after in zip(pieces, pieces, strict=True):
        char, count = run[0], len(run)
        if char == "{" or char == "[":
            top = _Open(char, count)
            stack.append(top)
            braces += char == "{"
            top.parts.append(after)
            continue
        opener = "{" if char == "}" else "["
        while count >= 2:
            if top.char != opener:
                if opener == "[" or not braces:
                    break
                while top.char != "{":  # a link that never closes ends with the template around it
                    unclosed = stack.pop()
                    top = stack[-1]
                    top.parts.append(_unclosed(unclosed))
            size = min(count, top.count, 3 if opener == "{" else 2)
            content = "".join(top.parts)
            top.closed += 1
            if len(stack) + top.closed > _MAX_DEPTH:
                result = HOLE
            elif opener == "[":
                result = link(content)
            else:
                result = template(content) if size == 2 else argument(content)
            if len(result) > len(content) + _MAX_GROWTH:
                result = HOLE
            count -= size
            top.count -= size
            left = top.count
            if left >= 2:
                top.parts = [_inner(result)]
                continue
            stack.pop()
            braces -= opener == "{"
            top = stack[-1]
            if left:
                top.parts.append(opener)
            top.parts.append(result if len(stack) == 1 else _inner(result))
        if count:
            top.parts.append("" if count > 1 else char)
        top.parts.append(after)
    if len(stack) == 1:
        out = "".join(root.parts)
    else:
        out = "".join("".join(frame.parts) if frame is root else _unclosed(frame) for frame in stack)
    return out.replace(PIPE, "|").replace(EQUALS, "=")


def _inner(result: str) -> str:
    if "|" in result:
        result = result.replace("|", PIPE)
    return result.replace("=", EQUALS) if "=" in result else result


_FIRST_LINE = re.compile(r"[^\n]*")


def _unclosed(frame: _Open) -> str:
    """The text of what never closed, without its marks; of a template, without the line that names it."""
    content = "".join(frame.parts)
    if frame.char == "{":
        return LOST + content[_FIRST_LINE.match(content).end() :]  # type: ignore[union-attr]
    return content


_VARIANT = re.compile(r"-\{(?!\{[^{])|(?<!\})\}-|(?<=\}\})\}-")
MAX_VARIANT_DEPTH = 10


def resolve_variants(text: str, choose: Callable[[str], str]) -> str:
    """Replace ``-{...}-`` from the inside out by the variant that ``choose`` takes from its content."""
    if "-{" not in text:
        return text
    stack: list[list[str]] = [[]]
    done = 0
    for match in _VARIANT.finditer(text):
        stack[-1].append(text[done : match.start()])
        done = match.end()
        if match[0] == "-{":
            stack.append([])
        elif len(stack) > 1:
            content = "".join(stack.pop())
            stack[-1].append(choose(content) if len(stack) <= MAX_VARIANT_DEPTH else "")
        else:
            stack[-1].append("}-")
    stack[-1].append(text[done:])
    return "-{".join("".join(parts) for parts in stack)
