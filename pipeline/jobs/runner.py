"""Run a Beam pipeline: in this process, on the cores of this machine, or wherever Beam's own options say."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline import progress
from pipeline.errors import CorpusmillError, UsageError, without_query
from pipeline.ledger import Unit
from pipeline.stages import work
from pipeline.storage import Root

logging.disable(logging.WARNING)  # Beam warns at import of Google clients that are not installed and not wanted
import apache_beam as beam  # noqa: E402
import grpc  # noqa: E402
from apache_beam.options.pipeline_options import (  # noqa: E402
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineResult  # noqa: E402

logging.disable(logging.NOTSET)

_LOCAL = "FnApiRunner"
_LISTED = 1000  # units of a list: 1.4 MB
_LONGEST_STAGE = 30 * 24 * 3600  # seconds; Beam gives up a job after the time that a service has for an answer
_ECHOES = ("beam_control_read", "wait_until_finish_read")  # threads of Beam that only repeat what another one met
_WORKER_MODULE = b"apache_beam.runners.worker.sdk_worker_main"


@dataclass(frozen=True)
class Runner:
    """Where pipelines run. ``options`` are Beam's own; without a runner among them it is FnApiRunner.

    FnApiRunner is named because Beam's default first tries to download another runner. ``workers`` processes of this
    machine are its to start; another runner has options of its own for that.
    """

    workers: int = 1
    options: tuple[str, ...] = ()

    @property
    def multi_processing(self) -> bool:
        """Whether worker processes of our own machine do the work."""
        mode = self.beam_options().view_as(DirectOptions).direct_running_mode
        return self.name == _LOCAL and mode == "multi_processing"

    @property
    def name(self) -> str:
        """The runner, as Beam's options name it."""
        return PipelineOptions(list(self.options)).view_as(StandardOptions).runner or _LOCAL

    @property
    def job_service(self) -> str:
        """The address of the job service that is to run the pipelines; "" where there is none."""
        endpoint = self.beam_options().view_as(PortableOptions).job_endpoint or ""
        return "" if endpoint == "embed" else endpoint

    @property
    def driver(self) -> int | None:
        """The process that workers must not outlive; None where they are not ours."""
        return os.getpid() if self.multi_processing else None

    def beam_options(self) -> PipelineOptions:
        """Beam's options."""
        given = [*self.options, f"--runner={self.name}"]
        if self.name == _LOCAL:
            given.append("--default_sdk_harness_log_level=WARNING")
            if self.workers > 1:
                given += ["--direct_running_mode=multi_processing", f"--direct_num_workers={self.workers}"]
        elif self.workers > 1:
            raise UsageError(
                f"--workers is for this machine; {self.name} has options of its own", mend="give them after --"
            )
        elif not any(option.startswith(("--job_server_timeout", "--job-server-timeout")) for option in self.options):
            given.append(f"--job_server_timeout={_LONGEST_STAGE}")
        return PipelineOptions(given)


class WorkerDied(CorpusmillError):
    """A worker process ended in the middle of its work (killed, or out of memory)."""


class RunnerFailed(CorpusmillError):
    """A runner that is not ours refused the pipeline, failed in it, or could not be reached."""


class FollowsDriver(beam.DoFn):
    """Work on a corpus that ends when the driver does: a killed driver leaves no orphan."""

    def __init__(self, root_url: str, driver: int | None):
        self.root_url = root_url
        self.driver = driver

    def setup(self) -> None:
        """Watch the driver from a worker process of its machine."""
        if self.driver is not None and self.driver != os.getpid():
            logging.getLogger().setLevel(logging.WARNING)
            threading.Thread(target=_follow, args=(self.driver,), daemon=True, name="follow_driver").start()


class ProcessUnit(FollowsDriver):
    """Process one unit; yields what went wrong, or nothing."""

    def process(self, unit: Unit) -> Iterator[str]:
        """One unit."""
        if cause := work.process(self.root_url, unit):
            yield f"{unit.name}: {cause}"


def _follow(driver: int) -> None:
    while _alive(driver):
        time.sleep(0.5)
    os._exit(1)


def run(build: Callable[[Any], Any], units: list[Unit], runner: Runner, root_url: str) -> None:
    """Run one pipeline over units of a stage to its end; ``build`` gets them as a collection, spread over the workers.

    The graph names lists of units that lie in the corpus: runners bound its size, some at 10 MB. Beam waits for ever
    for a worker process that was killed; here the wait is watched, the other workers are stopped and WorkerDied is
    raised. RunnerFailed says what became of a runner that is not ours.
    """
    stage = units[0].stage
    if runner.job_service:
        _check_job_service(runner.job_service, stage)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # a worker that ends shows there as an error of every channel
    outcome: list[BaseException | None] = []
    changed = threading.Event()

    def work_thread() -> None:
        try:
            pipeline = beam.Pipeline(options=runner.beam_options())
            try:
                with pipeline:
                    read = partial(_read_list, root_url, signed)
                    spread = pipeline | beam.Create(lists) | "Units" >> beam.FlatMap(read) | beam.Reshuffle()
                    build(spread)
            except KeyboardInterrupt:
                _cancel(getattr(pipeline, "result", None))
                raise
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001  carried to the calling thread and raised there
            outcome.append(error)
        changed.set()

    with _listed(Root(root_url), units) as (lists, signed), _told_of_death(changed) as deaths:
        if not runner.multi_processing:
            work_thread()
        else:
            threading.Thread(target=work_thread, daemon=True, name="beam_pipeline").start()
            try:
                changed.wait()
                if deaths and not outcome:
                    interrupted = _interrupted(work.running(Root(root_url), stage))
                    _kill_workers()
                    raise WorkerDied(
                        f"{deaths[0]} in stage {stage}, {interrupted}",
                        mend="run the same command again: it goes on from there",
                    )
            except KeyboardInterrupt:
                _kill_workers()
                raise
        error = outcome[0]
        if isinstance(error, Exception) and runner.name != _LOCAL:
            raise _failure(runner, stage, error) from error
        if error is not None:
            raise error


