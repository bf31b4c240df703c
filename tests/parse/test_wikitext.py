import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.parse import wikitext, wikitext_templates
from pipeline.parse.mediawiki_reader import read_pages
from pipeline.parse.mediawiki_site import SiteInfo
from pipeline.parse.wikitext import Options, render
from tests.shared import shared

DE = SiteInfo(db="dewiki", language="de")
MARKUP = re.compile(r"\{\{|\}\}|\[\[|\]\]|''|<ref|thumb\||^\|-|[\x00-\x08]", re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        # links
        ("[[bus]]es and [[a|b]]s", "buses and bs"),
        ("[[Town (Ohio)|]], [[Help:Foo|]], [[Rome, Italy|]]", "Town, Foo, Rome"),
        ("[[A#Part]] [[#Part]] [[:Category:X]] [[Category:X]]", "A#Part #Part Category:X"),
        ("x [[File:a.jpg|thumb|200px|A [[b]] ''c'' {{d}}]] y", "x y"),
        ("x [[Datei:a.jpg|mini|Text]] [[Image:b.png]] [[ファイル:c.jpg]] y", "x y"),
        ("[[Category:X]]\n[[Kategorie:Y|Z]]\ntext", "text"),
        ("[[Star Wars: A New Hope]] and [[wikt:dog|dog]]", "Star Wars: A New Hope and dog"),
        ("text\n[[de:Berlin]]\n[[fr:Berlin]]", "text"),
        ("[[Media:x.ogg|listen]]", "listen"),
        ("[[a\nb]] [[c|d\ne]]", "a\nb d\ne"),
        ("[[a|b=c|d]] [[a\n|b]]", "b=c|d b"),
        ("[http://a.org Site] [http://a.org] [mailto:x@y Mail] http://b.org", "Site Mail http://b.org"),
        ("[[http://a.org x]]", "x"),
        ("a [not a link] b [[]] c", "a [not a link] b c"),
        # quotes
        ("'''b''' ''i'' '''''bi'''''", "b i bi"),
        ("l'''Odyssée''' et l'''Iliade''", "l'Odyssée et lIliade"),
        ("L''''amour''' dans ''l'''Énéide''", "L'amour dans lÉnéide"),
        ("l'''Odyssée''", "l'Odyssée"),
        ("rock 'n' roll, '90s, don't", "rock 'n' roll, '90s, don't"),
        # comments and extension tags
        ("a<!-- b -->c", "ac"),
        ("a\n<!-- b -->\nc", "a\nc"),
        ("a<!-- never closed", "a"),
        ("a<ref>b {{c}}</ref>, d<ref name=x/>.", "a, d."),
        ("a<REF>b</ref>c<ref name='x' >d</ref >e", "ace"),
        ("<nowiki>[[a]] ''b'' {{c}}</nowiki>", "[[a]] ''b'' {{c}}"),
        ("<nowiki/>x <pre>  a\n  [[b]]</pre> y", "x\n  a\n  [[b]]\ny"),
        ("let <math>x^2</math> be", "let $x^2$ be"),
        ("<gallery>\na.jpg|b\n</gallery>x", "x"),
        ("<syntaxhighlight lang=c>int a[[1]];</syntaxhighlight>", "int a[[1]];"),
        ("a<timeline>x</timeline> b<score>c</score>", "a b"),
        # tags and entities
        ("H<sub>2</sub>O, 10<sup>6</sup>, x<sup>''n''</sup>, 1<sup>st</sup>", "H₂O, 10⁶, xn, 1st"),
        ("a<br/>b<br>c", "a\nb\nc"),
        ("<span style='x'>a</span> <b>b</b> <unknown>c", "a b <unknown>c"),
        ("a &amp; b&nbsp;c &lt;ref&gt; &#8211; &#x2013; &bogus; &#xD800;x", "a & b c <ref> – – &bogus; x"),
        ("3 < 4 and 5 > 2", "3 < 4 and 5 > 2"),
        # lines
        ("== A ==\ntext\n=== B ===\nmore", "A\ntext\n\nB\nmore"),
        ("== Empty ==\n== Full ==\nx\n== Also empty ==\n", "Full\nx"),
        ("== A ==\n=== B ===\nx", "A\n\nB\nx"),
        ("* a\n** b\n# c\n# d\n: e\n; f : g", "- a\n- b\n1. c\n2. d\ne\nf : g"),
        ("a\n----\nb", "a\nb"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("__NOTOC__ a __KEIN_INHALTSVERZEICHNIS__ b __init__ __目次非表示__", "a b __init__"),
        # tables
        ("a\n{| class=x\n|-\n| b || c\n|}\nd", "a\nd"),
        ("a\n{|\n| b\n{|\n| c\n|}\n|}\nd", "a\nd"),
        ("a\n{|\n| b\n== H ==\nc", "a\n\nH\nc"),
        ("a\n|-\n| row | cell\n! head\nb", "a\nb"),
        ("a<table><tr><td>b</td></tr></table>c", "a\nc"),
        # variants
        ("-{zh-hans:计算机;zh-hant:電腦}-是", "计算机是"),
        ("-{H|zh-cn:a;zh-tw:b}-x-{R|y}- -{z}-", "xy z"),
        ("a-{{lang|en|b}} -{c}-", "a-b c"),
    ],
)
def test_rendering(source: str, text: str):
    got = render(source)
    assert re.sub(r"\n{2,}", "\n\n", got) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("At {{convert|10|km|mi}}, Alabama has", "At 10 kilometres (6.2 mi), Alabama has"),
        ("'''Athens''' ({{unknown|x}}; {{lang-el|Αθήνα}}) is", "Athens (Greek: Αθήνα) is"),
        ("'''X''' ({{unknown|x}}) is", "X is"),
        ("'''X''' ({{unknown|x}}, {{unknown}}; 1990–2000) is", "X (1990–2000) is"),
        ("X ({{flagicon|FR}}, {{unknown}}) , y", "X , y"),
        ("a {{citation needed|date=May 2010}}, b {{cn}}. C{{cn}} d", "a, b. C d"),
        ("It is {{unknown|b}}. Next is whole.", "Next is whole."),
        ("It has {{population|x}} people and more. Next is whole.", "Next is whole."),
        ("One whole. It costs ${{inflation|US|5}} now. Last whole.", "One whole. Last whole."),
        ("It cost $5 (${{inflation|5}} today). Next.", "It cost $5. Next."),
        ("{{Infobox\n| a = b\n| c = {{d|e}}\n}}\n'''X''' is", "X is"),
        ("{{unknown}}, and so on", "and so on"),
        ("* {{flagicon|FR}} France\n* {{unknown}}", "- France"),
        ("{{main|X}}\ntext", "text"),
        ("{{nowrap|1=a [[b|c=d]] = e}}", "a c=d = e"),
        ("{{nowrap|{{lang|fr|x|y}}}} {{nowrap|1=a=b}}", "x a=b"),
        ("{{quote|Text.|Author|Book}}", "Text.\n— Author, Book"),
        ("{{unclosed | a = b\n| c = d\ntext", "text"),
        ("a {{nowrap|b [[c}} d]] e", "a b c d e"),
        ("a [[b {{nowrap|c]] d}} e", "a b c d e"),
        ("{{{1|default}}} {{{2}}}x", "default x"),
        ("{{#if: a | b | c}}{{lc:ABC}}{{formatnum:1234567}}", "babc1,234,567"),
        ("{{#switch: b | a = 1 | b | c = 2 | 3 }}", "2"),
        ("{{PAGENAME}}{{!}}{{=}}", "Title|="),
        ("{{DEFAULTSORT:x}}{{DISPLAYTITLE:y}}z", "z"),
    ],
)
def test_templates(source: str, text: str):
    assert render(source, title="Title") == text


