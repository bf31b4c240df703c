"""URL rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.parse.warc_urls import UrlFilter, UrlRules


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.org/a", ""),
        ("ftp://example.org/a", "url_scheme"),
        ("dns:example.org", "url_scheme"),
        ("http://[::1/", "url_malformed"),
        ("http://10.1.2.3/x", "url_address"),
        ("http://[2001:db8::1]/x", "url_address"),
        ("https://BAD.example/x", "url_host"),
        ("https://sub.bad.example./x", "url_host"),
        ("https://notbad.example/x", ""),
        ("https://only.example/x", "url_host"),
        ("https://sub.only.example/x", ""),
        ("https://anything.xxx/", "url_host"),
        ("https://hosts.example/", "url_host"),
        ("https://ut1.example/any", "url_host"),
        ("https://www.shared.example/~user/page.html", "url_path"),
        ("https://shared.example/~username/", ""),
        ("https://example.org/free-casino-games", "url_word"),
        ("https://example.org/casinova", ""),
        ("https://example.org/tag/7", "url_pattern"),
    ],
)
def test_each_rule(tmp_path: Path, url: str, reason: str) -> None:
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("# a comment\nbad.example\n=only.example  # alone\n.xxx\n0.0.0.0 hosts.example\n\n")
    category = tmp_path / "ut1" / "gambling"
    category.mkdir(parents=True)
    (category / "domains").write_text("ut1.example\n")
    (category / "urls").write_text("shared.example/~user\n")
    rules = UrlRules(
        blocklists=(str(hosts), str(tmp_path / "ut1")),
        block_addresses=True,
        banned_words=("Casino",),
        patterns=(r"/tag/\d+$",),
    )
    assert UrlFilter(rules).reason(url) == reason


def test_wrong_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        UrlFilter(UrlRules(blocklists=(str(tmp_path / "absent"),)))
    with pytest.raises(UsageError, match="domains or urls"):
        UrlFilter(UrlRules(blocklists=(str(tmp_path),)))
    with pytest.raises(UsageError, match="RE2"):
        UrlFilter(UrlRules(patterns=("(unclosed",)))


def test_a_hostile_pattern_and_url_take_linear_time() -> None:
    unwanted = UrlFilter(UrlRules(patterns=("(a+)+$",)))
    assert unwanted.reason("https://example.org/" + "a" * 100_000 + "!") == ""


def test_a_blocklist_that_is_not_there_is_refused_with_what_mends_it(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        with pytest.raises(UsageError, match=f"{name}: no ") as refused:
            UrlFilter(UrlRules(blocklists=(str(tmp_path / name),)))
        assert refused.value.mend
