"""Train the models of the corpus's TOML on its shards, then write the report, which is linked from its task.

New shards start it, each corpus that has some being trained; by hand it trains what its parameters or the Variables
name. A training run that is killed goes on from its last checkpoint when the task is retried or cleared.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import corpusmill_operator as mill
from airflow.sdk import DAG, Variable, task, task_group

with DAG(
    dag_id="train_model",
    description="From shards to trained models and the report",
    doc_md=f"{__doc__}\n{mill.__doc__}",
    tags=["corpusmill"],
    schedule=[mill.SHARDS],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params=mill.corpus_params(),
) as dag:

    @task
    def corpora(params: dict[str, Any] | None = None, triggering_asset_events: Any = None) -> list[dict[str, str]]:
        """The corpora to train on: events of several builds may have become one run."""
        given = params or {}
        found = {
            (event.extra["config"], event.extra["corpus"])
            for events in (triggering_asset_events or {}).values()
            for event in events
            if "config" in event.extra
        }
        if given.get("config") or given.get("corpus") or not found:
            config = given.get("config") or Variable.get("corpusmill_config")
            found = {(config, given.get("corpus") or Variable.get("corpusmill_corpus", default=""))}
        return [
            {"config": config, "corpus": f"--corpus={corpus}" if corpus else ""} for config, corpus in sorted(found)
        ]

    @task_group
    def model(config: str, corpus: str) -> None:
        """One corpus."""
        train, report = (
            mill.StageOperator(task_id=stage, stage=stage, config=config, corpus=corpus)
            for stage in ("train", "report")
        )
        train >> report

    model.expand_kwargs(corpora())
