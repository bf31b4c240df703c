"""Decoding in the browsers' order, whatever the labels say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parse.encoding import codec, decode

RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
CHINESE = "一九八九年四月，我在湖南张家界开一个全省教学研究会议。" * 20
JAPANESE = "日本語の文章がここにあります。ひらがなとカタカナ。" * 20
FRENCH = "Les élèves français étaient déçus, où est passée la crème brûlée ? " * 20


def page(text: str, charset: str = "") -> str:
    meta = f'<meta charset="{charset}">' if charset else ""
    return f"<html><head>{meta}<title>x</title></head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize(
    ("text", "bytes_in", "header", "meta"),
    [
        (RUSSIAN, "utf-8", "utf-8", ""),
        (RUSSIAN, "cp1251", "windows-1251", ""),
        (RUSSIAN, "cp1251", "", "windows-1251"),
        (RUSSIAN, "cp1251", "windows-1251", "utf-8"),  # the header goes before the tag
        (RUSSIAN, "koi8-r", "koi8-r", ""),
        (RUSSIAN, "cp1251", "", ""),  # detected
        (RUSSIAN, "utf-8", "iso-8859-1", ""),  # the bytes contradict the label
        (RUSSIAN, "cp1251", "utf-8", ""),
        (RUSSIAN, "utf-8-sig", "windows-1251", ""),  # a mark goes before everything
        (RUSSIAN, "utf-16", "", ""),
        (CHINESE, "gb18030", "gb2312", ""),
        (CHINESE, "gb18030", "", "gbk"),
        (CHINESE, "utf-8", "", "gb2312"),
        (JAPANESE, "shift_jis", "x-sjis", ""),
        (JAPANESE, "euc_jp", "", "euc-jp"),
        (FRENCH, "cp1252", "latin1", ""),
        (FRENCH, "cp1252", "no-such-encoding", "iso-8859-1"),
        (FRENCH, "utf-8", "", "utf-16"),  # a tag that reads as ASCII is not UTF-16
    ],
)
def test_decode_finds_the_text(text: str, bytes_in: str, header: str, meta: str) -> None:
    source = page(text, meta)
    found, _, repaired = decode(source.encode(bytes_in), header or None)
    assert found == source
    assert repaired == 0


def test_repairs_are_counted() -> None:
    text, name, repaired = decode(b"caf\xc3\xa9 " * 50 + b"\xff broken \x00 and \x01", "utf-8")
    assert (name, repaired) == ("utf-8", 3)
    assert "\ufffd broken  and " in text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=20), st.sampled_from(["utf-16", "gbk", "utf-7"])))
def test_any_bytes_and_any_label_give_clean_text(data: bytes, label: str | None) -> None:
    text, name, repaired = decode(data, label)
    text.encode("utf-8")  # no surrogates
    assert "\0" not in text
    assert name
    assert repaired >= 0


def test_labels_mean_what_browsers_take_them_for() -> None:
    assert codec("ISO-8859-1") == "cp1252"
    assert codec(" GB2312 ") == "gb18030"
    assert codec("x-nothing") == ""
    assert codec("utf-7") == ""
