"""Personal data in texts: found by shape and checksum, replaced by keyed, recognisably false values.

The same value under the same key always gets the same replacement, so that who wrote to whom survives and who they are
does not; without the key the original cannot be looked up by hashing guesses. Replacements are of kinds that are
reserved for examples, and are themselves never found again: redacting twice changes nothing.

Every search is linear: patterns are bounded, and e-mail addresses are looked for around their "@".
"""

from __future__ import annotations

import bisect
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError

Match = tuple[int, int, str]
"""Start and end of what was found, and its canonical form (what the replacement depends on)."""

_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![\w@+-])")
_EXAMPLES = ("example.com", "example.org", "example.net")

_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])")
_VERSION = re.compile(
    r"(?:\b(?:v|ver|versions?|releases?|build|firmware|section|no|number)|§)[.:]?\s*\Z", re.IGNORECASE
)

_PHONE = re.compile(
    r"(?<![\w+])(?:\+(?!999)\d{1,3}(?:[ .-]?\(\d{1,4}\)|[ .-]?\d{1,4}){2,5}"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}[.-]\d{3}[.-]\d{4})(?!\w|[.-]\d)"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CARD = re.compile(r"(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-]|\.\d)")

IBAN_LENGTHS = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "PT",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT",
}
"""Countries by the number of characters of their IBAN (ISO 13616 registry)."""

_IBAN_LENGTH = {country: length for length, countries in IBAN_LENGTHS.items() for country in countries.split()}


_ROUNDS = 4
"""What is left of a match that overlapped a longer one can be a match itself: look again, so many times."""


def redact(texts: pa.Array, key: bytes, kinds: Sequence[str] = ()) -> tuple[pa.Array, dict[str, np.ndarray]]:
    """Return the texts with personal data replaced, and how often each kind was found per document (int64).

    ``kinds`` are names of `KINDS`, all of them by default. ``key`` (up to 64 bytes) keys the replacements: keep it
    secret and the same. Raises UsageError for an unknown kind or an empty key.
    """
    chosen = list(kinds) or list(KINDS)
    for kind in chosen:
        if kind not in KINDS:
            raise UsageError(f"there is no kind of personal data {kind!r}; there are {', '.join(KINDS)}")
    if not 1 <= len(key) <= 64:
        raise UsageError("the key of personal data must have 1 to 64 bytes", mend="openssl rand -hex 32 > FILE")
    counts = {kind: np.zeros(len(texts), np.int64) for kind in chosen}
    values = pc.fill_null(texts, "")
    # Hardly any text is without a digit or "@", but many are without any of these shapes: a linear automaton finds out.
    likely = pc.match_substring_regex(values, r"@|\d[\d .():-]{6}|[0-9A-Fa-f]:[0-9A-Fa-f:]|[A-Z]{2}\d{2}")
    rows = np.flatnonzero(likely.to_numpy(zero_copy_only=False))
    if not len(rows):
        return values, counts
    replaced: dict[int, str] = {}
    for row, text in zip(rows.tolist(), values.take(pa.array(rows)).to_pylist(), strict=True):
        for _ in range(_ROUNDS):
            pieces, end = [], 0
            for (start, stop, canonical), kind in _longest(text, chosen):
                pieces += [text[end:start], KINDS[kind][1](_digest(key, kind, canonical))]
                counts[kind][row] += 1
                end = stop
            if not pieces:
                break
            text = replaced[row] = "".join([*pieces, text[end:]])
    if not replaced:
        return values, counts
    changed = np.array(sorted(replaced))
    places = np.arange(len(values))
    places[changed] = len(values) + np.arange(len(changed))
    new = pa.array([replaced[row] for row in changed.tolist()], values.type)
    return pa.concat_arrays([values, new]).take(pa.array(places)), counts


def _longest(text: str, kinds: Sequence[str]) -> list[tuple[Match, str]]:
    """Matches that do not overlap, in the order of the text; of two that do, the longer, then the earlier kind."""
    found = [(match, kind) for kind in kinds for match in KINDS[kind][0](text)]
    taken: list[tuple[Match, str]] = []
    for match, kind in sorted(found, key=lambda item: item[0][0] - item[0][1]):
        at = bisect.bisect(taken, match[0], key=lambda item: item[0][0])
        if (at == 0 or taken[at - 1][0][1] <= match[0]) and (at == len(taken) or match[1] <= taken[at][0][0]):
            taken.insert(at, (match, kind))
    return taken


