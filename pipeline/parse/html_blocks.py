"""A web page as a list of text blocks, in the order of its source, and the elements that hold them."""

from __future__ import annotations

import html as entities
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np

from pipeline.parse import html_scan
from pipeline.parse.html_scan import (
    BREAK,
    CELL,
    CHOICE,
    CLOSE,
    ITEM,
    LINK,
    OPEN,
    PICTURE,
    RAW,
    ROW,
    RULE,
    STRESS,
    TERM,
    UNLINK,
    UNSTRESS,
)

_TITLE = re.compile(r"<title\b[^>]*>([^<]{0,2000})", re.I)
_BODY = re.compile(r'"articleBody"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.S)
_TYPE = re.compile(r'"@type"\s*:\s*\[?\s*"([A-Za-z]{1,40})"')
_CONTENT = re.compile(r"content\s*=\s*[\"']([a-z]{1,20})")
_ANY_TAG = re.compile(r"<[^>]{0,2000}>")

# What the names that authors give to elements tell about them: one bit each.
ZONES = {
    "nav": "nav navigation navbar menu menus submenu breadcrumb breadcrumbs crumbs pagination pager paging toc "
    "tabs tab tabbar skip sitemap mainmenu topmenu navi navlinks",
    "footer": "footer foot copyright bottom legal colophon disclaimer footnav siteinfo",
    "header": "header masthead banner topbar branding brand logo head headerbar top",
    "side": "sidebar aside widget widgets rail rightcol leftcol sidecol secondary right left complementary column rhs",
    "comment": "comment comments disqus reply replies respond discussion commentlist feedback livefyre commenter",
    "related": "related recommend recommended recommendation recommendations popular trending latest teaser teasers "
    "outbrain taboola readmore readnext seealso similar suggested morestories archive archives recirc "
    "recirculation next previous prev more mostread mostpopular headlines carousel slider promoted "
    "zergnet upnext",
    "share": "share sharing social facebook twitter follow pinterest linkedin whatsapp sharebar addthis sharedaddy "
    "socials like email print tools toolbar",
    "ad": "ad ads advert advertisement advertising sponsor sponsored promo promotion newsletter subscribe "
    "subscription signup paywall donate donation dfp adsense cta marketing banner offer",
    "consent": "cookie cookies consent gdpr privacy onetrust ccpa notice",
    "meta": "byline author authors date time meta tags tag category categories dateline published timestamp "
    "posted contributor bio topics topic keywords labels info details vcard profile source credits",
    "caption": "caption captions figure figcaption gallery photo photos image images credit video player media "
    "thumbnail thumb slideshow picture wp embed infobox",
    "hidden": "hidden hide screen reader visually invisible offscreen sronly tooltip",
    "form": "form login modal popup overlay search dialog register signin account cart checkout button buttons "
    "btn dropdown lightbox user",
    "list": "list grid items cards card results feed listing tile tiles archive category collection catalog",
    "forum": "post posts message messages thread threads topic answer answers question questions forum qa postbody",
    "product": "product description specs specifications features price pricing review reviews summary overview",
    "content": "article story entry content contents body text main page blog news copy single prose markdown "
    "wysiwyg editor maintext wrapper docs documentation doc paragraph lead intro standfirst section",
    "body": "articlebody entrycontent postcontent storybody articletext bodytext maincontent postbody richtext "
    "articlecontent contentbody storytext newstext postentry storycontent newscontent textbody",
}
# Further words in four groups, for text and against it, that benchmarks/extraction_names.py has learned.
ZONES |= json.loads(resources.files("pipeline.parse").joinpath("data/html_names.json").read_text("utf-8"))
_BIT = {name: 1 << k for k, name in enumerate(ZONES)}
_WORDS: dict[str, int] = {}
for _name, _words in ZONES.items():
    for _word in _words.split():
        _WORDS[_word] = _WORDS.get(_word, 0) | _BIT[_name]
# Pairs of name parts that say "this is the text itself".
_PAIRS = {
    (a, b)
    for a in ("article", "entry", "post", "story", "main", "content", "news", "body", "blog", "rich", "text", "page")
    for b in ("body", "content", "text", "copy", "inner", "html", "paragraph")
    if a != b
} - {("page", "content"), ("page", "body"), ("page", "inner"), ("main", "inner"), ("content", "inner")}

TAG_ZONES = {
    "nav": _BIT["nav"],
    "footer": _BIT["footer"],
    "header": _BIT["header"],
    "aside": _BIT["side"],
    "form": _BIT["form"],
    "figure": _BIT["caption"],
    "figcaption": _BIT["caption"],
    "button": _BIT["form"],
    "dialog": _BIT["form"],
    "menu": _BIT["nav"],
    "label": _BIT["form"],
}
N_ZONES = len(ZONES)
ZONE_BODY = _BIT["body"]
ZONE_COMMENT = _BIT["comment"]
IN_ARTICLE = 1 << N_ZONES
IN_MAIN = 1 << N_ZONES + 1
IN_TABLE = 1 << N_ZONES + 2
IN_LIST = 1 << N_ZONES + 3
IN_QUOTE = 1 << N_ZONES + 4
IN_PRE = 1 << N_ZONES + 5
IN_DEFINITION = 1 << N_ZONES + 6
SKIP = 1 << N_ZONES + 7  # text that is no text: select, svg, template
N_BITS = N_ZONES + 7
_TAG_BITS = {
    "article": IN_ARTICLE,
    "main": IN_MAIN,
    "table": IN_TABLE,
    "ul": IN_LIST,
    "ol": IN_LIST,
    "blockquote": IN_QUOTE,
    "pre": IN_PRE,
    "dl": IN_DEFINITION,
    "select": SKIP,
    "svg": SKIP,
    "template": SKIP,
    "object": SKIP,
    "datalist": SKIP,
    "head": SKIP,
    **TAG_ZONES,
}

TAGS = ["", "p", "div", "li", "td", "h1", "h2", "h3", "h4", "blockquote", "pre", "dd", "dt", "section", "figcaption"]
FIGCAPTION = TAGS.index("figcaption")
_TAG_CODE = {name: k for k, name in enumerate(TAGS)} | {"th": 4, "h5": 8, "h6": 8, "article": 13, "main": 13}
_BLOCK_NAMES = (
    "address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hgroup html label legend li main menu "
    "nav ol p pre section select svg summary table tbody td template tfoot th thead title tr ul object "
    "datalist option optgroup "
)
# Elements that a new one of the same family ends, and (negative) the elements within which they look for it.
_FAMILIES = (
    {"li": ITEM, "dd": TERM, "dt": TERM, "tr": ROW, "td": CELL, "th": CELL, "option": CHOICE}
    | dict.fromkeys(("ul", "ol", "menu", "dir"), -ITEM)
    | {"dl": -TERM, "table": -ROW, "select": -CHOICE, "datalist": -CHOICE}
)
_RAW = ("script", "style", "noscript", "iframe", "textarea")  # what stands in them is no tag


def _tags() -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """The scanner's table of tags: slots of keys, a row for each slot, and the numbers of the elements' names."""
    names = {name: k for k, name in enumerate(_BLOCK_NAMES.split(), 1)}
    rows = [(0, 0, 0, 0, 0)]
    entries: dict[int, int] = {}
    for name, number in names.items():
        row = (_TAG_BITS.get(name, 0), _TAG_CODE.get(name, 0), _FAMILIES.get(name, 0), number)
        rows += [(OPEN, *row), (CLOSE, *row)]
        entries |= {html_scan.fnv(name): len(rows) - 2, html_scan.fnv("/" + name): len(rows) - 1}
    others = {"a": LINK, "/a": UNLINK, "br": BREAK, "/br": BREAK, "hr": RULE, **dict.fromkeys(_RAW, RAW)}
    for name in ("b", "strong", "i", "em"):
        others |= {name: STRESS, "/" + name: UNSTRESS}
    others |= dict.fromkeys(("img", "amp-img", "video", "audio"), PICTURE)
    for name, kind in others.items():
        rows.append((kind, 0, 0, html_scan.NO_SCRIPT if name == "noscript" else 0, 0))
        entries[html_scan.fnv(name)] = len(rows) - 1
    keys, places = html_scan.table(entries)
    return keys, np.array(rows, np.int64)[places], names


_TAG_KEYS, _TAG_ROWS, _NUMBERS = _tags()
_NAMES = (
    *html_scan.table({html_scan.fnv(word): bits for word, bits in _WORDS.items()}),
    *html_scan.table({html_scan.pair(a, b): _BIT["body"] for a, b in sorted(_PAIRS)}),
    *html_scan.table(
        {html_scan.fnv(name): 1 for name in ("class", "id", "role", "itemprop")}
        | {html_scan.fnv("hidden"): 2, html_scan.fnv("aria-hidden"): 3, html_scan.fnv("style"): 4}
    ),
)
_MASKS = np.array(
    [
        SKIP,
        IN_PRE,
        _BIT["hidden"],
        *(_NUMBERS[name] for name in ("p", "table", "tr", "html", "body", "head", "title", "template")),
    ],
    np.int64,
)


@dataclass(slots=True)
class Page:
    """The blocks of a page as columns, and the elements that hold them.

    ``text[i]`` is the block's text (one line, or the lines of a ``pre``); ``link[i]`` its characters inside links, of
    ``links[i]`` links; ``node[i]`` the element it stands in; ``tag[i]`` that element's code in `TAGS`; ``row[i]`` the
    table row's element or -1; ``stress[i]`` the per cent of it in bold or italics; ``pictures[i]`` how many stand
    between it and the block before. Elements: ``parent`` (-1 for the root), ``bits`` (zones of the element and all
    around it), ``own`` (zones of the element alone), ``sign`` (a number for the tag and zones of the element and of
    the one around it: equal for elements of one kind).
    """

    text: list[str]
    link: np.ndarray
    links: np.ndarray
    node: np.ndarray
    tag: np.ndarray
    row: np.ndarray
    stress: np.ndarray
    pictures: np.ndarray
    parent: np.ndarray
    bits: np.ndarray
    own: np.ndarray
    sign: np.ndarray
    title: str = ""
    claims: tuple[bool, ...] = ()  # what the page says it is, see `claims`
    declared: str = ""  # the article's body as the page's own metadata (JSON-LD) has it


def _scan(html: str, scripted: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    data = np.frombuffer(bytearray(html.encode("utf-8", "surrogatepass")), np.uint8)
    return html_scan.scan(data, scripted, _TAG_KEYS, _TAG_ROWS, _MASKS, *_NAMES)


def nesting(html: str) -> int:
    """How deep the block elements of a page nest, at most: those that are never closed count as open."""
    return _scan(html)[3]


_FEW = 200  # characters of text below which a page's words to browsers without scripts are read


def _places(html: str, key: str) -> Iterator[int]:
    """Where ``key`` stands, at most the first hundred places."""
    place = html.find(key)
    for _ in range(100):
        if place < 0:
            return
        yield place
        place = html.find(key, place + len(key))


def claims(html: str) -> tuple[bool, ...]:
    """What kind of page it says it is: (Open Graph article, Open Graph other, article, product, question, list)."""
    graph = ""
    place = html.find("og:type")
    if place >= 0:
        tag = html[html.rfind("<", max(place - 200, 0), place) + 1 : place + 200].partition(">")[0]
        found = _CONTENT.search(tag)
        graph = found[1] if found else ""
    types = {match[1] for place in _places(html, '"@type"') if (match := _TYPE.match(html, place))}
    return (
        graph == "article",
        graph not in ("", "article"),
        not types.isdisjoint(("Article", "NewsArticle", "BlogPosting", "TechArticle", "ReportageNewsArticle")),
        not types.isdisjoint(("Product", "Offer", "Service", "SoftwareApplication")),
        not types.isdisjoint(("DiscussionForumPosting", "QAPage", "Question", "FAQPage")),
        not types.isdisjoint(("ItemList", "CollectionPage", "WebSite")),
    )


def declared_body(html: str) -> str:
    """The longest ``articleBody`` of the page's JSON-LD as plain text, ``""`` where there is none."""
    found = (match[1] for place in _places(html, '"articleBody"') if (match := _BODY.match(html, place)))
    longest = max(found, key=len, default="")
    try:
        text = json.loads(f'"{longest}"', strict=False)
    except ValueError:
        return ""
    text = entities.unescape(entities.unescape(text))
    return _ANY_TAG.sub("\n", text) if "<" in text else text


def from_lines(text: str) -> Page:
    """The lines of a text that has lost its markup (a WET record), as blocks of a page."""
    texts = [line for line in map(str.strip, text.split("\n")) if line]
    nought = np.zeros(len(texts), np.int64)
    root = np.zeros(1, np.int64)
    columns = (nought, nought, nought, nought, nought - 1, nought, nought)
    return Page(texts, *columns, root - 1, root, root, root, claims=claims(""))


def blocks(html: str) -> Page:
    """The text blocks of a page in the order of its source. Linear in the page's length; never raises."""
    page = _page(*_scan(html)[:3])
    if "<noscript" in html and sum(map(len, page.text)) < _FEW:
        page = _page(*_scan(html, scripted=False)[:3])  # drawn by its scripts, but with a word to those without
    match = _TITLE.search(html[:200_000])
    if match:
        page.title = " ".join(entities.unescape(match[1]).split())
    page.claims = claims(html)
    if '"articleBody"' in html:
        page.declared = declared_body(html)
    return page


def _page(data: np.ndarray, columns: np.ndarray, elements: np.ndarray) -> Page:
    text = data.tobytes().decode("utf-8", "surrogatepass")
    if "&" in text:
        text = entities.unescape(text)
    texts = text.split(chr(html_scan.MARK))[:-1]
    if any(map(str.isspace, texts)) or "" in texts:  # of invisible characters, written as entities
        kept = [k for k, text in enumerate(texts) if text and not text.isspace()]
        texts, columns = [texts[k] for k in kept], columns[kept]
    link, links, node, tag, row, stress, pictures = (np.ascontiguousarray(columns[:, k]) for k in range(7))
    link = np.minimum(link, [len(text) for text in texts]) if texts else link  # counted before entities were resolved
    parent, bits, own, sign = (np.ascontiguousarray(elements[:, k]) for k in range(4))
    return Page(texts, link, links, node, tag, row, stress, pictures, parent, bits, own, sign)
