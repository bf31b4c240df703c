"""RNN, LSTM and GRU language models with carried state, tied embeddings, and attention over past states by option."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import RecurrentConfig
from train.model import LanguageModel, State

_CORES = {"rnn": (nn.RNN, torch.rnn_tanh), "lstm": (nn.LSTM, torch.lstm), "gru": (nn.GRU, torch.gru)}


class PastAttention(nn.Module):
    """Each state attends to the ``window`` states before it and to a null state, and is mixed with what it found.

    Scores are additive, ``v . tanh(W q + U k)`` (Bahdanau et al., 2015), or scaled dot products; the mixture is
    ``tanh(M [found; state])`` (Luong et al., 2015).
    """

    def __init__(self, d_model: int, window: int, additive: bool):
        super().__init__()
        self.window = window
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.weight = nn.Parameter(torch.randn(d_model) / d_model**0.5) if additive else None
        self.mix = nn.Linear(2 * d_model, d_model, bias=False)

    def forward(self, states: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """``states`` (B, T, d) after ``memory`` (B, M, d) to features (B, T, d), and the memory of the next call."""
        length, n_past = states.shape[1], memory.shape[1]
        past = torch.cat((memory.to(states.dtype), states), 1)
        null = F.pad(past, (0, 0, 1, 0))  # a zero state first: the first of all states has nothing else to attend to
        query, key = self.query(states), self.key(null)
        if self.weight is None:
            scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
        else:  # one query at a time: all at once would hold (B, T, S, d)
            scores = torch.stack([torch.tanh(q[:, None] + key) @ self.weight.to(key.dtype) for q in query.unbind(1)], 1)
        position = torch.arange(n_past, n_past + length, device=states.device)[:, None]
        other = torch.arange(-1, n_past + length, device=states.device)
        seen = (other < position) & (other >= position - self.window) | (other < 0)
        found = torch.softmax(scores.float().masked_fill(~seen, -torch.inf), -1).to(null.dtype) @ null
        mixed = torch.tanh(self.mix(torch.cat((found, states), -1)))
        return mixed, past[:, max(past.shape[1] - self.window, 0) :].detach()


class Recurrent(LanguageModel):
    """The state is the core's own: hidden (and for the LSTM cell) vectors, each (layers, B, d).

    With attention it is (the core's, past states (B, at most ``attention_window``, d)). Inputs are ``scale`` = sqrt(d)
    times the embedding, logits as often its products with the features; it is drawn with variance 1/d.
    """

    carries_state = True
    scale: Tensor

    def __init__(self, config: RecurrentConfig, vocab_size: int):
        super().__init__(vocab_size, config.d_model)
        core, layer = _CORES[config.kind]
        self._layer: Any = layer
        between = config.dropout if config.layers > 1 else 0.0
        self.core: nn.RNNBase = core(config.d_model, config.d_model, config.layers, batch_first=True, dropout=between)
        self.p, self.weight_p, self.embedding_p = config.dropout, config.weight_dropout, config.embedding_dropout
        self.variational = config.variational
        self.attention = (
            PastAttention(config.d_model, config.attention_window, config.attention == "additive")
            if config.attention
            else None
        )
        # Gates want inputs near 1, and states within (-1, 1) want weights as large to say anything by; a table of such
        # numbers would move too little at a learning rate that suits the core. So it is small, and scaled both ways.
        self.register_buffer("scale", torch.full((), config.d_model**0.5))  # saved: older checkpoints lack it
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)
        if config.kind == "lstm":  # remember by default (Gers et al., 2000); gates are in the order i, f, g, o
            for name, parameter in self.core.named_parameters():
                if name.startswith("bias_ih"):
                    nn.init.ones_(parameter.data[config.d_model : 2 * config.d_model])

    def trunk(self, tokens: Tensor, state: State, keep_state: bool) -> tuple[Tensor, State]:
        """See `LanguageModel.trunk`."""
        x = self.embedding(tokens) * self.scale
        if self.training and self.embedding_p:
            x = x * F.dropout(x.new_ones(self.embedding.num_embeddings, 1), self.embedding_p)[tokens]
        memory = None
        if self.attention is not None:
            state, memory = state if state is not None else (None, x.new_zeros(len(x), 0, x.shape[-1]))
        features, state = self._run(self._drop(x), state)
        if self.attention is not None:
            features, memory = self.attention(features, memory)
        features = self._drop(features) * self.scale
        if not keep_state:
            return features, None
        kept = state.detach().float() if isinstance(state, Tensor) else tuple(part.detach().float() for part in state)
        return features, kept if memory is None else (kept, memory.float())

    def join(self, states: list[State]) -> State:
        """See `LanguageModel.join`."""
        if self.attention is not None:
            cores, memories = zip(*states, strict=True)
            return self._join_core(list(cores)), torch.cat(memories)
        return self._join_core(states)

    def rows(self, state: State, start: int, stop: int) -> State:
        """See `LanguageModel.rows`."""
        core, memory = state if self.attention is not None else (state, None)
        cut = [part[:, start:stop].contiguous() for part in ([core] if isinstance(core, Tensor) else core)]
        core = cut[0] if isinstance(core, Tensor) else tuple(cut)
        return core if memory is None else (core, memory[start:stop])

    @staticmethod
    def _join_core(states: list[State]) -> State:
        if isinstance(states[0], Tensor):
            return torch.cat(states, 1)
        return tuple(torch.cat(parts, 1) for parts in zip(*states, strict=True))

    def _drop(self, x: Tensor) -> Tensor:
        """Dropout of (B, T, d), with one mask for all of T where it is variational."""
        if not self.variational:
            return F.dropout(x, self.p, self.training)
        return x * F.dropout(torch.ones_like(x[:, :1]), self.p, self.training)

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The core on (B, T, d): all layers at once, or one by one where something must happen between or in them."""
        # A GPU's kernel for all layers would draw its dropout from a generator of its own, which no checkpoint holds.
        between = self.core.num_layers > 1 and (self.variational or (x.is_cuda and self.p > 0))
        if not (self.training and (self.weight_p or between)):
            return self.core(x, state)
        layers, last = self.core.num_layers, []
        if state is None:
            zeros = x.new_zeros(layers, len(x), x.shape[-1])
            state = (zeros, zeros) if isinstance(self.core, nn.LSTM) else zeros
        for layer, (w_input, w_hidden, *biases) in enumerate(self.core.all_weights):
            if layer:
                x = self._drop(x)
            weights = [w_input, F.dropout(w_hidden, self.weight_p), *biases]
            before = state[layer : layer + 1] if isinstance(state, Tensor) else [s[layer : layer + 1] for s in state]
            x, *after = self._layer(x, before, weights, True, 1, 0.0, True, False, True)
            last.append(after)
        new = [torch.cat(parts) for parts in zip(*last, strict=True)]
        return x, tuple(new) if len(new) > 1 else new[0]