@pytest.mark.parametrize(
    ("language", "source", "text"),
    [
        ("de", '{{"|Zitat}} {{lang|en|x}} {{enS|y}} {{formatnum:1234.5}}', "„Zitat“ x englisch y 1.234,5"),
        (
            "fr",
            "{{s|XIX}}, {{unité|25|km|2}}, {{citation|x}}, {{Ier}}, {{84e}}",
            "XIXe siècle, 25 km², « x », Ier, 84e",
        ),
        ("es", "{{lang|en|x}} {{siglo|XIX}} {{fecha|4|5|1980}}", "x siglo XIX 4 de mayo de 1980"),
        ("it", "{{m|5}}, {{citazione|x|y}}", "5 m, x\ny"),
        ("ja", "{{仮リンク|甲|en|A}}は{{lang-en|b}}、{{要出典範囲|丙|date=x}}", "甲は英語: b、丙"),
        ("zh", "{{le|甲|A}}、{{link-en|乙|B}}、{{lang-en|c}}", "甲、乙、英语：c"),
        ("ru", "{{нп5|А|Б}} {{lang-en|c}} {{s|д}}", "Б англ. c д"),
        ("pl", "{{convert|1|mi|km}} {{nowrap|x}} {{j|en|y}} {{ang.}}", "1 mi (1,6 km) x ang. y (ang.)"),
        (
            "de",
            "{{Höhe|12|DE-NHN}}, {{§|433|BGB}}, {{USA}}{{FRA|#}}, {{USA|Ziel=Y}}, {{IPA|x}}",
            "12 m ü. NHN, § 433 BGB, Vereinigte Staaten, Y, [x]",
        ),
        ("de", "{{Zitat|Text=T|Autor=A}}", "„T“\n– A"),
        (
            "fr",
            "{{sp|XVIII|e|et|XIX|e|s}}, {{-IIe siècle}}, {{XXe}}, {{Mgr|X}}",
            "XVIIIe et XIXe siècles, IIe siècle av. J.-C., XXe, Mgr X",
        ),
        ("fr", "{{nombre|5000|ans}}, {{en anglais|x}}, {{date|1|2|2000}}", "5 000 ans, x, 1 février 2000"),
        ("es", "{{siglo|V|a||s}}, {{formatnum:1234}}, {{formatnum:12345}}", "siglo V a. C., 1234, 12 345"),
        ("it", "{{M|5|-|6|ul=km}}, {{M|5||kg}}, {{M|1|M|Hz}}, {{m|2|e=-9|-|Pa}}", "5-6 km, 5 kg, 1 MHz, 2×10⁻⁹ Pa"),
        ("ru", "{{lang-tt|x}}, {{км²|5}}, {{дата|1|5|2000}}", "тат. x, 5 км², 1 мая 2000"),
        ("pt", "{{lang-en|x}}, {{dtlink|4|5|1980}}, {{fmtn|12345}}", "em inglês: x, 4 de maio de 1980, 12 345"),
        ("uk", "{{lang-de|x}} {{FRA}} {{не перекладено|А|Б|en|C}}", "нім. x Франція Б"),
        ("ja", "{{lang-fr-short|x}}、{{ITA}}、{{特殊文字|y}}{{efn2|z}}。", "仏: x、イタリア、y。"),
        ("ar", "{{lang-en|x}}", "بالإنجليزية: x"),
        ("nb", "{{formatnum:12345.6}} {{convert|5|km}} {{sitat|x}}", "12 345,6 5 km (3,1 mi) x"),
    ],
)
def test_templates_of_other_languages(language: str, source: str, text: str):
    assert render(source, SiteInfo(db=language + "wiki", language=language)) == text


