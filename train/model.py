"""The contract that every language model here keeps, and the table of kinds."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import RecurrentConfig, TransformerConfig
from train.loss import linear_cross_entropy, score

State = Any  # tensors in nested tuples and lists; None before the first token


class LanguageModel(nn.Module):
    """Embedding, a trunk of some kind, and the embedding again as output layer (Press and Wolf, 2017).

    ``model(tokens, state=None, targets=None)`` gives ``(loss or logits, state)``: tokens and targets (B, T) int64; the
    loss is the sum of nats over the targets (divide by their number), logits are (B, T, V) float32. The state stands
    for all tokens read so far: passing it back with what follows equals reading everything at once. It comes back
    detached, so training through it is truncated at each call.
    """

    carries_state = False  # whether training carries the state from batch to batch

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)

    def trunk(self, embedded: Tensor, state: State, keep_state: bool) -> tuple[Tensor, State]:
        """(B, T, d) embeddings to (B, T, d) features, and the new state where it is wanted."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, state: State = None, targets: Tensor | None = None) -> tuple[Tensor, State]:
        """Loss against ``targets``, or logits without; see the class."""
        hidden, state = self.trunk(self.embedding(tokens), state, targets is None or self.carries_state)
        if targets is None:
            return F.linear(hidden, self.embedding.weight).float(), state
        return linear_cross_entropy(hidden, self.embedding.weight, targets), state

    @torch.no_grad()
    def score(self, tokens: Tensor, targets: Tensor, state: State = None) -> tuple[float, int, State]:
        """Summed nats, number of targets that are the likeliest piece, new state."""
        hidden, state = self.trunk(self.embedding(tokens), state, self.carries_state)
        return (*score(hidden, self.embedding.weight, targets), state)

    @property
    def n_parameters(self) -> int:
        """Number of weights, the tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


def build(config: TransformerConfig | RecurrentConfig, vocab_size: int, context: int) -> LanguageModel:
    """A model with fresh weights drawn from torch's global generator. ``context``: tokens a sequence in training."""
    from train.recurrent import Recurrent
    from train.transformer import Transformer

    if isinstance(config, TransformerConfig):
        return Transformer(config, vocab_size, context)
    return Recurrent(config, vocab_size)


def move(state: State, device: torch.device) -> State:
    """The same state on ``device``."""
    if isinstance(state, Tensor):
        return state.to(device)
    return type(state)(move(part, device) for part in state) if isinstance(state, (list, tuple)) else state
