"""Main text of pages: what is kept, what is dropped, and that no page can do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.parse import html, html_blocks, html_context, html_model

PARAGRAPHS = [
    "The committee met on Tuesday to discuss the new bridge over the river, closed since the flood in spring. "
    "Several residents spoke in favour of a wooden construction, as it stood there for two hundred years.",
    "According to the engineer, a wooden bridge would carry no more than three tonnes, so that the fire brigade "
    "would have to take the long way round. He proposed steel, and showed what it would cost in the next thirty years.",
    "The mayor said that she would not decide before the summer. “We will listen to everyone,” she told the meeting, "
    "and she promised that the ferry would run until the new bridge is open.",
    "In the end the members voted for a second report, to be written by an office that has no contract with the town. "
    "It is expected in June, and the council will meet again in July.",
]
NAVIGATION = "".join(f'<li><a href="/{k}">Section {k}</a></li>' for k in range(20))
ARTICLE = "".join(f"<p>{text}</p>" for text in PARAGRAPHS)
PAGE = f"""<!DOCTYPE html><html lang="en-GB"><head><title>A bridge for the town | The Gazette</title>
<meta name="robots" content="NOINDEX, nofollow"><link rel="canonical" href="https://gazette.example/bridge">
<meta property="article:published_time" content="2024-05-06T07:08:09Z">
<script>document.write("<p>never " + "shown</p>");</script><style>p > b {{ color: red }}</style></head><body>
<nav class="main-menu"><ul>{NAVIGATION}</ul></nav>
<div id="cookie-consent" class="cookie-banner"><p>We use cookies to improve your experience. Accept all</p></div>
<main><article class="article"><h1>A bridge for the town</h1><div class="byline">By Ann Author</div>
<div class="article-body">{ARTICLE}<h2>What it costs</h2>
<ul><li>Wood, which lasts for twenty years and costs one million.</li>
<li>Steel, which lasts for sixty years and costs three million.</li></ul>
<blockquote>“Nobody has asked the fish,” said an angler from the next village, and there was laughter.</blockquote>
</div></article></main>
<div class="share-buttons"><a href="#">Share on Facebook</a><a href="#">Tweet this</a></div>
<aside class="related"><h3>Related stories</h3><ul>{NAVIGATION}</ul></aside>
<footer class="footer"><p>Copyright © 2024 The Gazette. All rights reserved.</p></footer></body></html>"""


@pytest.fixture(scope="module")
def found() -> html.Extraction:
    return html.extract(PAGE.encode(), "https://gazette.example/bridge")


def test_the_article_is_kept_whole(found: html.Extraction) -> None:
    lines = found.text.split("\n")
    for text in [*PARAGRAPHS, "What it costs", "Steel, which lasts for sixty years and costs three million."]:
        assert text in lines
    assert "angler" in found.text


def test_what_surrounds_it_is_dropped(found: html.Extraction) -> None:
    for text in ("Section 7", "cookies", "Tweet this", "rights reserved", "Related stories", "never", "color"):
        assert text not in found.text


def test_declarations_of_the_page(found: html.Extraction) -> None:
    assert found.title == "A bridge for the town | The Gazette"
    assert found.language == "en-GB"
    assert found.canonical == "https://gazette.example/bridge"
    assert found.date == "2024-05-06T07:08:09Z"
    assert found.robots == "noindex, nofollow"
    assert (found.encoding, found.n_repaired, found.reason) == ("utf-8", 0, "")


def test_tables_are_lines_and_can_be_left_out() -> None:
    rows = "".join(f"<tr><td>Item {k} of the list</td><td>{k * 17} euros a year</td></tr>" for k in range(12))
    page = PAGE.replace("<h2>What it costs</h2>", f"<h2>What it costs</h2><table>{rows}</table>").encode()
    assert "Item 3 of the list | 51 euros a year" in html.extract(page).text.split("\n")
    assert "Item 3" not in html.extract(page, options=html.Options(tables=False)).text


def test_a_text_that_stands_twice_on_the_page_is_kept_once() -> None:
    page = PAGE.replace(ARTICLE, f'<div class="desktop">{ARTICLE}</div><div class="mobile">{ARTICLE}</div>')
    lines = html.extract(page.encode()).text.split("\n")
    assert [lines.count(text) for text in PARAGRAPHS] == [1] * len(PARAGRAPHS)


def test_the_whole_text_beside_its_paragraphs_is_left_out() -> None:
    """Pages that carry their article once more, in one hidden piece or for a printer."""
    copy = " ".join(PARAGRAPHS) + " And so it ended, for the time being."
    lines = html.extract(PAGE.replace(ARTICLE, f"{ARTICLE}<div>{copy}</div>").encode()).text.split("\n")
    assert [lines.count(text) for text in PARAGRAPHS] == [1] * len(PARAGRAPHS)
    assert copy not in lines
    assert copy in html.extract(PAGE.replace(ARTICLE, f"<p>{copy}</p>").encode()).text.split("\n")


def test_code_keeps_its_lines() -> None:
    code = "def bridge(river):\n    for pier in river:\n        build(pier)\n\n    return river"
    page = PAGE.replace("<h2>What it costs</h2>", f"<pre><code>{code}</code></pre><h2>What it costs</h2>").encode()
    assert "for pier in river:\nbuild(pier)" in html.extract(page).text


def test_blocks_of_broken_markup() -> None:
    def texts(source: str) -> list[str]:
        return html_blocks.blocks(source).text

    assert texts("<p>one<p>two<li>three<li>four") == ["one", "two", "three", "four"]
    assert texts("<DIV CLASS=x>Upper</DIV><Br>case") == ["Upper", "case"]
    assert texts('<p title="a > b < c">quoted</p>') == ["quoted"]
    assert texts("a &lt;b&gt; &amp; &eacute; &nbsp; c") == ["a <b> & é c"]
    assert texts("before<!-- <p>comment</p> -->after") == ["beforeafter"]
    assert texts("before<!-- never closed <p>x</p>") == ["before"]
    assert texts("x<script>if (a<b) '</p>'</SCRIPT>y") == ["xy"]
    assert texts("5 < 6 and 7 > 3") == ["5 < 6 and 7 > 3"]
    assert texts("<p>cut in a tag <a href='") == ["cut in a tag"]
    assert texts("<div>one<br>two<br><br>three</div>") == ["one\ntwo", "three"]
    assert texts("<head><title>of the head</title><meta charset=utf-8><body>no end tag<p>two") == ["no end tag", "two"]
    assert texts("<select><option>No<option>text</select><p>yes") == ["yes"]
    assert texts("") == []


def test_link_lengths_and_rows() -> None:
    page = html_blocks.blocks("<table><tr><td><a href=x>linked</a> not<td>b</table><p>after</p>")
    assert page.text == ["linked not", "b", "after"]
    assert page.link.tolist() == [6, 0, 0]
    assert page.row[0] == page.row[1] >= 0 > page.row[2]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "<",
                    ">",
                    "/",
                    "div",
                    "<div>",
                    "</div>",
                    "<p",
                    "<!--",
                    "-->",
                    "<script>",
                    "</script",
                    "=",
                    " x ",
                    "</p>",
                ),
                *("<tr>", "</td>", "<li>", "</ul>", "<a href=", "<br>", "&amp;", "&#xD800;", "<table>", "<td>"),
                *("<svg", "<pre>", "wörd", "字", "\ud800", "<title>", "\0", "</a>", chr(34), chr(39)),
            ]
        ),
        max_size=40,
    )
)
def test_any_soup_of_tags_is_read(pieces: list[str]) -> None:
    source = "".join(pieces)
    page = html_blocks.blocks(source)
    assert len(page.text) == len(page.link) == len(page.node) == len(page.tag) == len(page.row)
    assert all(0 <= link <= len(text) for link, text in zip(page.link, page.text, strict=True))
    found = html.extract(source.encode("utf-8", "surrogatepass"))
    found.text.encode("utf-8")
    assert "\0" not in found.text
    assert bool(found.text) != (found.reason == "empty")


@pytest.mark.parametrize(
    "attack",
    [
        "<div>" * 100_000 + "deep" + "</div>" * 100_000,
        "<div>" * 100_000,
        "</div>" * 100_000,
        "<!--" * 100_000,
        '<a "' * 50_000,
        "<a ='" * 50_000,
        "<a b='c' d=" * 50_000,
        "<script>" * 50_000,
        "<svg>" * 50_000,
        "<li>" * 100_000,
        "<table><tr><td>" * 30_000,
        "&" * 200_000,
        "<p>x" * 30_000,
        "<br>" * 100_000,
        "<" * 300_000,
        "a" * 2_000_000,
    ],
    ids=lambda attack: attack[:12],
)
def test_no_page_takes_more_than_linear_time(attack: str) -> None:
    """The whole suite's time limit is the judge: a quadratic scan of any of these takes minutes."""
    found = html.extract(attack.encode())
    assert bool(found.text) != bool(found.reason)


