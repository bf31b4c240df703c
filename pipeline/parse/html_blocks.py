"""A web page as a list of text blocks, in one linear pass over its tags.

Walking a DOM from Python costs some 5 microseconds a node, more than parsing it; scanning the tags with one regular
expression and keeping a stack of the open elements costs a third of that, needs no more than the page's size in memory,
and is indifferent to how deep the page nests. The scanner follows browsers where it matters for text: quoted attribute
values may hold ``>``, script and style end only at their end tag, ``p`` and ``li`` end by themselves.
"""

from __future__ import annotations

import functools
import html as entities
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_DEPTH = 200  # open elements that are kept; deeper ones count as part of the last

# Where raw text begins: what stands in it is no tag.
_RAW = re.compile(
    r"<(!--|[!?]|(?:[sS][cC][rR][iI][pP][tT]|[sS][tT][yY][lL][eE]|[nN][oO][sS][cC][rR][iI][pP][tT]"
    r"|[iI][fF][rR][aA][mM][eE]|[tT][eE][xX][tT][aA][rR][eE][aA])(?=[\s/>]))"
)
# The sentinel closes any quote and tag left open, so that this never has to try twice.
_TAG = re.compile(r"<(/?[a-zA-Z][^\s/>]*)([^>=]*(?:=\s*(?:\"[^\"]*\"|'[^']*'|)[^>=]*)*)>")
_NAME = re.compile(r"<(/?[a-zA-Z][a-zA-Z0-9]*)")
_SENTINEL = "\">'>>"
_TITLE = re.compile(r"<title\b[^>]*>([^<]{0,2000})", re.I)
_BODY = re.compile(r'"articleBody"\s*:\s*"((?:[^"\\]|\\.)*)"', re.S)
_TYPE = re.compile(r'"@type"\s*:\s*\[?\s*"([A-Za-z]{1,40})"')
_CONTENT = re.compile(r"content\s*=\s*[\"']([a-z]{1,20})")
_ANY_TAG = re.compile(r"<[^>]{0,2000}>")
_NAMES = re.compile(r"(?:class|id|role|itemprop)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s>\"']+)", re.I)
_TOKEN = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

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
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_INLINE, _OPEN, _CLOSE, _LINK, _UNLINK, _BREAK, _RULE = range(7)
# What a tag does, and the element's name.
_KINDS = (
    {name: (_OPEN, name) for name in _BLOCKS}
    | {"/" + name: (_CLOSE, name) for name in _BLOCKS}
    | {"a": (_LINK, "a"), "/a": (_UNLINK, "a"), "br": (_BREAK, "br"), "/br": (_BREAK, "br"), "hr": (_RULE, "hr")}
)
# Elements that a new one of the same family ends, and the elements within which they look for it.
_ENDS = {
    "li": ({"li"}, {"ul", "ol", "menu", "dir"}),
    "dd": ({"dd", "dt"}, {"dl"}),
    "dt": ({"dd", "dt"}, {"dl"}),
    "tr": ({"tr"}, {"table"}),
    "td": ({"td", "th"}, {"tr", "table"}),
    "th": ({"td", "th"}, {"tr", "table"}),
    "option": ({"option"}, {"select", "datalist"}),
}


@dataclass(slots=True)
class Page:
    """The blocks of a page as columns, and the elements that hold them.

    ``text[i]`` is the block's text (one line, or the lines of a ``pre``); ``link[i]`` its characters inside links;
    ``node[i]`` the element it stands in; ``tag[i]`` that element's code in `TAGS`; ``row[i]`` the table row's element
    or -1. Elements: ``parent`` (-1 for the root), ``bits`` (zones of the element and all around it), ``own`` (zones of
    the element alone), ``sign`` (a number for the tag and zones of the element and of the one around it: equal for
    elements of one kind).
    """

    text: list[str] = field(default_factory=list)
    link: list[int] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    tag: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    parent: list[int] = field(default_factory=lambda: [-1])
    bits: list[int] = field(default_factory=lambda: [0])
    own: list[int] = field(default_factory=lambda: [0])
    sign: list[int] = field(default_factory=lambda: [0])
    title: str = ""
    claims: tuple[bool, ...] = ()  # what the page says it is, see `claims`
    declared: str = ""  # the article's body as the page's own metadata (JSON-LD) has it


@functools.lru_cache(maxsize=1 << 14)
def _name_zones(names: str) -> int:
    bits = 0
    last = ""
    for token in _TOKEN.findall(names):
        token = token.lower()
        bits |= _WORDS.get(token, 0)
        if (last, token) in _PAIRS:
            bits |= _BIT["body"]
        last = token
    return bits


def zones(attributes: str) -> int:
    """The zone bits that an element's class, id, role and itemprop speak of."""
    bits = 0
    if "=" in attributes:
        start = attributes.find('class="') + 7
        plain = start > 6
        names = attributes[start : attributes.find('"', start)] if plain else ""
        start = attributes.find('id="') + 4
        if start > 3:
            names += " " + attributes[start : attributes.find('"', start)]
        if not plain or "role=" in attributes or "itemprop=" in attributes:
            names = " ".join(_NAMES.findall(attributes))
        bits = _name_zones(names) if len(names) < 400 else 0
    if (
        " hidden" in attributes
        or 'aria-hidden="true"' in attributes
        or ("none" in attributes and re.search(r"display\s*:\s*none", attributes))
    ):
        bits |= _BIT["hidden"]
    return bits


