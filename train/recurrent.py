"""LSTM and GRU language models with carried state and tied embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from train.config import RecurrentConfig
from train.model import LanguageModel, State


class Recurrent(LanguageModel):
    """The state is the core's own: hidden (and for the LSTM cell) vectors, each (layers, B, d)."""

    carries_state = True

    def __init__(self, config: RecurrentConfig, vocab_size: int):
        super().__init__(vocab_size, config.d_model)
        core = nn.LSTM if config.kind == "lstm" else nn.GRU
        between = config.dropout if config.layers > 1 else 0.0
        self.core = core(config.d_model, config.d_model, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        # Much smaller inputs hardly move the gates: the model learns piece frequencies, then rests there for long.
        nn.init.normal_(self.embedding.weight, std=0.5)
        if config.kind == "lstm":  # remember by default (Gers et al., 2000); gates are in the order i, f, g, o
            for name, parameter in self.core.named_parameters():
                if name.startswith("bias_ih"):
                    nn.init.ones_(parameter.data[config.d_model : 2 * config.d_model])

    def trunk(self, embedded: Tensor, state: State, keep_state: bool) -> tuple[Tensor, State]:
        """See `LanguageModel.trunk`."""
        features, state = self.core(self.dropout(embedded), state)
        if not keep_state:
            return self.dropout(features), None
        if isinstance(state, Tensor):
            return self.dropout(features), state.detach().float()
        return self.dropout(features), tuple(part.detach().float() for part in state)
