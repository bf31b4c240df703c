from __future__ import annotations

import pytest

from tests.tokenizer.real import sample
from tokenizer.encode import Model, load
from tokenizer.train import TokenizerOptions, Trained, train

OPTIONS = {
    kind: TokenizerOptions(kind=kind, vocab_size=2000, user_symbols=("<|user|>",), reserved=2)
    for kind in ("bpe", "unigram")
}


@pytest.fixture(scope="session")
def trained() -> dict[str, Trained]:
    return {kind: train(sample(), options) for kind, options in OPTIONS.items()}


@pytest.fixture(scope="session", params=["bpe", "unigram"])
def model(request: pytest.FixtureRequest, trained: dict[str, Trained]) -> Model:
    return load(trained[request.param].model)
