"""The corpusmill command as a task: what the DAGs of this folder share.

Set these Variables of Airflow once; they are read when a task runs. A run's parameters take their place.

| Variable | | |
|---|---|---|
| `corpusmill_config` | absolute path of the corpus's TOML, `[fetch]` in it | required, here or as a parameter |
| `corpusmill_command` | path of the `corpusmill` command, which lives in an environment of its own | `corpusmill` |
| `corpusmill_corpus` | folder or URL of the corpus | the TOML's root |
| `corpusmill_workers` | worker processes, or `auto` | 1 |
| `corpusmill_wikis` | the wikis to fetch, with commas between: `zhwiki,jawiki` | required for fetch_wikipedia |
| `corpusmill_reports` | address under which the corpus is served, for the link to the report | a `file://` link |

Pools (`airflow pools import dags/pools.json`): `corpusmill_wikimedia`, the 3 connections that Wikimedia allows an
address, over all DAGs and runs; `corpusmill_corpus`, 1: who holds the corpus, so that a build waits for a training
run instead of being refused.

Every command is idempotent: a task that is retried or cleared does only what is missing. A killed run on an object
store leaves its lock: `corpusmill unlock URL`, then clear the task.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, BaseSensorOperator, Param, PokeReturnValue, Variable
from airflow.sdk.exceptions import AirflowFailException

DUMPS = Asset("corpusmill_dumps")  # new dumps lie where [fetch] says
SHARDS = Asset("corpusmill_shards")  # a corpus has new shards
WIKIMEDIA = "corpusmill_wikimedia"
CORPUS = "corpusmill_corpus"

DONE = 0
WRONG = 2  # usage or configuration
DAMAGED = 3  # everything is built, but an input file is damaged
NOT_YET = 4  # not published yet

# Arguments are templates, rendered once; each is one argument of the command whatever it holds: no shell reads it.
CONFIG = "{{ params.config or var.value.corpusmill_config }}"
WORKERS = "--workers={{ params.workers or var.value.get('corpusmill_workers', '1') }}"
_CORPUS = "params.corpus or var.value.get('corpusmill_corpus', '')"
IN_CORPUS = "{{ '--corpus=' ~ (" + _CORPUS + ") if " + _CORPUS + " else '' }}"


def instead(variable: str, what: str, pattern: str) -> Param:
    """A parameter of one run that takes the place of a Variable."""
    return Param(None, type=["null", "string"], pattern=pattern, description=f"{what}; empty: Variable {variable}")


def config_param() -> Param:
    """The parameter ``config``."""
    return instead("corpusmill_config", "absolute path of the corpus's TOML", r"^/.+\.toml$")


def corpus_params() -> dict[str, Param]:
    """The parameters that say what is built, where, and with how many workers."""
    return {
        "config": config_param(),
        "corpus": instead("corpusmill_corpus", "folder or URL of the corpus", r"^(/|[a-z][a-z0-9+.-]*://)."),
        "workers": instead("corpusmill_workers", "worker processes, or auto", r"^(auto|[1-9][0-9]{0,3})$"),
    }


class _Command:
    """One run of the command: what it says on stderr goes to the task's log line by line, as it is said."""

    log: Any
    _process: subprocess.Popen[bytes] | None = None

    def run_command(self, arguments: Sequence[str], accept: Sequence[int]) -> tuple[int, dict[str, Any]]:
        """The exit status and what ``--json`` printed; an exception where the status is not one to ``accept``.

        A wrong configuration is not tried again: that would not mend it.
        """
        command = [Variable.get("corpusmill_command", default="corpusmill"), *filter(None, arguments), "--json"]
        self.log.info("Running %s", command)
        said = ""
        with tempfile.TemporaryFile() as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, start_new_session=True)
            assert self._process.stderr is not None
            for line in self._process.stderr:
                text = line.decode(errors="replace").rstrip()
                self.log.info("%s", text)
                said = text if text.startswith("corpusmill: ") else said
            status = self._process.wait()
            out.seek(0)
            printed = out.read()
        if status not in accept:
            failure = AirflowFailException if status == WRONG else RuntimeError
            raise failure(f"exit status {status}; {said}" if said else f"exit status {status}")
        return status, json.loads(printed) if printed.strip() else {}

    def on_kill(self) -> None:
        """End the command and its workers."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)


class Report(BaseOperatorLink):
    """The corpus's report, linked from the task."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """The address of report.html, or nothing from a task that made none."""
        corpus = getattr(operator, "reported", "")
        if not corpus:
            return ""
        base = Variable.get("corpusmill_reports", default="").rstrip("/")
        if not base:
            base = corpus if "://" in corpus else PurePosixPath(corpus).as_uri()
        return f"{base}/report.html"


class CorpusmillOperator(_Command, BaseOperator):
    """Run ``corpusmill ARGUMENTS --json``; returns the values of ``returns`` from what it prints."""

    template_fields: Sequence[str] = ("arguments",)

    def __init__(self, *, arguments: Sequence[str], returns: Sequence[str], **more: Any):
        super().__init__(**more)
        self.arguments = arguments
        self.returns = returns

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the command."""
        _, result = self.run_command(self.arguments, (DONE,))
        return {name: result[name] for name in self.returns}


class StageOperator(_Command, BaseOperator):
    """Build a corpus up to one stage. A damaged dump does not fail it: all else is built, the faults are returned."""

    template_fields: Sequence[str] = ("config", "corpus", "workers")
    operator_extra_links = (Report(),)

    def __init__(
        self, *, stage: str, config: str = CONFIG, corpus: str = IN_CORPUS, workers: str = WORKERS, **more: Any
    ):
        super().__init__(pool=CORPUS, **more)
        self.stage = stage
        self.config = config
        self.corpus = corpus
        self.workers = workers

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the command; the shards' asset learns which corpus has them."""
        arguments = ["build", self.config, "--until", self.stage, self.workers, self.corpus]
        _, result = self.run_command(arguments, (DONE, DAMAGED))
        if "stopped" in result:
            raise RuntimeError(f"{result['stopped']}; a retry goes on from there")
        for stage, what in result["stages"].items():
            self.log.info("%-12s%s", stage, what)
        for unit, fault in result["faults"].items():
            self.log.warning("FAULT in %s: %s", unit, fault)
        self.reported = result["corpus"] if self.stage == "report" else ""
        made = {"config": self.config, "corpus": result["corpus"]}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = made
        return {**made, "faults": result["faults"]}


class DumpSensor(_Command, BaseSensorOperator):
    """Wait until a dump is complete; returns its date, so that ``latest`` is looked up once."""

    template_fields: Sequence[str] = ("arguments",)

    def __init__(self, *, arguments: Sequence[str], **more: Any):
        super().__init__(**more)
        self.arguments = arguments

    def poke(self, context: Any) -> PokeReturnValue:
        """Ask the publisher."""
        status, dump = self.run_command([*self.arguments, "--dry-run"], (DONE, NOT_YET))
        return PokeReturnValue(status == DONE, dump.get("date"))