def without_raw(html: str) -> str:
    """The page without comments, declarations, scripts, styles and other raw text.

    An unclosed one reaches to the page's end, as in browsers.
    """
    kept = []
    place = 0
    capitals = "</SCRIPT" in html or "</Script" in html or "</STYLE" in html or "</Style" in html
    match = _RAW.search(html)
    while match:
        kept.append(html[place : match.start()])
        name = match[1]
        if name == "!--":
            place = html.find("-->", match.end())
            place = len(html) if place < 0 else place + 3
        elif name in "!?":
            place = html.find(">", match.end())
            place = len(html) if place < 0 else place + 1
        else:
            end = -1 if capitals else html.find("</" + name.lower(), match.end())
            if end < 0:
                closing = re.compile("</" + name + r"\b", re.I).search(html, match.end())
                end = closing.start() if closing else len(html)
            place = html.find(">", end)
            place = len(html) if place < 0 else place + 1
        match = _RAW.search(html, place)
    kept.append(html[place:])
    return "".join(kept)


def nesting(html: str) -> int:
    """How deep the block elements of a page nest, at most: those that are never closed count as open."""
    depth = deepest = 0
    for name in _NAME.findall(without_raw(html)):
        kind = _KINDS.get(name.lower(), (_INLINE, ""))[0]
        if kind == _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif kind == _CLOSE and depth:
            depth -= 1
    return deepest


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
    n = len(texts)
    return Page(text=texts, link=[0] * n, links=[0] * n, node=[0] * n, tag=[0] * n, row=[-1] * n, claims=claims(""))


def blocks(html: str) -> Page:
    """The text blocks of a page in the order of its source. Linear in the page's length; never raises."""
    page = Page()
    match = _TITLE.search(html[:200_000])
    if match:
        page.title = " ".join(entities.unescape(match[1]).split())
    page.claims = claims(html)
    if '"articleBody"' in html:
        page.declared = declared_body(html)
    parts = _TAG.split(without_raw(html) + _SENTINEL)
    texts, links, link_counts, nodes, tags, rows = page.text, page.link, page.links, page.node, page.tag, page.row
    parents, bits, own, signs = page.parent, page.bits, page.own, page.sign
    stack: list[tuple[str, int]] = [("", 0)]  # open elements: tag, node
    pieces: list[str] = []
    kinds = _KINDS.copy()
    seen: dict[str, int] = {}
    sorts: dict[tuple[str, int], int] = {}
    linked = 0  # characters inside links in the present block
    n_links = 0
    in_link = False
    breaks = 0
    overflow = 0
    row = -1

    def flush() -> None:
        nonlocal linked, n_links
        tag, node = stack[-1]
        inside = bits[node]
        raw = "".join(pieces)
        pieces.clear()
        if raw.isspace():
            return
        if not inside & SKIP:
            if "&" in raw:
                raw = entities.unescape(raw)
            if inside & IN_PRE:
                text = "\n".join(map(str.rstrip, raw.replace("\0", "\n").split("\n"))).strip("\n")
            elif "\0" in raw:  # the line breaks within a block
                text = "\n".join(" ".join(line.split()) for line in raw.split("\0")).strip("\n")
            else:
                text = " ".join(raw.split())
            if text and not text.isspace():
                texts.append(text)
                links.append(min(linked, len(text)))
                link_counts.append(n_links)
                nodes.append(node)
                tags.append(_TAG_CODE.get(tag, 0))
                rows.append(row)
        linked = 0
        n_links = 1 if in_link else 0

    parts[-1] = parts[-1][: -len(_SENTINEL)] if parts[-1].endswith(_SENTINEL) else ""
    if parts[0].strip():
        pieces.append(parts[0])
    for name, attributes, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        known = kinds.get(name)
        if known is None:
            known = kinds[name] = _KINDS.get(name.lower(), (_INLINE, ""))
        kind, name = known
        if kind:
            if kind == _OPEN:
                if pieces:
                    flush()
                if stack[-1][0] == "p":
                    stack.pop()
                if name in _ENDS:
                    family, within = _ENDS[name]
                    for depth in range(len(stack) - 1, 0, -1):
                        tag = stack[depth][0]
                        if tag in family:
                            del stack[depth:]
                            break
                        if tag in within:
                            break
                if len(stack) < MAX_DEPTH:
                    around = stack[-1][1]
                    mine = _TAG_BITS.get(name, 0)
                    if attributes and name != "body" and name != "html":
                        zone = seen.get(attributes)
                        if zone is None:
                            zone = seen[attributes] = zones(attributes)
                        mine |= zone
                    node = len(parents)
                    parents.append(around)
                    bits.append(bits[around] | mine)
                    own.append(mine)
                    sort = sorts.setdefault((name, mine), len(sorts) + 1)
                    signs.append(sort << 20 | signs[around] >> 20)
                    if name == "tr":
                        row = node
                    elif name == "table":
                        row = -1
                    stack.append((name, node))
                else:
                    overflow += 1
            elif kind == _CLOSE:
                if pieces:
                    flush()
                if stack[-1][0] == name and name != "tr" and name != "table":
                    if overflow:
                        overflow -= 1
                    elif len(stack) > 1:
                        stack.pop()
                else:
                    for depth in range(len(stack) - 1, 0, -1):
                        if stack[depth][0] == name:
                            del stack[depth:]
                            if name == "tr" or name == "table":
                                row = -1
                            break
            elif kind == _LINK:
                in_link = True
                n_links += 1
            elif kind == _UNLINK:
                in_link = False
            elif kind == _BREAK:
                breaks += 1
                if pieces:
                    if breaks > 1:
                        flush()
                    else:
                        pieces.append("\0")
            elif pieces:  # a rule
                flush()
        if text:
            if text.isspace():
                if pieces:
                    pieces.append(text)
                continue
            breaks = 0
            pieces.append(text)
            if in_link:
                linked += len(text)
    if pieces:
        flush()
    return page
