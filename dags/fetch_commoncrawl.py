"""Fetch files of the newest Common Crawl, or of the one named. Triggers build_corpus.

Crawls appear about once a month and on no fixed day, so it looks every week; what is here already is not fetched again.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import corpusmill_operator as mill
from airflow.sdk import DAG, Param

with DAG(
    dag_id="fetch_commoncrawl",
    description="Files of a Common Crawl",
    doc_md=f"{__doc__}\n{mill.__doc__}",
    tags=["corpusmill"],
    schedule="@weekly",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,  # the newest crawl is the same for every week gone by
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=10), "retry_exponential_backoff": True},
    params={
        "config": mill.config_param(),
        "crawl": Param("latest", type="string", pattern=r"^(latest|CC-MAIN-[0-9]{4}-[0-9]{2})$"),
        "kind": Param("wet", enum=["wet", "warc"], description="wet: texts; warc: pages"),
        "files": Param(
            10, type="integer", minimum=1, maximum=100_000, description="how many, from the list's beginning"
        ),
        "sample": Param(
            None,
            type=["null", "number"],
            exclusiveMinimum=0,
            maximum=1,
            description="a random share instead of `files`",
        ),
        "seed": Param(0, type="integer", minimum=0, description="of the sample"),
    },
) as dag:
    arguments = [
        "fetch",
        "commoncrawl",
        "--config",
        mill.CONFIG,
        "--kind={{ params.kind }}",
        "{{ '--sample=' ~ params.sample if params.sample else '--files=' ~ params.files }}",
        "--seed={{ params.seed }}",
    ]
    crawl = mill.CorpusmillOperator(
        task_id="crawl", arguments=[*arguments, "--crawl={{ params.crawl }}", "--dry-run"], returns=["date", "bytes"]
    )
    mill.CorpusmillOperator(
        task_id="fetch",
        arguments=[*arguments, "--crawl={{ ti.xcom_pull(task_ids='crawl')['date'] }}"],
        returns=["dump", "folder", "bytes"],
        outlets=[mill.DUMPS],
    ).set_upstream(crawl)
