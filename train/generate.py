"""Continue texts with a trained model, piece by piece."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import CorpusmillError, UsageError
from train.evaluate import check_tokenizer, load_model
from train.model import LanguageModel

_COLDEST = 1e-6  # the lowest temperature by which scores can be divided in float32


@dataclass(frozen=True)
class Choice:
    """How the next token is chosen. UsageError for values that mean nothing.

    ``temperature`` 0 takes the likeliest token; ``top_k`` 0 and ``top_p`` 1 leave the choice open. The score of a token
    that was read or drawn before is divided by ``repetition_penalty`` where positive, else multiplied (Keskar et al.,
    2019); 1 changes nothing.
    """

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        known = self.temperature == 0 or _COLDEST <= self.temperature < math.inf
        known = known and self.top_k >= 0 and 0 < self.top_p <= 1 and 0 < self.repetition_penalty < math.inf
        if not known:
            raise UsageError(
                f"temperature {self.temperature}, top_k {self.top_k}, top_p {self.top_p}, repetition_penalty "
                f"{self.repetition_penalty}: want 0 or from {_COLDEST:g} on, >= 0, 0 < top_p <= 1, and > 0",
                mend="corpusmill sample --help has the usual ones",
            )


def sample(
    run_dir: str,
    tokenizer_path: str,
    prompts: list[str],
    choice: Choice,
    *,
    max_tokens: int,
    seed: int,
    count: int = 1,
    where: str = "cpu",
    context: int | None = None,
) -> Iterator[tuple[int, str]]:
    """Continue each prompt ``count`` times; gives ``(number of the continuation, next stretch of text)``.

    Continuation number i is of prompt i // ``count``. The stretches of one number, joined, are the continuation (the
    prompt is not repeated). It ends after ``max_tokens`` tokens or where the model ends the document. Continuation i
    draws from a generator seeded ``seed`` + i. The continuations of one prompt are drawn together as a batch; prompts
    follow one another, so what stands beside a prompt does not change it. An empty prompt begins a new document.

    ``tokenizer_path`` is the SentencePiece model of the corpus; CorpusmillError where it is not the one that the model
    was trained with. ``where`` and ``context`` as for `load_model`.
    """
    import sentencepiece

    if count < 1:
        raise UsageError(f"{count} continuations of each prompt: want at least 1", mend="--count 1")
    if max_tokens < 0:
        raise UsageError(f"{max_tokens} tokens: want at least 0", mend="--tokens 100")
    if not -(2**63) <= seed < 2**63:
        raise UsageError(f"seed {seed}: want 64 bits", mend="--seed 0")
    for prompt in prompts:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the prompt {prompt!r} is not UTF-8", mend="convert it before, such as: iconv --from latin1 --to utf-8"
            ) from error
    model, saved = load_model(run_dir, where, context)
    try:
        content = Path(tokenizer_path).read_bytes()
    except OSError as error:
        raise CorpusmillError(
            f"no tokenizer: {error}", file=tokenizer_path, mend="corpusmill tokenizer CORPUS_TOML"
        ) from error
    described = saved.described
    pieces = sentencepiece.SentencePieceProcessor()
    digest = hashlib.sha256(content).hexdigest()
    if digest == described["tokenizer_sha256"]:
        pieces.load_from_serialized_proto(content)
    check_tokenizer(digest, described["vocab_size"], described, tokenizer_path)
    eos = described["special_ids"]["eos"]
    before = [eos, described["special_ids"]["bos"]] if described.get("bos") else [eos]
    never = sorted(number for role, number in described["special_ids"].items() if role != "eos" and number >= 0)
    for number, prompt in enumerate(prompts):
        ids = pieces.encode(prompt)
        numbers = range(number * count, (number + 1) * count)
        generators = [torch.Generator().manual_seed(seed + i) for i in numbers]
        drawn = tokens(model, [*before, *ids], choice, generators, never=never, end=eos, max_tokens=max_tokens)
        speakers = [Speaker(pieces, ids) for _ in numbers]
        for row, token in drawn:
            if text := speakers[row].say(token):
                yield numbers[row], text


class Speaker:
    """The text of tokens one after another after ``ids``, as soon as its characters are whole.

    ``pieces`` is a SentencePieceProcessor, which may spell a character as several tokens of one byte each.
    """

    def __init__(self, pieces: Any, ids: list[int]):
        self._pieces, self._ids = pieces, list(ids)
        self._said = pieces.decode(self._ids)

    def say(self, token: int) -> str:
        """What the next token adds; "" while a character is not whole."""
        self._ids.append(token)
        text = self._pieces.decode(self._ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        added, self._said = text[len(self._said) :], text
        return added


@torch.inference_mode()
def tokens(
    model: LanguageModel,
    prompt: list[int],
    choice: Choice,
    generators: list[torch.Generator],
    *,
    never: list[int],
    end: int,
    max_tokens: int,
) -> Iterator[tuple[int, int]]:
    """Draw at most ``max_tokens`` tokens after ``prompt`` for each generator; gives (number of the generator, token).

    A continuation stops before the token ``end``; ``never`` are not drawn. The prompt is read once for all, and each
    token once: the model's state stands for all before it. Of a prompt longer than a Transformer's context the end is
    read.
    """
    if model.context is not None:
        prompt = prompt[-model.context :]
    device = next(model.parameters()).device
    rows = list(range(len(generators)))
    seen = torch.zeros(len(rows), model.embedding.num_embeddings, dtype=torch.bool)
    seen[:, prompt] = True
    seen[:, [end, *never]] = False  # what stands before every document was not said, nor that a document ended
    logits, state = model(torch.tensor([prompt] * len(rows), device=device))
    for left in range(max_tokens, 0, -1):
        last = logits[:, -1].cpu()
        last[:, never] = -torch.inf
        last = penalised(last, seen, choice.repetition_penalty)
        drawn = [draw(last[row], choice, generators[row]) if row in rows else end for row in range(len(generators))]
        alive = [row for row in rows if drawn[row] != end]
        for row in alive:
            yield row, drawn[row]
        if not alive or left == 1:
            return
        rows = alive  # ended ones are carried along, unread: the batch keeps its shape
        seen[range(len(drawn)), drawn] = True
        logits, state = model(torch.tensor(drawn, device=device)[:, None], state)


def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (B, V) with those of tokens ``seen`` (B, V) made less likely; see `Choice`."""
    if penalty == 1:
        return logits
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def draw(logits: Tensor, choice: Choice, generator: torch.Generator) -> int:
    """One token from ``logits`` (V,): of the ``top_k`` likeliest, the fewest whose probability reaches ``top_p``.

    Nucleus sampling after Holtzman et al., 2020.
    """
    if choice.temperature == 0:
        return int(logits.argmax())
    ordered, ids = logits.sort(descending=True, stable=True)
    if choice.top_k:
        ordered, ids = ordered[: choice.top_k], ids[: choice.top_k]
    p = torch.softmax(ordered / choice.temperature, -1)
    before = p.cumsum(-1) - p
    p[1:] = torch.where(before < choice.top_p, p, 0.0)[1:]  # the likeliest stays, however small top_p
    return int(ids[torch.multinomial(p, 1, generator=generator)])