def test_namespace_names_come_from_the_site():
    site = SiteInfo(db="xxwiki", language="xx", namespaces=((6, "Bestand X"), (14, "Groep")))
    assert render("a [[Bestand X:b.jpg|c]] [[Groep:d]] [[File:e]] e", site) == "a e"
    assert render("a [[Groep:d]]", DE) == "a Groep:d"


def test_options():
    table = "{| class='x'\n|+ Cap\n! A !! B\n|-\n| 1 || style='y' | [[2|two]]\n|-\n| x\ny\n|}"
    assert render(table, options=Options(tables=True)) == "Cap\nA | B\n1 | two\nx y"
    assert render('{|\n| a || colspan="2" {{yes}} || b = c\n|}', options=Options(tables=True)) == "a | b = c"
    spans = "{|\n|rowspan=2|y||<br>a\n|-\n|b||colspan=2|c\n|-\n|x||rowspan='3'|z\n|-\n|w\n|-\n|\n|}"
    assert render(spans, options=Options(tables=True)) == "y | a\ny | b | c\nx | z\nw | z\nz"
    page = "Lead\n== Weblinks ==\n* x\n=== More ===\ny\n== Leben ==\nz\n== Eigenes ==\nw"
    assert render(page, DE, Options(drop_sections=True)) == "Lead\n\nLeben\nz\n\nEigenes\nw"
    assert render(page, DE, Options(sections=("eigenes", "Leben"))) == "Lead\n\nWeblinks\n- x\n\nMore\ny"
    assert render("a <math>x</math> b", options=Options(math=False)) == "a b"
    assert render("-{zh-cn:a;zh-tw:b}-", options=Options(variant="zh-tw")) == "b"


