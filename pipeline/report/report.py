"""report.html: the funnel, the sources and the models of a corpus on one page that needs nothing else."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template
from typing import Any

from pipeline.report.funnel import runs_table, unknown

_TEMPLATE = Path(__file__).parent / "templates" / "report.html"


def page(facts: dict[str, Any]) -> str:
    """The report as one HTML page."""
    stages = facts["stages"]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=html.escape(facts["config"]["name"]),
        digest=facts["config_digest"],
        funnel=_funnel(stages),
        sources=_table(
            ["source", "files", "read", "kept", "text bytes"],
            [[n, s["files"], s["read"], s["kept"], s["text_bytes"]] for n, s in facts["sources"].items()],
        ),
        faults=_faults(stages.get("ingest", {}).get("faults", {})),
        models=_models(facts),
        files=_table(["file", "bytes", "content"], [[n, f["bytes"], f["content"]] for n, f in facts["files"].items()]),
    )


def _funnel(stages: dict[str, Any]) -> str:
    """Bars of what was read, lost by reason, and kept, to one scale."""
    if "ingest" not in stages:
        return "<p>nothing ingested</p>"
    scale = max(stages["ingest"]["counts"]["read"], 1)
    rows = [_bar("read", stages["ingest"]["counts"]["read"], scale, "kept")]
    for stage in ("ingest", "dedup"):
        if stage in stages:
            counts = stages[stage]["counts"]
            lost = sorted({**counts["dropped"], **counts["errors"]}.items(), key=lambda item: (-item[1], item[0]))
            rows += [_bar(reason, n, scale, "lost") for reason, n in lost]
            rows.append(_bar(f"kept by {stage}", counts["kept"], scale, "kept"))
    return f'<table class="funnel">{"".join(rows)}</table>'


def _bar(label: str, n: int, scale: int, kind: str) -> str:
    width = 100 * n / scale
    return (
        f'<tr class="{kind}"><th>{html.escape(label)}</th><td class="n">{n:,}</td>'
        f'<td class="bar"><div style="width:{width:.2f}%"></div></td></tr>'
    )


def _faults(faults: dict[str, str]) -> str:
    if not faults:
        return "<p>Every input file was read to its end.</p>"
    return (
        "<ul>"
        + "".join(f"<li>{html.escape(unit)}: {html.escape(fault)}</li>" for unit, fault in faults.items())
        + "</ul>"
    )


def _models(facts: dict[str, Any]) -> str:
    """The models' figures, and how much of the split they leave out."""
    table = _table(["validation", "loss", "perplexity", "bits/byte", "parameters"], runs_table(facts))
    said = unknown([run["validation"] for run in facts["runs"].values()])
    return table + "".join(f"<p>{html.escape(line)}</p>" for line in said)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    if not rows:
        return "<p>none</p>"

    def cell(value: Any) -> str:
        if isinstance(value, int):
            return f'<td class="n">{value:,}</td>'
        if isinstance(value, float):
            return f'<td class="n">{value:.3f}</td>'
        return f"<td>{html.escape(str(value))}</td>"

    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows) + "</table>"
