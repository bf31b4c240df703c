import pytest
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from pipeline.errors import UsageError
from pipeline.jobs.runner import Runner, _listed, _read_list, map_units
from pipeline.ledger import Unit
from pipeline.storage import Root
from tests.corpus import TWO_WORKERS, corpusmill, write_config

FORCED = ("--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.mark.parametrize(
    ("runner", "processes"),
    [
        (Runner(), False),
        (Runner(2), True),
        (Runner(2, ("--runner=FnApiRunner",)), True),
        (Runner(1, FORCED), True),
        (Runner(1, ("--runner=PortableRunner", "--job_endpoint=localhost:1")), False),
    ],
)
def test_the_death_guard_is_on_wherever_worker_processes_are_ours(runner, processes):
    assert runner.multi_processing is processes
    assert (runner.driver is not None) is processes


def test_options_after_the_dashes_reach_beam_untouched():
    options = Runner(1, ("--runner=PortableRunner", "--job_endpoint=localhost:1", "--parallelism=7")).beam_options()
    assert options.get_all_options(drop_default=True)["job_endpoint"] == "localhost:1"


@pytest.mark.parametrize(("given", "seconds"), [((), 30 * 24 * 3600), (("--job_server_timeout=7",), 7)])
def test_a_stage_may_take_longer_than_beam_waits_for_an_answer(given, seconds):
    options = Runner(1, ("--runner=PortableRunner", "--job_endpoint=localhost:1", *given)).beam_options()
    assert options.get_all_options()["job_server_timeout"] == seconds


def test_a_signature_of_a_path_does_not_lie_in_the_corpus(tmp_path):
    root = Root(str(tmp_path))
    paths = ["https://host/a.xml.bz2?X-Amz-Signature=SECRET", "https://host/b.xml.bz2", "c.xml.bz2"]
    units = [Unit("ingest", str(n), "key", 1, {"path": path, "start": n}) for n, path in enumerate(paths)]
    with _listed(root, units) as (lists, signed):
        assert b"SECRET" not in b"".join(root.read(name) for name in lists)
        assert [unit for name in lists for unit in _read_list(root.url, signed, name)] == units
    assert not root.sizes("")


class Interrupted(PipelineRunner):
    """A runner that is interrupted, and cannot cancel."""

    def run_pipeline(self, pipeline, options):
        class Result(PipelineResult):
            def wait_until_finish(self, duration=None):
                raise KeyboardInterrupt

            def cancel(self):
                raise NotImplementedError

        return Result(PipelineState.RUNNING)


def test_an_interrupt_stays_one_where_the_job_cannot_be_cancelled(tmp_path, capsys):
    runner = Runner(1, (f"--runner={__name__}.Interrupted",))
    with pytest.raises(KeyboardInterrupt):
        map_units(str(tmp_path), [Unit("ingest", "a", "key", 1, {})], runner)
    assert "the job could not be cancelled: NotImplementedError" in capsys.readouterr().err
    assert not Root(str(tmp_path)).sizes("")


def test_workers_are_for_this_machine():
    with pytest.raises(UsageError, match="PortableRunner has options of its own"):
        Runner(2, ("--runner=PortableRunner",)).beam_options()


@pytest.mark.slow
def test_another_way_to_name_the_runner_builds_the_same(tmp_path):
    config = write_config(tmp_path, {"wiki": ["enwiki-20141107-*", "itwiki-*"]})
    forced = corpusmill("dedup", config, *TWO_WORKERS)
    assert forced.returncode == 0, forced.stderr
    again = corpusmill("dedup", config)
    assert again.stdout.count("up to date") == 2
