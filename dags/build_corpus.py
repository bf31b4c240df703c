"""Build the corpus from the dumps that are here, one task per stage, so that the graph shows the funnel.

New dumps start it. Several may come while one build runs, and their events are then one run; that loses nothing, for
a build looks at the dumps themselves and does what its ledger lacks. So a new dump is added to the corpus: what was
built from the dumps before it stays. Its shards start train_model.

A damaged dump does not stop the stages: what is whole of it is in the corpus. The run then ends as failed, in
`dumps_are_whole`, which names the file: fetch it again or take it out of the TOML, then start the DAG.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import corpusmill_operator as mill
from airflow.sdk import DAG, chain, task

STAGES = ("ingest", "dedup", "tokenizer", "shards")  # train and report are train_model's

with DAG(
    dag_id="build_corpus",
    description="From dumps to shards: ingest, dedup, tokenizer, shards",
    doc_md=f"{__doc__}\n{mill.__doc__}",
    tags=["corpusmill"],
    schedule=[mill.DUMPS],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params=mill.corpus_params(),
) as dag:
    stages = [
        mill.StageOperator(task_id=stage, stage=stage, outlets=[mill.SHARDS] if stage == "shards" else [])
        for stage in STAGES
    ]

    @task(retries=0)
    def dumps_are_whole(built: dict[str, Any]) -> None:
        """Fail by name where a dump is damaged."""
        if built["faults"]:
            raise ValueError("\n".join(f"{unit}: {fault}" for unit, fault in built["faults"].items()))

    chain(*stages, dumps_are_whole(stages[-1].output))