def _digest(key: bytes, kind: str, canonical: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{kind}:{canonical}".encode(), digest_size=8, key=key).digest(), "big")


def emails(text: str) -> Iterator[Match]:
    """Find e-mail addresses (RFC 5322's unquoted form, with a domain of letters)."""
    at = text.find("@")
    done = 0
    while at >= 0:
        local = _LOCAL.search(text, max(done, at - 64), at)
        domain = _DOMAIN.match(text, at + 1)
        if local and domain and not domain.group().lower().endswith(_EXAMPLES):
            start = local.start() + len(local.group()) - len(local.group().lstrip(".'*/=?|{"))
            if start < at:
                done = domain.end()
                yield start, done, text[start:done].lower()
        at = text.find("@", at + 1)


def addresses(text: str) -> Iterator[Match]:
    """Find public IP addresses; not private or reserved ones, and not version numbers ("version 8.8.8.8")."""
    for match in _IPV4.finditer(text):
        if _is_public(match.group()) and not _VERSION.search(text, max(0, match.start() - 12), match.start()):
            yield match.start(), match.end(), match.group()
    for match in _IPV6.finditer(text):
        value = match.group().rstrip(":") if not match.group().endswith("::") else match.group()
        if _is_public(value):
            yield match.start(), match.start() + len(value), str(ipaddress.ip_address(value))


def _is_public(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def phones(text: str) -> Iterator[Match]:
    """Find telephone numbers: international ("+49 30 1234567", 8 to 15 digits), North American ("(212) 555-0199")."""
    for match in _PHONE.finditer(text):
        digits = _digits(match.group())
        if 8 <= len(digits) <= 15:
            yield match.start(), match.end(), digits


def ibans(text: str) -> Iterator[Match]:
    """Find bank account numbers (ISO 13616): the length of their country and a right checksum."""
    for match in _IBAN.finditer(text):
        value = match.group().replace(" ", "")
        length = _IBAN_LENGTH.get(value[:2], 0)
        if len(value) < length or not length:
            continue
        value = value[:length]
        number = "".join(str(int(char, 36)) for char in value[4:] + value[:4])
        if int(number) % 97 == 1:
            place, taken = match.start(), 0
            while taken < length:
                taken += text[place] != " "
                place += 1
            if place == len(text) or not text[place].isalnum():
                yield match.start(), place, value


def cards(text: str) -> Iterator[Match]:
    """Find payment card numbers (ISO 7812): 13 to 19 digits in usual groups, with a right Luhn checksum."""
    for match in _CARD.finditer(text):
        digits = _digits(match.group())
        groups = [len(list(group)) for dash, group in groupby(match.group(), lambda char: char in " -") if not dash]
        usual = len(groups) == 1 or (groups[0] == 4 and len(set(groups[:-1])) <= 2 and max(groups) <= 7)
        if usual and _luhn(digits):
            yield match.start(), match.end(), digits


def _digits(value: str) -> str:
    return "".join(char for char in value if char.isdigit())


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _false_address(digest: int) -> str:
    net = ("192.0.2", "198.51.100", "203.0.113")[digest % 3]  # RFC 5737: for documentation
    return f"{net}.{digest // 3 % 254 + 1}"


KINDS: dict[str, tuple[Callable[[str], Iterator[Match]], Callable[[int], str]]] = {
    "email": (emails, lambda digest: f"user-{digest:016x}@example.com"),  # RFC 2606: reserved
    "ip": (addresses, _false_address),
    "iban": (ibans, lambda digest: f"XX00 {digest % 10**8:08d} {digest // 10**8 % 10**8:08d}"),
    "card": (cards, lambda digest: f"0000 0000 {digest % 10**4:04d} {digest // 10**4 % 10**4:04d}"),
    "phone": (phones, lambda digest: f"+999 {digest % 10**9:09d}"),  # a country code that is not assigned
}
"""Kinds of personal data by name: how it is found, and its replacement for a 64-bit keyed digest. Earlier kinds go
first."""