def test_own_template_rules():
    rules = (
        ("Größe", "{1} m[ ({datum})]"),
        ("x-*", "<{}>"),
        ("lang", "-"),
        (r"/\d+x/", "times"),
        ("esc", r"\[{1}\]\s!"),
    )
    options = Options(templates=rules)
    assert render("{{Größe|5}} {{größe|6|datum=1990}} {{x-y}} {{lang|en|b}}c {{12x}} {{esc|d}}", DE, options) == (
        "5 m 6 m (1990) <x-y> c times [d] !"
    )
    for wrong in ("[{1}", "{1}]", "@unheard_of"):
        with pytest.raises(UsageError):
            render("", options=Options(templates=(("a", wrong),)))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ("convert|5|ft|10|in|m", "5 feet 10 inches (1.8 m)"),
        ("convert|100|to|200|mi|km|abbr=on", "100 to 200 mi (160 to 320 km)"),
        ("convert|1063|ft|m|adj=on", "1,063-foot (324 m)"),
        ("convert|32|F", "32 °F (0 °C)"),
        ("convert|1|acre", "1 acre (0.40 ha)"),
        ("convert|52069|sqmi|km2|abbr=on", "52,069 sq mi (134,858 km²)"),
        ("convert|10|km|mi|1|sp=us", "10 kilometers (6.2 mi)"),
        ("convert|5|bushels|L", "5 bushels"),
        ("convert|15|–|17|in|disp=or|abbr=on", "15–17 in or 380–430 mm"),
        ("convert|87|e6acre", "87 million acres (35 million ha)"),
        ("convert|nonsense", "nonsense"),
        ("val|1.23|0.05|e=5|u=km", "1.23±0.05×10⁵ km"),
        ("frac|3|1|2", "3 1/2"),
        ("as of|2012|5|lc=y", "as of May 2012"),
        ("birth date|1980|5|4", "May 4, 1980"),
        ("birth date|1980|5|4|df=yes", "4 May 1980"),
        ("death date and age|2000|1|2|1930|5|6", "January 2, 2000 (aged 69)"),
        ("circa|1500|1550", "c. 1500 – c. 1550"),
        ("ordinal|112", "112th"),
        ("IPAc-en|lang|ˈ|æ|r|ɪ|,_|r", "/ˈærɪ, r/"),
        ("IPA|de|[x]", "[x]"),
        ("chem|H|2|O", "H₂O"),
        ("zh|t=中|p=zhōng", "traditional Chinese: 中; pinyin: zhōng"),
        ("ill|Foo|de|Bar", "Foo"),
        ("ill|de|Foo|Bar", "Foo"),
        ("coord|57|18|22|N|4|27|32|W", "57°18′22″N 4°27′32″W"),
        ("USS|Enterprise|CV-6", "USS Enterprise (CV-6)"),
        ("lang-grc|Ἀριστοτέλης|Aristotélēs", "Ancient Greek: Ἀριστοτέλης, romanized: Aristotélēs"),
        ("harvtxt|Smith|Jones|2000|p=5", "Smith & Jones (2000, p. 5)"),
        ("nihongo|Tokyo|東京|Tōkyō", "Tokyo (東京, Tōkyō)"),
        ("age|1990|1|1", ""),
        ("age|1930|5|6|2000|1|2", "69"),
        ("cvt|5|ft|6|in|cm|0", "5 ft 6 in (168 cm)"),
        ("convert|5|ft|m|adj=mid|-high", "5-foot-high (1.5 m)"),
        ("convert|10|g/cm3|disp=comma", "10 grams per cubic centimetre, 0.36 lb/cu in"),
        ("pop density|1,000|50|km2|sqmi", "20/km² (52/sq mi)"),
        ("chem2|SO4^2-", "SO₄²⁻"),
        ("USS|Nimitz|CVN-68|6", "USS Nimitz"),
        ("bibleverse||John|3:16|KJV", "John 3:16"),
        ("bibleverse|1|Corinthians|1:2", "1 Corinthians 1:2"),
        ("jct|state=CA|US|101|I|5|city1=Gorman", "US 101 / I-5 in Gorman"),
        ("harvnb|Smith|2000|p=3", "Smith 2000, p. 3"),
        ("flag|FRA", "France"),
        ("fb|GER", "Germany"),
        ("INRConvert|5|c", "₹5 crore"),
        ("#tag:ref|note", ""),
    ],
)
def test_template_functions(call: str, text: str):
    assert render("{{" + call + "}}") == text