def _cancel(result: PipelineResult | None) -> None:
    """Cancel a job of an interrupted build: else a cluster works on for no one."""
    if result is not None:
        try:
            result.cancel()
        except Exception as error:  # noqa: BLE001  the interrupt is what is told; the job may be over, or its service
            progress.say(f"the job could not be cancelled: {type(error).__name__}: {error}")


@contextlib.contextmanager
def _listed(root: Root, units: list[Unit]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Write the units where workers find them, for as long as a job runs; gives the names of the lists, and apart from
    them the paths, by unit, whose query may be a signature.

    The names are new each time: what is left of a job that no one waits for cannot read those of another.
    """
    run = os.urandom(4).hex()
    names, signed = [], {}
    for first in range(0, len(units), _LISTED):
        rows = []
        for unit in units[first : first + _LISTED]:
            spec = unit.spec
            if (path := spec.get("path", "")) != without_query(path):
                signed[unit.name] = path
                spec = {**spec, "path": without_query(path)}
            rows.append((unit.stage, unit.name, unit.key, unit.bytes, spec))
        names.append(f"{work.RUNNING}/lists/{units[0].stage}/{run}-{first // _LISTED:06}.json")
        root.write_json(names[-1], rows)
    try:
        yield names, signed
    finally:
        for name in names:
            with contextlib.suppress(CorpusmillError, OSError):  # swept by the next build
                root.remove(name)


def _read_list(root_url: str, signed: dict[str, str], name: str) -> Iterator[Unit]:
    root = Root(root_url)
    rows = root.read_json(name)
    if rows is None:
        raise CorpusmillError("a list of units is gone while its job runs", file=root.path(name), mend="build again")
    for row in rows:
        unit = Unit(*row)
        yield replace(unit, spec={**unit.spec, "path": signed[unit.name]}) if unit.name in signed else unit


def _check_job_service(address: str, stage: str) -> None:
    """Raise RunnerFailed where no job service answers: Beam itself would wait five minutes for it."""
    states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
    with grpc.insecure_channel(address) as channel:
        channel.subscribe(states.put, try_to_connect=True)
        while (state := states.get()) is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                raise RunnerFailed(
                    f"no job service answers here; stage {stage} was not started",
                    file=address,
                    mend="start the job service, or correct --job_endpoint; then the same command",
                )


def _failure(runner: Runner, stage: str, error: Exception) -> RunnerFailed:
    """What a runner that is not ours raised, in words."""
    cause = f"{runner.name} ended stage {stage} with {type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        cause = f"the job service failed in stage {stage} ({error.code().name}: {error.details()})"
    mend = "see that the runner is up and what it logged; the same command goes on from what is committed"
    return RunnerFailed(cause, file=runner.job_service, mend=mend)


@contextlib.contextmanager
def _told_of_death(changed: threading.Event) -> Iterator[list[str]]:
    """Learn of worker processes that end badly: Beam's thread for each raises, and no one else listens."""
    deaths: list[str] = []
    previous = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        thread = args.thread.name if args.thread is not None else ""
        if thread == "run_worker":
            deaths.append(str(args.exc_value))
            changed.set()
        elif not deaths and thread not in _ECHOES:
            previous(args)

    threading.excepthook = hook
    yield deaths
    if not deaths:  # nor after an error: the threads that repeat it may come later
        threading.excepthook = previous


def _interrupted(claims: list[dict[str, Any]]) -> str:
    """What the worker did that is gone: the units, or what they tell each other."""
    units = ", ".join(sorted(claim["unit"] for claim in claims if not _alive(claim["pid"])))
    return f"while processing {units}" if units else "between units"


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _kill_workers() -> None:
    """Kill Beam's worker processes among our descendants (they run under a shell that Beam starts)."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rsplit(")", 1)[1].split()[1])
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != os.getpid():
            ancestor = parents[ancestor]
        if ancestor == os.getpid() and pid != ancestor:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if _WORKER_MODULE in file.read():
                    os.kill(pid, signal.SIGKILL)


def works() -> str:
    """What keeps Beam from running a pipeline in this process, or ""."""
    try:
        with beam.Pipeline(options=Runner().beam_options()) as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Reshuffle()
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        return f"{type(error).__name__}: {error}"
    return ""


def map_units(root_url: str, units: list[Unit], runner: Runner) -> None:
    """Process ``units``, each on its own: the job of every stage that exchanges nothing."""

    def build(spread: Any) -> None:
        _ = spread | "Process" >> beam.ParDo(ProcessUnit(root_url, runner.driver))

    run(build, units, runner, root_url)
