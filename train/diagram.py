"""A picture of a model as SVG: its layers from the tokens below to the logits above."""

from __future__ import annotations

import html

from train.config import RecurrentConfig, TransformerConfig

_WIDTH, _HEIGHT, _GAP, _LEFT, _MARGIN = 300, 34, 18, 110, 24
_FILLS = {"embedding": "#d9e6f2", "norm": "#f3ecd2", "attention": "#e3d6ec", "layer": "#d8ead9", "plain": "#ffffff"}


def diagram(config: TransformerConfig | RecurrentConfig, vocab_size: int, context: int) -> str:
    """The text of an SVG file."""
    d = config.d_model
    first = ("embedding", f"embedding {vocab_size:,} × {d}")
    last = [("embedding", f"output = embedding, {d} × {vocab_size:,}"), ("plain", "softmax")]
    if isinstance(config, TransformerConfig):
        heads = f"{config.heads} heads of {d // config.heads}"
        if config.kv_heads and config.kv_heads != config.heads:
            heads += f", {config.kv_heads} key/value"
        notes = ["rotary positions", *["QK-norm"] * config.qk_norm, *["document mask"] * config.document_mask]
        block = [
            ("norm", "RMSNorm"),
            ("attention", f"causal attention: {heads}"),
            ("plain", f"({', '.join(notes)}) + residual"),
            ("norm", "RMSNorm"),
            ("layer", f"{'SwiGLU' if config.activation == 'swiglu' else 'GELU'} {d} → {config.d_inner} → {d}"),
            ("plain", "+ residual"),
        ]
        return _stack([first], block, config.layers, [("norm", "RMSNorm"), *last], f"context {context}")
    notes = [f"dropout {config.dropout:g}"] * bool(config.dropout) + ["variational"] * config.variational
    notes += [f"weight dropout {config.weight_dropout:g}"] * bool(config.weight_dropout)
    block = [("layer", f"{config.kind.upper()} {d} → {d}, state carried")]
    block += [("plain", ", ".join(notes))] if notes else []
    above = []
    if config.attention:
        above = [("attention", f"{config.attention} attention over {config.attention_window} past states")]
    return _stack([first], block, config.layers, [*above, *last], f"{context} tokens a step")


def _stack(
    below: list[tuple[str, str]], block: list[tuple[str, str]], times: int, above: list[tuple[str, str]], note: str
) -> str:
    boxes = [("plain", "tokens"), *below, *block, *above]
    step = _HEIGHT + _GAP
    height = 2 * _MARGIN + len(boxes) * step - _GAP + 20
    middle = _LEFT + _WIDTH / 2
    drawn = []
    for number, (kind, text) in enumerate(boxes):
        y = height - _MARGIN - 20 - number * step - _HEIGHT
        if number:
            drawn.append(f'<path d="M{middle} {y + step} V{y + _HEIGHT + 1}" stroke="#555" marker-end="url(#arrow)"/>')
        place = f'x="{_LEFT}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"'
        drawn.append(
            f'<rect {place} fill="{_FILLS[kind]}" stroke="#777"/>'
            f'<text x="{middle}" y="{y + 22}" text-anchor="middle">{html.escape(text)}</text>'
        )
    bottom = height - _MARGIN - 20 - (1 + len(below)) * step + _GAP / 2
    top = bottom - len(block) * step
    drawn.append(
        f'<rect x="{_LEFT - 14}" y="{top}" width="{_WIDTH + 28}" height="{bottom - top}" rx="10" fill="none" '
        f'stroke="#777" stroke-dasharray="5 4"/><text x="{_LEFT - 24}" y="{(top + bottom) / 2 + 5}" '
        f'text-anchor="end" font-size="16">× {times}</text>'
    )
    drawn.append(f'<text x="{middle}" y="{height - 12}" text-anchor="middle" fill="#555">{html.escape(note)}</text>')
    width = _LEFT + _WIDTH + 40
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13"><defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8z" fill="#555"/></marker></defs>'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n'
    )
