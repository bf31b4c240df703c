"""Cross-entropy of a linear output layer without ever holding all its logits.

With a small model and a large vocabulary the output layer is most of the work, and its logits most of the memory.
Here they are made a few rows at a time, turned into a loss and at once into gradients while still in cache, and
forgotten; so do Cut Cross-Entropy (Wijmans et al., 2024) and the Liger kernels (Hsu et al., 2024) on GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from train.batches import IGNORE

_CACHED = 1 << 22  # logits alive at once on a CPU: within its cache
_MEMORY = 80  # bytes of a GPU's memory for each logit alive at once: few large products, 2 or 4 bytes a logit
_TILE = 128  # rows of a block of a GPU's product
_ALIGNED = 64  # a GPU's products are slow where the rows of a matrix do not begin at such multiples

Softmax = Callable[[Tensor, Tensor, Tensor], Tensor]


def softmax_gradient(logits: Tensor, column: Tensor, known: Tensor) -> Tensor:
    """Turn ``logits`` (N, V), in place, into softmax minus one-hot: d loss / d logits. Gives the targets' summed log p.

    ``column`` (N, 1) the targets; ``known`` (N, 1) whether each counts: rows of others become 0. The log of a target is
    that of its softmax in the type of ``logits``, so the gradient is what it is in any case, and the loss as exact as
    that type.
    """
    torch.softmax(logits, -1, out=logits)
    at = torch.arange(len(logits), device=logits.device), column[:, 0]  # scatter_ passes over all of a bfloat16 matrix
    likely = logits[at]
    logits[at] = likely - 1
    if logits.is_cuda:
        logits.masked_fill_(~known, 0)  # to ask which rows would be to wait
    else:
        logits.index_fill_(0, (~known[:, 0]).nonzero()[:, 0], 0)
    return (likely.float().clamp_min(_least(logits.dtype)).log() * known[:, 0]).sum()


def softmax_gradient_to_compile(logits: Tensor, column: Tensor, known: Tensor) -> Tensor:
    """The same in float32 and without scattering, so that a compiler makes two passes over the logits of it."""
    p = torch.log_softmax(logits, -1, dtype=torch.float32)
    found = (p.gather(-1, column) * known).sum()
    here = torch.arange(logits.shape[-1], device=logits.device) == column
    logits.copy_((p.exp() - here.to(p.dtype)) * known)
    return found


def _least(dtype: torch.dtype) -> float:
    """The smallest number above 0 of a type, as far as float32 has it: what a softmax rounded to 0 counts as."""
    about = torch.finfo(dtype)
    return max(about.tiny * about.eps, torch.finfo(torch.float32).tiny)


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, softmax: Softmax = softmax_gradient
) -> Tensor:
    """Summed cross-entropy in nats of ``softmax(hidden @ weight.T)`` against ``targets``.

    ``hidden`` (..., d), ``weight`` (V, d), ``targets`` (...) int64; targets equal to ``IGNORE`` count nothing. Products
    are taken in the autocast type where autocast is on, everything else in float32. ``softmax``: `softmax_gradient` or
    a compiled `softmax_gradient_to_compile`.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    return _LinearCrossEntropy.apply(hidden.reshape(-1, hidden.shape[-1]), weight, targets.reshape(-1), dtype, softmax)


@torch.no_grad()
def score(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats (float64), and whether the target is the likeliest piece, both in the shape of ``targets``.

    Zero and false where the target is ``IGNORE``. Inputs as above; everything in float32.
    """
    nats, right = torch.zeros(targets.shape, dtype=torch.float64), torch.zeros(targets.shape, dtype=torch.bool)
    nats, right = nats.to(targets.device), right.to(targets.device)
    known = targets != IGNORE
    costs, hits = [], []
    for rows, wanted in _chunks(hidden[known], targets[known], len(weight)):
        log_p = torch.log_softmax(rows.float() @ weight.T, -1)
        costs.append(-log_p.gather(-1, wanted[:, None])[:, 0].double())
        hits.append(log_p.argmax(-1) == wanted)
    nats[known], right[known] = torch.cat(costs), torch.cat(hits)
    return nats, right


def _chunks(hidden: Tensor, targets: Tensor, vocabulary: int) -> Any:
    if hidden.is_cuda:
        rows = even(len(hidden), torch.cuda.get_device_properties(hidden.device).total_memory // _MEMORY // vocabulary)
    else:
        rows = max(1, _CACHED // vocabulary)
    return zip(hidden.split(rows), targets.split(rows), strict=True)


def _room(count: int, vocabulary: int, like: Tensor) -> Tensor:
    """Memory for logits (count, vocabulary), on a GPU in rows that begin at multiples of ``_ALIGNED``."""
    width = -(-vocabulary // _ALIGNED) * _ALIGNED if like.is_cuda else vocabulary
    return like.new_empty(count, width)[:, :vocabulary]


def even(count: int, most: int) -> int:
    """Rows of each of the fewest chunks of ``count`` rows with at most ``most`` each: alike, and of whole tiles."""
    chunks = -(-count // max(most // _TILE * _TILE, _TILE))
    return max(-(-count // (chunks * _TILE)) * _TILE, 1) if chunks else 1


def _add_product(total: Tensor, left: Tensor, right: Tensor, over: bool) -> None:
    """``total`` += ``left`` @ ``right``, or = where it is to be written ``over``; summed in the type of ``total``."""
    if left.dtype == total.dtype:
        torch.addmm(total, left, right, beta=0 if over else 1, out=total)
    elif total.is_cuda and total.dtype == torch.float32:  # with no product in the narrow type between to be moved again
        torch.addmm(total, left, right, beta=0 if over else 1, out_dtype=total.dtype, out=total)
    elif over:
        total.copy_(left @ right)
    else:
        total += left @ right


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, softmax: Softmax
    ) -> Tensor:
        narrow = weight.to(dtype)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wanted_by = any(ctx.needs_input_grad)
        d_hidden = torch.empty_like(hidden) if wanted_by else None
        d_weight = torch.empty_like(weight) if wanted_by else None
        room, done = None, 0
        for rows, wanted in _chunks(hidden, targets, len(weight)):
            known = (wanted != IGNORE)[:, None]
            rows, column = rows.to(dtype), wanted.clamp_min(0)[:, None]
            if room is None:
                room = _room(len(rows), len(weight), rows)
            p = torch.mm(rows, narrow.T, out=room[: len(rows)])
            loss -= softmax(p, column, known)
            if d_hidden is None or d_weight is None:
                continue
            _add_product(d_hidden[done : done + len(rows)], p, narrow, over=True)
            _add_product(d_weight, p.T, rows, over=not done)
            done += len(rows)
        if wanted_by:
            ctx.save_for_backward(d_hidden, d_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * gradients[0], d_weight * gradients[0], None, None, None
