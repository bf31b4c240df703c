"""Continue a text with a trained model, piece by piece."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CorpusmillError, UsageError
from train.evaluate import check_tokenizer, load_model
from train.model import LanguageModel


def sample(
    run_dir: str,
    tokenizer_path: str,
    prompts: list[str],
    *,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
) -> Iterator[tuple[int, str]]:
    """Continue each prompt in turn; gives ``(number of the prompt, next stretch of text)`` as soon as it is known.

    The stretches of one number, joined, are the continuation (the prompt is not repeated). It ends after
    ``max_tokens`` tokens or where the model ends the document. ``temperature`` 0 takes the likeliest token; ``top_k`` 0
    and ``top_p`` 1 leave the choice open. Prompt number i draws from a generator seeded ``seed`` + i, so it is
    continued alike whatever stands beside it. An empty prompt begins a new document.

    ``tokenizer_path`` is the SentencePiece model of the corpus; CorpusmillError where it is not the one that the model
    was trained with.
    """
    import sentencepiece

    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
        raise UsageError(
            f"temperature {temperature}, top_k {top_k}, top_p {top_p}: want >= 0, >= 0, and 0 < top_p <= 1"
        )
    model, saved = load_model(run_dir)
    try:
        content = Path(tokenizer_path).read_bytes()
    except OSError as error:
        raise CorpusmillError(
            f"no tokenizer: {error}", file=tokenizer_path, mend="corpusmill tokenizer train CORPUS_TOML"
        ) from error
    described = saved.described
    pieces = sentencepiece.SentencePieceProcessor()
    digest = hashlib.sha256(content).hexdigest()
    if digest == described["tokenizer_sha256"]:
        pieces.load_from_serialized_proto(content)
    check_tokenizer(digest, described["vocab_size"], described, tokenizer_path)
    eos = described["special_ids"]["eos"]
    never = sorted(number for role, number in described["special_ids"].items() if role != "eos" and number >= 0)
    for number, prompt in enumerate(prompts):
        ids = pieces.encode(prompt)
        drawn = tokens(
            model,
            [eos, *ids],
            never=never,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=torch.Generator().manual_seed(seed + number),
        )
        for text in spell(pieces, ids, itertools.takewhile(lambda token: token != eos, drawn)):
            yield number, text


def spell(pieces: Any, ids: list[int], drawn: Iterable[int]) -> Iterator[str]:
    """The text of ``drawn`` after ``ids``, each stretch as soon as its characters are whole.

    ``pieces`` is a SentencePieceProcessor, which may spell a character as several tokens of one byte each.
    """
    ids = list(ids)
    said = pieces.decode(ids)
    for token in drawn:
        ids.append(token)
        text = pieces.decode(ids)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[len(said) :]
            said = text


@torch.no_grad()
def tokens(
    model: LanguageModel,
    prompt: list[int],
    *,
    never: list[int],
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    generator: torch.Generator,
) -> Iterator[int]:
    """Draw ``max_tokens`` tokens after ``prompt``, reading each once: the model's state stands for all before it."""
    logits, state = model(torch.tensor([prompt]))
    for _ in range(max_tokens):
        last = logits[0, -1]
        last[never] = -torch.inf
        token = draw(last, temperature, top_k, top_p, generator)
        yield token
        logits, state = model(torch.tensor([[token]]), state)


def draw(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> int:
    """One token from ``logits`` (V,): of the ``top_k`` likeliest, the fewest whose probability reaches ``top_p``.

    Nucleus sampling after Holtzman et al., 2020.
    """
    if temperature == 0:
        return int(logits.argmax())
    ordered, ids = logits.sort(descending=True, stable=True)
    if top_k:
        ordered, ids = ordered[:top_k], ids[:top_k]
    p = torch.softmax(ordered / temperature, -1)
    before = p.cumsum(-1) - p
    p = torch.where(before < top_p, p, 0.0)
    return int(ids[torch.multinomial(p, 1, generator=generator)])
