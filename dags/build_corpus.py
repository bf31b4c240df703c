"""Build a corpus, one task per stage, so that the graph shows the funnel.

Set the Variables below once; a run may replace config, corpus and workers by its parameters.

| Variable | | |
|---|---|---|
| `corpusmill_config` | absolute path of the corpus's TOML | required, here or as a parameter |
| `corpusmill_command` | path of the `corpusmill` command, which lives in an environment of its own | `corpusmill` |
| `corpusmill_corpus` | folder or URL of the corpus | the TOML's root |
| `corpusmill_workers` | worker processes, or `auto` | 1 |

A task that is cleared or retried does only what its stage lacks: what is committed stays. A damaged dump fails the
ingest task by name, and nothing is trained on the rest: mend the dump or take it out of the TOML, then clear the task.
(`corpusmill build` on the command line goes on with what is whole.)
A killed run on an object store leaves its lock: `corpusmill unlock URL`, then clear the task.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param, chain

STAGES = ("ingest", "dedup", "tokenizer", "shards", "train", "report")

# Values reach the shell as environment variables only, so nothing in them is ever parsed, by bash or as a template.
# `@task.bash` could not promise that: it renders what the task returns, values included, as a template again.
ENVIRONMENT = {
    "CORPUSMILL_COMMAND": "{{ var.value.get('corpusmill_command', 'corpusmill') }}",
    "CORPUSMILL_CONFIG": "{{ params.config or var.value.get('corpusmill_config', '') }}",
    "CORPUSMILL_CORPUS": "{{ params.corpus or var.value.get('corpusmill_corpus', '') }}",
    "CORPUSMILL_WORKERS": "{{ params.workers or var.value.get('corpusmill_workers', '1') }}",
}
COMMAND = (
    'exec "$CORPUSMILL_COMMAND" {{ task.task_id }}'
    ' "${CORPUSMILL_CONFIG:?set the Variable corpusmill_config or the parameter config}"'
    ' --workers="$CORPUSMILL_WORKERS" ${CORPUSMILL_CORPUS:+--corpus="$CORPUSMILL_CORPUS"}'
)


def _instead(variable: str, what: str, pattern: str) -> Param:
    """A parameter of one run that takes the place of a Variable."""
    return Param(None, type=["null", "string"], pattern=pattern, description=f"{what}; empty: Variable {variable}")


with DAG(
    dag_id="build_corpus",
    description="From dumps to trained models: ingest, dedup, tokenizer, shards, train, report",
    doc_md=__doc__,
    tags=["corpusmill"],
    schedule="@monthly",  # as dumps come; a month without a new one finds every stage up to date
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,  # a build takes whatever dumps are there: past months would all do the same
    max_active_runs=1,  # one run holds the corpus; a second would be refused
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "config": _instead("corpusmill_config", "absolute path of the corpus's TOML", r"^/.+\.toml$"),
        "corpus": _instead("corpusmill_corpus", "folder or URL of the corpus", r"^(/|[a-z][a-z0-9+.-]*://)."),
        "workers": _instead("corpusmill_workers", "worker processes, or auto", r"^(auto|[1-9][0-9]{0,3})$"),
    },
) as dag:
    chain(
        *(
            BashOperator(
                task_id=stage,
                bash_command=COMMAND,
                env=ENVIRONMENT,
                append_env=True,  # PATH, HOME, the credentials of an object store
                skip_on_exit_code=None,  # whatever is not 0 is a failure
                do_xcom_push=False,
            )
            for stage in STAGES
        )
    )