def test_italian_biographies_begin_with_their_sentence():
    """Every biography there begins with a template that writes its first sentence."""
    bio = """{{Bio|Nome = Rita |Cognome = Levi |Sesso = F |LuogoNascita = Torino |GiornoMeseNascita = 22 aprile
|AnnoNascita = 1909 |LuogoMorte = Roma |GiornoMeseMorte = 30 dicembre |AnnoMorte = 2012 |Attività = neurologa
|Attività2 = accademica |Nazionalità = italiana |PostNazionalità = , Premio Nobel |Immagine = x.jpg}}
Nel"""
    sentence = (
        "Rita Levi (Torino, 22 aprile 1909 – Roma, 30 dicembre 2012) è stata una neurologa e accademica italiana, "
        "Premio Nobel.\nNel"
    )
    assert render(bio, SiteInfo(db="itwiki", language="it")) == sentence
    short = "{{Bio|Nome=Ada|PostCognome=(detta A)|Sesso=F|AnnoNascita=1900|FineIncipit=fu poeta}}"
    assert render(short, SiteInfo(db="itwiki", language="it")) == "Ada (detta A) (1900) fu poeta"


# ---------------------------------------------------------------------------------------------------------------------
# Any input

MARKS = """{{ }} {{{ }}} [[ ]] [ ] | = {| |} ' '' ''' <ref> </ref> <ref/> <!-- --> <nowiki> </nowiki> <math>
    </math> -{ }- zh-hans:a; == * # : ; File: Category: a ( ) , . http://x &amp; &#1; convert| nowrap| lang|
    quote| val| 1 ² 1/0 e= to| #if: #switch: date| died| coord| 。 （ ） 、 <table> </table> __TOC__ <br>
    <sup>2</sup> 99999999999999999999"""
SPACES = [
    "\n",
    "\n|-",
    "\n{|",
    "\n|}",
    "\n==",
    "b c",
    " ",
    "\r\n",
    "\x00",
    "\x01",
    "\x06",
    "\x07",
    "\ud800",
    "9" * 5000,
]
PIECES = st.sampled_from([*MARKS.split(), *SPACES])


@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(["", "en", "de", "fr", "ja", "zh", "ru", "it"]))
@settings(max_examples=400, deadline=None)
def test_any_wikitext_renders(source: str, language: str):
    site = SiteInfo(db=language + "wiki", language=language) if language else None
    for options in (Options(), Options(tables=True, drop_sections=True)):
        text = render(source, site, options)
        assert not re.search("[\x00-\x08\ud800-\udfff]", text)
        assert text == text.strip()
        text.encode("utf-8")


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_renders(source: str):
    render(source).encode("utf-8")


@given(st.lists(st.sampled_from(["word", "Foo bar.", "x, y", "(a; b)", "1990"]), min_size=1, max_size=20).map(" ".join))
@settings(max_examples=100, deadline=None)
def test_plain_prose_is_left_as_it_is(source: str):
    assert render(source) == source


HOSTILE = {
    "nested templates": "{{a|" * 5_000,
    "nested templates, closed": "{{a|" * 50_000 + "}}" * 50_000,
    "nested known templates": "{{nowrap|" * 50_000 + "x" * 1_000 + "}}" * 50_000,
    "links": "[[" * 100_000,
    "links, closed": "[[" * 100_000 + "]]" * 100_000,
    "comments": "<!--" * 700_000,
    "comments, closed": "<!-- -->" * 300_000,
    "braces": "{" * 300_000 + "x" * 100_000 + "}" * 300_000,
    "references": "<ref " * 100_000 + ">",
    "references, opened": "<ref>" * 100_000,
    "wrong closers": "<math>" * 100_000 + "</MATH>",
    "tables": "\n{|\n|a||b" * 50_000,
    "quotes": "''x'''y" * 50_000,
    "spaces": "x" + " " * 1_000_000 + "{{a}}",
    "brackets and holes": "({{a}}," * 50_000 + ")" * 50_000,
    "external links": "[http://a " * 100_000,
    "variants": "-{" * 100_000 + "}-" * 100_000,
    "headings": ("\n=" + "= " * 100) * 2_000,
    "cells": "{|\n|" + "a=" * 100_000 + "\n|}",
    "spans": "{|\n|" + "||rowspan=999|" + "x" * 50_000 + "\n|-\n|y" * 50_000 + "\n|}",
    "wide spans": "{|" + "\n|-" + "\n|rowspan=999 colspan=999|x" * 100_000 + "\n|-\n|y" * 20_000 + "\n|}",
    "ranges": "{{convert|" + "1|to|" * 50_000 + "}}",
    "digits": "{{val|" + "9" * 200_000 + "}}{{formatnum:" + "1" * 200_000 + "}}",
    "doubling": "{{verse translation|" * 60 + "x" * 1_000 + "|y}}" * 60,
    "entities": "&#65" * 200_000,
    "numbered": ("\n" + "#" * 1_000 + "x") * 300,
}


