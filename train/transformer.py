"""A decoder Transformer: pre-norm, rotary positions, grouped-query attention, SwiGLU, tied embeddings.

Sources: RMSNorm (Zhang and Sennrich, 2019), rotary positions (Su et al., 2021), grouped queries (Ainslie et al., 2023),
SwiGLU (Shazeer, 2020), residual branches scaled down at the start (Radford et al., 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import TransformerConfig
from train.model import LanguageModel, State


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair of features (i, i + d/2) of ``x`` (B, heads, T, d) by its position's angle, (T, d/2)."""
    left, right = x.chunk(2, -1)
    return torch.cat((left * cosines - right * sines, right * cosines + left * sines), -1)


class Attention(nn.Module):
    """Causal self-attention with rotary positions; several heads may share one key/value head."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.d_head = config.d_model // config.heads
        self.query = nn.Linear(config.d_model, config.d_model, bias=False)
        self.key = nn.Linear(config.d_model, self.kv_heads * self.d_head, bias=False)
        self.value = nn.Linear(config.d_model, self.kv_heads * self.d_head, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self, x: Tensor, cosines: Tensor, sines: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, d) to (B, T, d), and the keys and values of all positions attended to, (B, kv_heads, S, d_head)."""
        batch, length, width = x.shape
        q = self.query(x).view(batch, length, self.heads, self.d_head).transpose(1, 2)
        k = self.key(x).view(batch, length, self.kv_heads, self.d_head).transpose(1, 2)
        v = self.value(x).view(batch, length, self.kv_heads, self.d_head).transpose(1, 2)
        q, k = rotate(q, cosines, sines).to(v.dtype), rotate(k, cosines, sines).to(v.dtype)
        mask = None
        if past is not None:
            k, v = torch.cat((past[0].to(k.dtype), k), 2), torch.cat((past[1].to(v.dtype), v), 2)
            mask = torch.ones(length, k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - length)
        attended = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=past is None, enable_gqa=self.kv_heads != self.heads
        )
        return self.out(attended.transpose(1, 2).reshape(batch, length, width)), (k, v)


class FeedForward(nn.Module):
    """SwiGLU: one projection gates the other."""

    def __init__(self, d_model: int, d_inner: int):
        super().__init__()
        self.gate = nn.Linear(d_model, d_inner, bias=False)
        self.up = nn.Linear(d_model, d_inner, bias=False)
        self.out = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        return self.out(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy and added back."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        d_inner = config.d_feedforward or -(-8 * config.d_model // 96) * 32
        self.attention_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.attention = Attention(config)
        self.feedforward_norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.feedforward = FeedForward(config.d_model, d_inner)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, cosines: Tensor, sines: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, d) to (B, T, d), with the keys and values for the state."""
        attended, kept = self.attention(self.attention_norm(x), cosines, sines, past)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feedforward(self.feedforward_norm(x))), kept


class Transformer(LanguageModel):
    """The state is (tokens read so far, keys and values of the last ``context`` - 1 of them for each block).

    Generation beyond ``context`` therefore slides: each token sees the ``context`` - 1 before it.
    """

    frequencies: Tensor

    def __init__(self, config: TransformerConfig, vocab_size: int, context: int):
        super().__init__(vocab_size, config.d_model)
        self.context = context
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        pairs = torch.arange(0, config.d_model // config.heads, 2, dtype=torch.float32)
        frequencies = config.rope_base ** (-pairs / (config.d_model // config.heads))
        self.register_buffer("frequencies", frequencies, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deviation = 0.02 / (2 * config.layers) ** 0.5 if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=deviation)

    def trunk(self, embedded: Tensor, state: State, keep_state: bool) -> tuple[Tensor, State]:
        """See `LanguageModel.trunk`."""
        start, pasts = state if state is not None else (0, [None] * len(self.blocks))
        stop = start + embedded.shape[1]
        angles = torch.outer(torch.arange(start, stop, device=embedded.device).float(), self.frequencies)
        cosines, sines = angles.cos(), angles.sin()
        x, kept = self.dropout(embedded), []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, pair = block(x, cosines, sines, past)
            if keep_state:
                kept.append(tuple(part[:, :, max(part.shape[2] - self.context + 1, 0) :].detach() for part in pair))
        return self.norm(x), (stop, kept) if keep_state else None
