"""A corpus that is built once and shared by tests that only read it (or copy it first)."""

import os
from pathlib import Path

import pytest

from tests.corpus import corpusmill, write_config

os.environ.setdefault("OMP_NUM_THREADS", "1")  # models of these tests are too small for more, and processes run beside


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small corpus that `corpusmill build` has finished, models included."""
    config = write_config(tmp_path_factory.mktemp("built"), runs=True)
    done = corpusmill("build", config)
    assert done.returncode == 0, done.stderr
    return config


@pytest.fixture
def built_corpus(built: Path) -> Path:
    """The folder of the built corpus. Read only."""
    return built.parent / "corpus"
