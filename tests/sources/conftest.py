"""A mirror of both publishers, and a watch over where this process connects to."""

import sys

import pytest

from tests.mirror import Mirror

_reached = set()


def _watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _reached.add(arguments[1][0])
    elif event == "socket.getaddrinfo" and arguments[0]:
        _reached.add(str(arguments[0]))


sys.addaudithook(_watch)  # sees every connection of the process; it cannot be removed, only asked


@pytest.fixture(autouse=True)
def _no_request_leaves_the_machine():
    _reached.clear()
    yield
    assert _reached <= {"127.0.0.1", "localhost", "0.0.0.0"}


@pytest.fixture
def mirror():
    with Mirror() as mirror:
        yield mirror


@pytest.fixture
def config(mirror, tmp_path, monkeypatch):
    """A TOML whose [fetch] leads to the mirror, and stores below tmp_path."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nobody"))
    path = tmp_path / "corpus.toml"
    path.write_text(mirror.table())
    return path
