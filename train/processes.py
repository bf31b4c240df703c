"""Several processes that train one run together: the first is the caller, the others follow it.

Each holds the whole model and takes its rows of every batch; gradients are summed. What all must know alike (the loss,
whether to stop) is exchanged once a step.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.errors import CorpusmillError

_PATIENCE = timedelta(hours=6)  # the others wait while the first evaluates


class Group:
    """This process among those of a run. Alone, nothing is exchanged."""

    def __init__(self, number: int = 0, count: int = 1):
        self.number, self.count = number, count

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in order; nested containers of tensors may be given."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as it is called in training: with its gradients averaged over the processes."""
        if self.count == 1:
            return model
        return nn.parallel.DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None, gradient_as_bucket_view=True
        )


@contextlib.contextmanager
def together(count: int, device_type: str, follow: Callable[..., None], *arguments: Any) -> Iterator[Group]:
    """Run the block as process 0 of ``count``, while ``follow(group, *arguments)`` runs in the others.

    ``follow`` must be importable, its arguments picklable. What it raises is raised here, in place of what the block
    raises when a partner is lost. The others end with the block.
    """
    if count == 1:
        yield Group()
        return
    threads = torch.get_num_threads()
    store = dist.TCPStore("127.0.0.1", 0, count, is_master=True, wait_for_workers=False, timeout=_PATIENCE)
    context = torch.multiprocessing.get_context("spawn")
    faults = context.SimpleQueue()
    share = max(1, threads // count)
    others = [
        context.Process(
            target=_follow,
            args=(number, count, store.port, device_type, share, faults, follow, arguments),
            daemon=True,
        )
        for number in range(1, count)
    ]
    for process in others:
        process.start()
    torch.set_num_threads(share)
    try:
        _join_beside(others, store, device_type, count)
        yield Group(0, count)
    except RuntimeError as error:  # torch's own: a partner is gone
        for process in others:
            process.join(10)
        if ended := _ended(others, killed=True):
            raise ended from error
        if not faults.empty():
            cause, file, mend = faults.get()
            raise CorpusmillError(cause, file=file, mend=mend) from error
        if ended := _ended(others):
            raise ended from error
        raise
    finally:
        for process in others:
            process.kill()
            process.join()
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(threads)


def _join_beside(others: list[Any], store: dist.Store, device_type: str, count: int) -> None:
    """Join as process 0. Torch waits for a partner that has died, so a thread does that, and we look after them."""
    failed: list[RuntimeError] = []

    def join() -> None:
        try:
            _join(store, device_type, 0, count)
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=join, name="join", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        if thread.is_alive() and any(process.exitcode is not None for process in others):
            raise RuntimeError("a partner ended before it had joined")
    if failed:
        raise failed[0]
    if device_type == "cuda":
        torch.cuda.set_device(0)  # is of a thread


def _ended(others: list[Any], killed: bool = False) -> CorpusmillError | None:
    """What is said of the first process that ended badly, or with ``killed`` by a signal; None where there is none."""
    for number, process in enumerate(others, 1):
        if process.exitcode is not None and (process.exitcode < 0 or (process.exitcode and not killed)):
            return CorpusmillError(
                f"process {number} of the run ended with {process.exitcode}",
                mend="see what it said above and whether memory sufficed; the same command resumes from the checkpoint",
            )
    return None


def _join(store: dist.Store, device_type: str, number: int, count: int) -> None:
    if device_type == "cuda":
        torch.cuda.set_device(number)
    backend = "nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_PATIENCE)


def _follow(
    number: int,
    count: int,
    port: int,
    device_type: str,
    threads: int,
    faults: Any,
    follow: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    try:
        store = dist.TCPStore("127.0.0.1", port, count, is_master=False, timeout=_PATIENCE)
        _join(store, device_type, number, count)
        follow(Group(number, count), *arguments)
    except CorpusmillError as error:
        faults.put((error.cause, error.file, error.mend))
    except RuntimeError as error:
        if os.getppid() != 1:  # else the first process was killed, and nobody is left to tell
            faults.put((f"process {number} of the run failed: {error}", "", ""))
