"""What a publisher offers, and the nearest of it to what was asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from html.parser import HTMLParser

from pipeline.errors import CorpusmillError, NotYet, UsageError


def links(page: bytes) -> list[str]:
    """The targets of the links of an HTML directory listing, in order."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                found.extend(value for name, value in attributes if name == "href" and value)

    reader = Reader()
    reader.feed(page.decode("utf-8", "replace"))
    reader.close()
    return found


def unknown(what: str, asked: str, offered: Iterable[str], listed: str) -> UsageError:
    """No such name: the nearest ones are offered, and the command ``listed`` that tells all."""
    near = difflib.get_close_matches(asked, sorted(set(offered)), 3, 0.5)
    return UsageError(f"no {what} is called {asked!r}" + (f"; near it: {', '.join(near)}" if near else ""), mend=listed)


def not_at(what: str, asked: str, offered: Iterable[str], listed: str) -> CorpusmillError:
    """Nothing of this date: not yet where it is later than all that is offered, else the nearest dates are named, and
    the command ``listed`` that tells all."""
    dates = sorted(set(offered))
    if not dates or asked > dates[-1]:
        newest = f"; the newest is {dates[-1]}" if dates else ""
        return NotYet(f"{what} {asked} is not published yet{newest}", mend="run the same command again later")
    before = [date for date in dates if date < asked][-2:]
    after = [date for date in dates if date > asked][:2]
    return UsageError(f"there is no {what} {asked}; near it: {', '.join([*before, *after])}", mend=listed)
