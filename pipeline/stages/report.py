"""Write the report and the data card of a corpus, from its ledger."""

from __future__ import annotations

from pipeline import __version__
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.report.card import card
from pipeline.report.funnel import funnel
from pipeline.report.report import page
from pipeline.stages.parts import write_file
from pipeline.storage import Root

STAGE = "report"
VERSION = 1
FOLDERS: tuple[str, ...] = ()


def plan(config_digest: str, stages: dict[str, str]) -> Unit:
    """The one unit: it depends on the configuration and on all stages."""
    return Unit(STAGE, "report", digest([STAGE, VERSION, __version__, config_digest, stages]), 1, {})


def process(root: Root, unit: Unit) -> Row:
    """Commit report.html and README.md."""
    facts = funnel(root)
    outputs = [
        write_file(root, "report.html", page(facts).encode()),
        write_file(root, "README.md", card(facts).encode()),
    ]
    return Row(STAGE, unit.name, unit.key, outputs, Counts(), code=f"{STAGE}.{VERSION}")
