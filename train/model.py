"""The contract that every language model here keeps, and the table of kinds."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import RecurrentConfig, TransformerConfig
from train.loss import Softmax, linear_cross_entropy, score, softmax_gradient

State = Any  # tensors in nested tuples and lists; None before the first token


class LanguageModel(nn.Module):
    """Embedding, a trunk of some kind, and the embedding again as output layer (Press and Wolf, 2017).

    ``model(tokens, state=None, targets=None)`` gives ``(loss or logits, state)``: tokens and targets (B, T) int64; the
    loss is the sum of nats over the targets (divide by their number), logits are (B, T, V) float32. The state stands
    for all tokens read so far: passing it back with what follows equals reading everything at once. It comes back
    detached, so training through it is truncated at each call.
    """

    carries_state = False  # whether training carries the state from batch to batch
    context: int | None = None  # tokens that a Transformer sees at once
    through: Any = None  # of a Transformer: what training goes through, eager or compiled

    def __init__(self, vocab_size: int, d_model: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.softmax: Softmax = softmax_gradient  # `train.device` may put a compiled one here

    def trunk(self, tokens: Tensor, state: State, keep_state: bool) -> tuple[Tensor, State]:
        """(B, T) tokens to (B, T, d) features, and the new state where it is wanted."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, state: State = None, targets: Tensor | None = None) -> tuple[Tensor, State]:
        """Loss against ``targets``, or logits without; see the class."""
        hidden, state = self.trunk(tokens, state, targets is None or self.carries_state)
        if targets is None:
            return F.linear(hidden, self.embedding.weight).float(), state
        return linear_cross_entropy(hidden, self.embedding.weight, targets, self.softmax), state

    def join(self, states: list[State]) -> State:
        """The carried states of several groups of sequences as that of all, in order."""
        raise NotImplementedError

    def rows(self, state: State, start: int, stop: int) -> State:
        """The part of a carried state that belongs to sequences ``start`` to ``stop``."""
        raise NotImplementedError

    @torch.no_grad()
    def score(self, tokens: Tensor, targets: Tensor, state: State = None) -> tuple[Tensor, Tensor, State]:
        """Nats (B, T) float64, whether the target was the likeliest piece (B, T), and the new state."""
        hidden, state = self.trunk(tokens, state, self.carries_state)
        return (*score(hidden, self.embedding.weight, targets), state)

    @property
    def n_parameters(self) -> int:
        """Number of weights, the tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


def build(config: TransformerConfig | RecurrentConfig, vocab_size: int, context: int, eos: int = 0) -> LanguageModel:
    """A model with fresh weights drawn from torch's global generator.

    ``context``: tokens a sequence in training; ``eos``: the token that ends documents, for ``document_mask``.
    """
    from train.recurrent import Recurrent
    from train.transformer import Transformer

    if isinstance(config, TransformerConfig):
        return Transformer(config, vocab_size, context, eos)
    return Recurrent(config, vocab_size)


def over_state(state: State, change: Any) -> State:
    """The same state with ``change`` applied to each of its tensors."""
    if isinstance(state, Tensor):
        return change(state)
    return type(state)(over_state(part, change) for part in state) if isinstance(state, (list, tuple)) else state
