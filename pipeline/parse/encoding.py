"""Bytes of a page to text, in the order that browsers decide: BOM, HTTP header, meta tag, detection.

A label is a claim. Where the bytes contradict it (they are not valid in the declared encoding, or they are valid
multi-byte UTF-8 declared as a one-byte encoding) the bytes win. Source of the order: WHATWG HTML, "determining the
character encoding"; of the labels: WHATWG Encoding.
"""

from __future__ import annotations

import codecs
import re

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_PRESCAN = 1024  # bytes a browser looks through for a meta tag
_META = re.compile(rb"<meta\b[^>]{0,512}?charset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.I)
_XML = re.compile(rb"\s*<\?xml\b[^>]{0,256}?\bencoding\s*=\s*[\"']([^\"'>]+)", re.I)
_COMMENT = re.compile(rb"<!--.*?-->", re.S)
# Python's codec where WHATWG means a superset of the named one.
_SUPERSETS = {
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
    "iso8859-9": "cp1254",
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
}
_EXTRA = {
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-ukrainian": "mac_cyrillic",
    "macintosh": "mac_roman",
    "x-x-big5": "big5hkscs",
}
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")
_CONTROL_BYTES = bytes(c for c in (*range(0x20), 0x7F) if c not in b"\t\n\f\r\x1b")  # ESC shifts in ISO-2022
_TWO_WIDE = re.compile(rb"[\xc2-\xf4][\x80-\xbf][^\xc2-\xf4]*[\xc2-\xf4][\x80-\xbf]")  # two multi-byte characters


def codec(label: str) -> str:
    """The Python codec that decodes what a web label names, ``""`` for a label that means nothing."""
    label = label.strip().lower()
    if not label or len(label) > 40:
        return ""
    if label in _EXTRA:
        return _EXTRA[label]
    from resiliparse.parse.encoding import map_encoding_to_html5

    name = map_encoding_to_html5(label, fallback_utf8=False)
    if not name:
        return ""
    name = _SUPERSETS.get(name, name)
    try:
        codecs.lookup(name)
    except LookupError:
        return ""
    return name


def _meta(data: bytes) -> str:
    head = data[: 4 * _PRESCAN]
    xml = _XML.match(head)
    if xml and (name := codec(xml[1].decode("latin-1"))):
        return name
    if b"<!--" in head:
        head = _COMMENT.sub(b"", head)
    for match in _META.finditer(head):
        name = codec(match[1].decode("latin-1"))
        if name:
            # A tag that could be read as ASCII is not in UTF-16, whatever it says.
            return "utf-8" if name.startswith("utf-16") else name
    return ""


def _detect(data: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    return codec(detect_encoding(data, max_len=1 << 16) or "") or "cp1252"


def _valid_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as fault:  # a page cut in the middle of its last character is still UTF-8
        return fault.start >= len(data) - 4 and fault.reason == "unexpected end of data"
    return True


def _replaced(data: bytes, name: str) -> tuple[str, int]:
    try:
        return data.decode(name), 0
    except UnicodeDecodeError:
        text = data.decode(name, "replace")
        already = data.count(b"\xef\xbf\xbd") if name == "utf-8" else 0
        return text, max(text.count("\ufffd") - already, 1)


def decode(data: bytes, declared: str | None = None) -> tuple[str, str, int]:
    """Decode a page: ``(text, encoding, n_repaired)``.

    ``declared`` is the transport's label (HTTP charset). ``n_repaired`` counts invalid sequences that became U+FFFD,
    and NUL, other control characters and lone surrogates that were removed. Never raises for any bytes or label.
    """
    name = ""
    for mark, marked in _BOMS:
        if data.startswith(mark):
            data, name = data[len(mark) :], marked
            break
    else:
        name = codec(declared or "") or _meta(data)
    removed = 0
    wide_units = name.startswith("utf-16")
    if not wide_units:
        kept = data.translate(None, _CONTROL_BYTES)
        data, removed = kept, len(data) - len(kept)
    if data.isascii() and not name.startswith(("utf-16", "iso2022")):
        return data.decode("ascii"), name or "utf-8", removed
    wide = name == "utf-8" or name.startswith("utf-16")
    if not wide and _valid_utf8(data) and _TWO_WIDE.search(data):
        name = "utf-8"
    name = name or _detect(data)
    text, repaired = _replaced(data, name)
    if repaired * 100 > len(data) // 10 or (repaired > 8 and name != "utf-8"):
        # Wrong beyond accident: what the bytes look like, if that fits better.
        other = _detect(data)
        if other != name:
            second, second_repaired = _replaced(data, other)
            if second_repaired * 4 < repaired:
                text, name, repaired = second, other, second_repaired
    if wide_units:
        text, removed = _CONTROLS.subn("", text)
    return text, name, repaired + removed
