"""A decoder Transformer: pre-norm, rotary positions, grouped-query attention, SwiGLU, tied embeddings.

Sources: RMSNorm (Zhang and Sennrich, 2019), rotary positions (Su et al., 2021), grouped queries (Ainslie et al., 2023),
SwiGLU (Shazeer, 2020), normalised queries and keys (Henry et al., 2020), residual branches scaled down at the start
(Radford et al., 2019).
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.config import TransformerConfig
from train.model import LanguageModel, State

EPS = 1e-6  # of every norm


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair of features (i, i + d/2) of ``x`` (B, T, heads, d) by its position's angle, (T, 1, d/2)."""
    return x * cosines + x.roll(x.shape[-1] // 2, -1) * sines


def frequencies(config: TransformerConfig) -> Tensor:
    """Radians a position for each pair of features of a head, (d_head/2,) float32."""
    d_head = config.d_model // config.heads
    scaling, base = config.rope_scaling, config.rope_base
    if scaling and scaling.kind == "ntk" and d_head > 2:
        base *= scaling.factor ** (d_head / (d_head - 2))
    radians = base ** (-torch.arange(0, d_head, 2, dtype=torch.float32) / d_head)
    return radians / scaling.factor if scaling and scaling.kind == "linear" else radians


def boundaries(documents: Tensor) -> Tensor:
    """Where documents begin in ``documents`` (B, T), numbers of documents, laid end to end; then B * T. (n + 1,) int32.

    A row begins anew even in the document of the row before.
    """
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    found = begins.flatten().nonzero().flatten()
    return torch.cat((found, found.new_tensor([documents.numel()]))).int()


def varlen(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor) -> Tensor:
    """Causal attention within documents by torch's kernel for sequences of various lengths (CUDA, half precision).

    ``q`` (B, heads, T, d), ``k`` and ``v`` (B, kv_heads, T, d); ``bounds`` of `boundaries`. Gives (B, heads, T, d).
    """
    from torch.nn.attention.varlen import varlen_attn

    batch, heads, length, d_head = q.shape
    k, v = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
    q, k, v = (x.transpose(1, 2).reshape(batch * length, heads, d_head) for x in (q, k, v))
    causal: dict[str, Any] = {"window_size": (-1, 0)} if _HAS_WINDOW else {"is_causal": True}  # torch 2.10
    attended: Any = varlen_attn(q, k, v, bounds, bounds, length, length, **causal)
    return attended.view(batch, length, heads, d_head).transpose(1, 2)


def _varlen_parameters() -> frozenset[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch before 2.10
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


_VARLEN = _varlen_parameters()
_HAS_WINDOW = "window_size" in _VARLEN


def project(x: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
    """What each of ``layers``, which have no bias, makes of ``x``.

    Compiled it is one large product, forth and back: the compiler copies the weights into the autocast type anyway, and
    so joins them for nothing.
    """
    if not torch.compiler.is_compiling():
        return tuple(layer(x) for layer in layers)
    joined = F.linear(x, torch.cat([layer.weight for layer in layers]))
    return joined.split([layer.out_features for layer in layers], -1)


class Norm(nn.RMSNorm):
    """RMSNorm computed in float32, as its weight is; torch has a kernel for one type alone. Gives the type it got."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape whose last dimension is the model's."""
        return super().forward(x.float()).to(x.dtype)


class HeadNorm(nn.RMSNorm):
    """RMSNorm in float32, as the rotation after it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape whose last dimension is the head's."""
        return super().forward(x.float())


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
        self.query_norm = HeadNorm(self.d_head, eps=EPS) if config.qk_norm else nn.Identity()
        self.key_norm = HeadNorm(self.d_head, eps=EPS) if config.qk_norm else nn.Identity()

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], visible: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, d) to (B, T, d), and the keys and values of all positions attended to, (B, kv_heads, S, d_head).

        ``visible``: what each position attends to, as a mask (.., T, S), as `boundaries` (int32), or None: all before.
        """
        batch, length, width = x.shape
        q, k, v = project(x, self.query, self.key, self.value)
        # Turned before heads and positions change places: the kernel's answer has its queries' layout in memory, and
        # this one is that of what comes before and after, so that nothing is copied.
        narrow = x.is_cpu and v.dtype.itemsize < 4  # a CPU's kernel for bfloat16 takes up to five times as long
        products, dtype = v.dtype, torch.float32 if narrow else v.dtype
        q = rotate(self.query_norm(q.view(batch, length, self.heads, self.d_head)), *turn).to(dtype).transpose(1, 2)
        k = rotate(self.key_norm(k.view(batch, length, self.kv_heads, self.d_head)), *turn).to(dtype).transpose(1, 2)
        v = v.to(dtype).view(batch, length, self.kv_heads, self.d_head).transpose(1, 2)
        if past is not None:
            k, v = torch.cat((past[0].to(k.dtype), k), 2), torch.cat((past[1].to(v.dtype), v), 2)
        if visible is not None and visible.dtype == torch.int32:
            attended = varlen(q, k, v, visible)
        else:
            with torch.autocast("cpu", enabled=False) if x.is_cpu else contextlib.nullcontext():
                attended = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=visible, is_causal=visible is None, enable_gqa=self.kv_heads != self.heads
                )
        return self.out(attended.transpose(1, 2).reshape(batch, length, width).to(products)), (k, v)


class FeedForward(nn.Module):
    """SwiGLU: one projection gates the other; or a plain layer of GELU."""

    def __init__(self, d_model: int, d_inner: int, gated: bool):
        super().__init__()
        self.gate = nn.Linear(d_model, d_inner, bias=False) if gated else None
        self.up = nn.Linear(d_model, d_inner, bias=False)
        self.out = nn.Linear(d_inner, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        if self.gate is None:
            return self.out(F.gelu(self.up(x)))
        gate, up = project(x, self.gate, self.up)
        return self.out(F.silu(gate) * up)


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy and added back."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention_norm = Norm(config.d_model, eps=EPS)
        self.attention = Attention(config)
        self.feedforward_norm = Norm(config.d_model, eps=EPS)
        self.feedforward = FeedForward(config.d_model, config.d_inner, config.activation == "swiglu")
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], visible: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(B, T, d) to (B, T, d), with the keys and values for the state."""
        attended, kept = self.attention(self.attention_norm(x), turn, visible, past)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feedforward(self.feedforward_norm(x))), kept


