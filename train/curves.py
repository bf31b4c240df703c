"""The learning curves of a run as one SVG: losses, learning rate, gradient norm, speed against tokens."""

from __future__ import annotations

import html
import math
from pathlib import Path

from train.metrics import read

FILE = "curves.svg"
_PANELS = (  # title, columns
    ("loss, nats a token", ("loss", "validation_loss")),
    ("learning rate", ("lr",)),
    ("gradient norm", ("gradient_norm",)),
    ("tokens a second", ("tokens_per_second",)),
)
_COLOURS = ("#3b6ea5", "#c2542d")
_WIDTH, _HEIGHT, _LEFT, _GAP = 420, 150, 64, 56


def draw(metrics: Path, name: str) -> str:
    """The curves of a metrics.csv as the text of an SVG file."""
    rows = read(metrics)
    drawn = []
    for number, (title, columns) in enumerate(_PANELS):
        lines = {
            column: [(float(row["tokens"]), float(row[column])) for row in rows if row.get(column)]
            for column in columns
        }
        x = _LEFT + (number % 2) * (_WIDTH + _LEFT + 24)
        y = 64 + (number // 2) * (_HEIGHT + _GAP)
        drawn.append(f'<g transform="translate({x},{y})">{_panel(title, lines)}</g>')
    width, height = 2 * (_WIDTH + _LEFT) + 48, 64 + 2 * (_HEIGHT + _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="28" font-size="16">{html.escape(name)}</text>{"".join(drawn)}</svg>\n'
    )


def _panel(title: str, lines: dict[str, list[tuple[float, float]]]) -> str:
    points = [point for line in lines.values() for point in line if math.isfinite(point[1])]
    parts = [
        f'<text y="-10" font-weight="bold">{title}</text>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>',
    ]
    if not points:
        return "".join(parts)
    last = max(x for x, _ in points) or 1.0
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or abs(high) or 1.0
    for share in (0.0, 0.5, 1.0):
        y = _HEIGHT * (1 - share)
        parts.append(f'<text x="-6" y="{y + 4:.0f}" text-anchor="end">{low + share * span:.4g}</text>')
        label = f"{share * last:,.0f}" + (" tokens" if share == 1 else "")
        parts.append(f'<text x="{_WIDTH * share:.0f}" y="{_HEIGHT + 16}" text-anchor="middle">{label}</text>')
    for number, (column, line) in enumerate(lines.items()):
        place = [f"{_WIDTH * x / last:.1f},{_HEIGHT * (1 - (y - low) / span):.1f}" for x, y in line if math.isfinite(y)]
        if not place:
            continue
        colour = _COLOURS[number]
        parts.append(f'<polyline points="{" ".join(place)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(place) == 1 or number:  # few points: show each
            parts += [f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.5" fill="{colour}"/>' for p in place]
        if len(lines) > 1:
            parts.append(
                f'<text x="{_WIDTH - 6}" y="{14 + 14 * number}" text-anchor="end" fill="{colour}">'
                f"{column.replace('_', ' ')}</text>"
            )
    return "".join(parts)
