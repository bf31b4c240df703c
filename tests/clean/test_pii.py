"""Personal data: what is found, what is not, and that replacing is keyed, repeatable and linear."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean import pii
from pipeline.errors import UsageError

KEY = b"a secret of the corpus"

FOUND = {
    "email": ["jane.doe+x@mail.co.uk", "a@b.io", "O'Brien@uni-ulm.de", "x_1@sub.domain.museum"],
    "ip": ["8.8.8.8", "151.101.1.69", "2001:4860:4860::8888", "2a00:1450:4001:81b:0:0:0:200e"],
    "phone": ["+49 30 1234567", "+1 (212) 555-0199", "(212) 555-0199", "212-555-0199", "+33.1.23.45.67.89"],
    "iban": [
        "DE89370400440532013000",
        "GB82 WEST 1234 5698 7654 32",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NO9386011117947",
    ],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
}
NOT_FOUND = [
    "meet @ noon, @handle, a@b, user@localhost, price@10",
    "version 8.8.8.8, v8.8.8.8, lib-8.8.8.8, firmware: 8.8.4.4 and section 1.1.1.1",
    "192.168.0.1 10.0.0.1 127.0.0.1 224.0.0.1 1.2.3.4.5 999.1.1.1 08.8.8.8",
    "12:34:56 fe80::1 std::vector 2001:db8::1 2026:11:22",
    "1998-1999 1,234,567 2026-11-22 10.1000/182 ISBN 978-3-16-148410-0",
    "DE89370400440532013001 GB82 WEST 1234 5698 7654 33 AB12CDEF",
    "4111 1111 1111 1112 1234567890123456 0000 0000 1234 5678",
    "212-555-01999 +1 23",
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in FOUND.items() for value in values])
def test_found_and_replaced(kind, value):
    texts = pa.array([f"Before ({value}), after.", value])
    redacted, counts = pii.redact(texts, KEY)
    assert {name: count.tolist() for name, count in counts.items() if count.any()} == {kind: [1, 1]}
    whole, bare = redacted.to_pylist()
    assert whole == f"Before ({bare}), after."
    assert value not in whole


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_personal(text):
    redacted, counts = pii.redact(pa.array([text]), KEY)
    assert redacted.to_pylist() == [text]
    assert not any(count.any() for count in counts.values())


def test_replacements_are_keyed_and_repeatable():
    texts = pa.array(["Jane@Mail.org wrote to jane@mail.org and joe@mail.org"])
    first, second, third = pii.redact(texts, KEY)[0][0].as_py().replace(" wrote to ", " ").replace(" and ", " ").split()
    assert first == second != third
    assert pii.redact(texts, KEY)[0].equals(pii.redact(texts, KEY)[0])
    assert pii.redact(texts, b"another")[0][0].as_py().split()[0] != first


def test_only_the_kinds_asked_for():
    text = "a@b.io 8.8.8.8"
    redacted, counts = pii.redact(pa.array([text, None]), KEY, ["ip"])
    assert redacted[0].as_py().startswith("a@b.io ")
    assert redacted[1].as_py() == ""
    assert counts["ip"].tolist() == [1, 0]


PIECES = [value for values in FOUND.values() for value in values] + [
    *NOT_FOUND,
    " ",
    "-",
    ".",
    "@",
    "1",
    "+",
    "é中",
    "\n",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(alphabet="a1@.:-+ AD()é", max_size=60))
def test_redacting_twice_changes_nothing(text):
    once, _ = pii.redact(pa.array([text]), KEY)
    twice, counts = pii.redact(once, KEY)
    assert twice.equals(once)
    assert not any(count.any() for count in counts.values())


@pytest.mark.parametrize("unit", ["a", "1", "1.", "@", "a@", "1 ", "+1 ", "A1", "2a:", "DE89", "1-"])
def test_long_runs_are_linear(unit):
    text = unit * (300_000 // len(unit))
    redacted, _ = pii.redact(pa.array([text]), KEY)
    assert len(redacted) == 1


def test_wrong_arguments_are_refused():
    with pytest.raises(UsageError, match="email"):
        pii.redact(pa.array(["a"]), KEY, ["mail"])
    with pytest.raises(UsageError, match="key"):
        pii.redact(pa.array(["a"]), b"")