def test_a_page_of_crumbs_is_refused_before_it_fills_the_memory() -> None:
    found = html.extract(b"<p>x" * (html.MAX_BLOCKS + 1))
    assert (found.text, found.reason) == ("", "too_many_blocks")


def test_deep_pages_reach_no_extractor_that_they_would_stop() -> None:
    deep = ("<div>" * 100_000 + "deep" + "</div>" * 100_000).encode()
    found = html.extract(deep, options=html.Options(extractor="resiliparse"))
    assert (found.text, found.reason) == ("", "too_deep")


@pytest.mark.parametrize("extractor", ["resiliparse", "plain"])
def test_other_extractors(extractor: html.Extractor) -> None:
    found = html.extract(PAGE.encode(), options=html.Options(extractor=extractor))
    assert PARAGRAPHS[1] in found.text


def test_options_have_their_effect_or_are_refused() -> None:
    rows = "".join(
        f"<tr><td>Item {k} of the list</td><td><table><tr><td>{k} euros</table></td></tr>" for k in range(12)
    )
    page = PAGE.replace("<h2>What it costs</h2>", f"<h2>What it costs</h2><table>{rows}</table>").encode()
    assert "Item 3" in html.extract(page, options=html.Options("resiliparse")).text
    found = html.extract(page, options=html.Options("resiliparse", tables=False)).text
    assert "Item 3" not in found
    assert PARAGRAPHS[3] in found
    with pytest.raises(UsageError, match="captions"):
        html.Options("resiliparse", captions=True)
    with pytest.raises(UsageError, match="captions"):
        html.Options("trafilatura", captions=True)
    with pytest.raises(UsageError, match="tables"):
        html.Options("plain", tables=False)