class Transformer(LanguageModel):
    """The state is (tokens read so far, keys and values of the last ``context`` - 1 of them for each block, documents).

    ``documents`` (B, ``context`` - 1) numbers the documents of the kept positions; None without ``document_mask``.
    Generation beyond ``context`` slides: each token sees the ``context`` - 1 before it. ``context`` may be set anew at
    any time. ``eos``: with ``document_mask``, the token that begins a document as input.
    """

    context: int
    frequencies: Tensor

    def __init__(self, config: TransformerConfig, vocab_size: int, context: int, eos: int):
        super().__init__(vocab_size, config.d_model)
        self.context = context
        self.eos = eos if config.document_mask else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = Norm(config.d_model, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("frequencies", frequencies(config), persistent=False)
        self.through = self.run_blocks  # what training goes through: `train.device` may put a compiled one here
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deviation = 0.02 / (2 * config.layers) ** 0.5 if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=deviation)

    def run_blocks(self, x: Tensor, turn: tuple[Tensor, Tensor], visible: Tensor | None) -> Tensor:
        """All blocks and the last norm, (B, T, d) to (B, T, d), with no past."""
        x = self.dropout(x)
        for block in self.blocks:
            x, _ = block(x, turn, visible, None)
        return self.norm(x)

    def trunk(self, tokens: Tensor, state: State, keep_state: bool) -> tuple[Tensor, State]:
        """See `LanguageModel.trunk`."""
        start, pasts, past_documents = state if state is not None else (0, None, None)
        stop = start + tokens.shape[1]
        positions = torch.arange(start, stop, device=tokens.device).float()
        angles = torch.outer(positions, self.frequencies)[:, None]
        turn = torch.cat((angles.cos(), angles.cos()), -1), torch.cat((-angles.sin(), angles.sin()), -1)
        documents = None
        if self.eos is not None:
            documents = (tokens == self.eos).cumsum(1)
            if past_documents is not None and past_documents.shape[1]:
                documents = torch.cat((past_documents, documents + past_documents[:, -1:]), 1)
        x = self.embedding(tokens)
        if pasts is None and not keep_state:
            through = self.through if self.training else self.run_blocks
            return through(x.to(_between_blocks(x)), turn, self._visible(tokens, documents, 0)), None
        n_past = pasts[0][0].shape[2] if pasts is not None else 0
        visible = self._visible(tokens, documents, n_past)
        x, kept = self.dropout(x), []
        for block, past in zip(self.blocks, pasts or [None] * len(self.blocks), strict=True):
            x, pair = block(x, turn, visible, past)
            if keep_state:
                kept.append(tuple(part[:, :, max(part.shape[2] - self.context + 1, 0) :].detach() for part in pair))
        if not keep_state:
            return self.norm(x), None
        kept_documents = None if documents is None else documents[:, max(documents.shape[1] - self.context + 1, 0) :]
        return self.norm(x), (stop, kept, kept_documents)

    def _visible(self, tokens: Tensor, documents: Tensor | None, n_past: int) -> Tensor | None:
        """What `Attention` is told; ``documents`` (B, n_past + T)."""
        if documents is None and not n_past:
            return None
        device, length = tokens.device, tokens.shape[1]
        if documents is not None and not n_past and _can_varlen(device, self.embedding.weight.dtype):
            return boundaries(documents)
        mask = torch.ones(length, n_past + length, dtype=torch.bool, device=device).tril(n_past)
        if documents is not None:
            mask = mask & (documents[:, None, n_past:, None] == documents[:, None, None, :])
        return mask


def _between_blocks(x: Tensor) -> torch.dtype:
    """What flows from block to block: on a GPU bfloat16 where products are, as half the time there is moving bytes."""
    if x.is_cuda and torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16:
        return torch.bfloat16
    return x.dtype


def _can_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention runs in half precision on a GPU that the kernel knows (Ampere and later)."""
    if device.type != "cuda" or not _VARLEN or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    used = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else dtype
    return used in (torch.bfloat16, torch.float16)
