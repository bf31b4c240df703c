"""Write the report and the data card of a corpus, from its ledger."""

from __future__ import annotations

import json

from pipeline import __version__, progress
from pipeline.config import Config
from pipeline.ledger import Counts, Row, Unit, digest
from pipeline.report.card import card
from pipeline.report.croissant import croissant
from pipeline.report.funnel import funnel
from pipeline.report.report import page
from pipeline.stages.parts import write_file
from pipeline.storage import Root

STAGE = "report"
VERSION = 3
FOLDERS: tuple[str, ...] = ()
README, CARD = "README.md", "ledger/card.md"


def plan(config: Config, config_digest: str, stages: dict[str, str]) -> Unit:
    """The one unit: it depends on the configuration and on all stages."""
    spec = {"croissant": config.report.croissant}
    return Unit(STAGE, "report", digest([STAGE, VERSION, __version__, config_digest, stages]), 1, spec)


def process(root: Root, unit: Unit) -> Row:
    """Commit report.html and the data card.

    README.md is for the user to edit, so it is a copy of the card in the ledger, and is written again only while it
    is what was written before.
    """
    facts = funnel(root)
    outputs = [write_file(root, "report.html", page(facts).encode())]
    if unit.spec["croissant"]:
        described = json.dumps(croissant(root, facts), indent=1, ensure_ascii=False).encode()
        outputs.append(write_file(root, "croissant.json", described))
    else:
        root.remove("croissant.json")
    new = card(facts).encode()
    written = [_content(root, CARD), new]  # a run may have been killed between the two files
    if _content(root, README) in (None, *written):
        root.write(README, new)
    else:
        progress.say(f"report: {README} was edited and stays as it is; the new card is {root.path(CARD)}")
    outputs.append(write_file(root, CARD, new))
    return Row(STAGE, unit.name, unit.key, outputs, Counts(), code=f"{STAGE}.{VERSION}")


def _content(root: Root, name: str) -> bytes | None:
    try:
        return root.read(name)
    except FileNotFoundError:
        return None