def test_an_unknown_extractor_is_refused() -> None:
    with pytest.raises(UsageError, match="mill"):
        html.Options(extractor="magic")  # type: ignore[arg-type]


def test_an_empty_page_is_no_success() -> None:
    for source in (b"", b"   ", b"<html><body></body></html>", b"\x00\x00"):
        found = html.extract(source)
        assert (found.text, found.reason) == ("", "empty")


def test_lines_without_markup_are_judged_too() -> None:
    menu = "\n".join(f"Section {k}" for k in range(20))
    text = (
        f"Home\n{menu}\nA bridge for the town\n"
        + "\n".join(PARAGRAPHS)
        + f"\nRelated stories\n{menu}\nAll rights reserved."
    )
    kept = html.clean_lines(text).split("\n")
    assert [line for line in kept if line in PARAGRAPHS] == PARAGRAPHS
    assert not [line for line in kept if line.startswith("Section") or "rights" in line]
    assert html.clean_lines(" \n ") == ""


def test_the_second_look_sees_the_verdicts_around_a_block() -> None:
    page = html_blocks.blocks(f"<body><div><p>{PARAGRAPHS[0]}</p><p>Two</p></div><div><p>Three</p></div></body>")
    around = html_context.context(page, np.array([2.0, -1.0, -9.0]))
    assert around.shape == (3, html_context.N_COLUMNS)
    assert np.isfinite(around).all()
    settled = html_model.SETTLED
    assert around[:, :3].tolist() == [[2, settled, -1], [-1, 2, settled], [settled, -1, settled]]
    among_its_kind = around[:, 19]  # the share of the other blocks of this kind that is expected to be text
    assert among_its_kind[1] > 0.8 > among_its_kind[0]


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=30), st.integers(0, 2**31))
def test_the_second_look_bears_any_verdicts(logits: list[float], seed: int) -> None:
    tags = np.random.default_rng(seed).choice(["<p>", "<div>", "</div>", "<h2>", "<li>", "<table><td>"], len(logits))
    page = html_blocks.blocks("".join(f"{tag}word {k}" for k, tag in enumerate(tags)))
    around = html_context.context(page, np.array(logits)[: len(page.text)])
    assert np.isfinite(around).all()