@pytest.mark.parametrize("options", [Options(), Options(tables=True)], ids=["plain", "tables"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_takes_bounded_time_and_space(name: str, options: Options):
    source = HOSTILE[name]
    begun = time.process_time()
    text = render(source, options=options)
    assert len(text) <= 2 * len(source)
    assert time.process_time() - begun < 60  # seconds on any machine; what is not linear here takes hours


def test_twice_the_page_takes_no_more_than_a_few_times_as_long():
    """No part is quadratic: sixteen times the input, and room for a noisy machine."""

    def cost(times: int) -> float:
        source = "".join(HOSTILE[name][: 200_000 // len(HOSTILE)] for name in sorted(HOSTILE)) * times
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            render(source)
            best = min(best, time.process_time() - begun)
        return best

    assert cost(16) < 16 * 6 * max(cost(1), 0.005)


# ---------------------------------------------------------------------------------------------------------------------
# Real pages


def test_no_markup_is_left_in_real_articles():
    for name in ("enwiki-2016-gensim", "jawiki-2022-A", "zhwiki-2018-A", "itwiki-2013-A-multistream", "etwiki-2015"):
        path = str(shared(f"wiki/{name}.xml.bz2"))
        articles = bad = 0
        for page in read_pages(path):
            if page.ns or page.redirect:
                continue
            articles += 1
            # Math and code are kept on purpose, braces and all.
            source = re.sub(r"(?s)<(nowiki|pre|source|syntaxhighlight|math)\b.*?</\1\s*>", "", page.text)
            text = render(source, page.site, title=page.title)
            found = MARKUP.search(text)
            bad += bool(found)
        assert bad <= 0.005 * articles, (name, bad, articles)


def test_nothing_of_an_article_is_lost_beside_markup():
    """The words of plain paragraphs, which no renderer can mistake, are all in the text."""
    path = str(shared("wiki/enwiki-2016-gensim.xml.bz2"))
    checked = 0
    for page in read_pages(path):
        if page.redirect or page.ns:
            continue
        text = render(page.text, page.site, title=page.title)
        for match in re.finditer(r"(?<=\n)[^{}\[\]<>|&=*#:;'\n ][^{}\[\]<>|&=*#:;'\n]{80,}(?=\n)", page.text):
            before, line = page.text[: match.start()], match[0]
            notes = before.count("</ref") + before.count("/>")
            inside = before.count("{{") > before.count("}}") or before.count("<ref") > notes
            inside = inside or before.count("<!--") > before.count("-->")
            if not inside and before.count("\n{|") == before.count("\n|}"):
                checked += 1
                assert " ".join(line.split()) in text, line
    assert checked > 100


def test_rendering_does_not_depend_on_the_hash_seed():
    code = "import sys; from pipeline.parse.wikitext import render;print(render(sys.stdin.read()).encode())"
    source = "{{lang-el|x}} [[Datei:x]] {{convert|1|km}} {{cite web|x}} ({{a}}; b) -{zh-cn:a;zh-tw:b}-"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], input=source, capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(seen) == 1


def test_every_built_in_template_rule_compiles():
    folder = Path(wikitext.__file__).parent / "data"
    for path in sorted(folder.glob("templates.*.txt")):
        table = wikitext_templates._table(path.name.split(".")[1])
        assert table, path
        for name, rule in table.items():
            wikitext_templates.compile_rule(rule, "en", name)


@pytest.mark.parametrize("between", [", ", "\u00a0", "\u3000", ",\u00a0"])
def test_nothing_but_marks_between_two_holes(between: str):
    assert render(f"[[File:a.jpg]]{between}[[File:b.jpg]]{between}[[File:c.jpg]]. b") == ". b"
    assert render(f"a [[File:a.jpg]]{between}[[File:b.jpg]] b") == "a b"
