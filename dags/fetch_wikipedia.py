"""Fetch the month's Wikipedia dumps: wait until each is complete, then download it. Triggers build_corpus.

A scheduled run, and a run of a backfill, is about the dump of its month; a run started by hand about the latest
complete one, or that of its parameter `date`. Past dumps: `airflow backfill create --dag-id fetch_wikipedia
--from-date 2026-08-01 --to-date 2026-10-01`. A wiki whose dump fails does not keep the others from the corpus: the
run then ends as failed, in `complete`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import corpusmill_operator as mill
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, TriggerRule, Variable, task, task_group

with DAG(
    dag_id="fetch_wikipedia",
    description="The month's dumps of the configured wikis, when they are complete",
    doc_md=f"{__doc__}\n{mill.__doc__}",
    tags=["corpusmill"],
    schedule="@monthly",
    start_date=datetime(2001, 1, 1, tzinfo=timezone.utc),  # before the first dump, for backfills
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10), "retry_exponential_backoff": True},
    params={
        "config": mill.config_param(),
        "wikis": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": r"^[a-z][a-z0-9_]*$"},
            description="database names such as zhwiki; empty: Variable corpusmill_wikis",
        ),
        "date": Param(
            None,
            type=["null", "string"],
            pattern=r"^(latest|[0-9]{4}-[0-9]{2}-[0-9]{2})$",
            description="date of the dump; empty: the run's month, or the latest when started by hand",
        ),
        "kind": Param("content", enum=["content", "legacy"], description="which of Wikimedia's two exports"),
    },
) as dag:
    arguments = ["fetch", "wikipedia", "--config", mill.CONFIG, "--kind={{ params.kind }}"]
    one_connection = ["--set", "fetch.wikimedia.connections=1"]  # the pool counts them
    date = "{{ params.date or ('latest' if dag_run.run_type == 'manual' else logical_date.strftime('%Y-%m-01')) }}"

    @task
    def wikis(params: dict[str, Any] | None = None) -> list[str]:
        """The wikis to fetch."""
        named = (params or {}).get("wikis") or Variable.get("corpusmill_wikis").split(",")
        return sorted({wiki.strip() for wiki in named if wiki.strip()})

    @task_group
    def dump(wiki: str) -> Any:
        """One wiki's dump."""
        complete = mill.DumpSensor(
            task_id="wait",
            arguments=[*arguments, *one_connection, "--wiki", wiki, "--date", date],
            mode="reschedule",
            poke_interval=timedelta(hours=3),
            timeout=timedelta(days=25),
            pool=mill.WIKIMEDIA,
        )
        return mill.CorpusmillOperator(
            task_id="fetch",
            arguments=[*arguments, *one_connection, "--wiki", wiki, "--date", complete.output],
            returns=["dump", "folder", "bytes"],
            pool=mill.WIKIMEDIA,
        ).output

    @task(outlets=[mill.DUMPS], trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
    def announce() -> None:
        """Tell build_corpus that there are new dumps, once for all wikis."""

    fetched = dump.expand(wiki=wikis())
    fetched >> [announce(), EmptyOperator(task_id="complete")]
