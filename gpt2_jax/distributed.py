"""Several processes that train as one: how they start, agree, and end."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from gpt2_jax import errors
from gpt2_jax.errors import DeviceError, UserError

# A process that was silent for so long is dead, and ends the others.
HEARTBEAT_SECONDS = 60

_TOLD_BYTES = 1 << 15  # of an error, told to the other processes

_SLAB_BYTES = 64 << 20  # exchanged at once


@dataclasses.dataclass(frozen=True)
class Processes:
    """Where the processes of a run meet; None: what the environment of the cloud says.

    jax finds TPU pods, Slurm and others.
    """

    coordinator: str | None = None  # HOST:PORT of process 0
    num_processes: int | None = None
    process_id: int | None = None
    timeout: float = 300.0  # seconds until all must have come

    def __post_init__(self) -> None:
        given = (self.coordinator, self.num_processes, self.process_id)
        if None in given and given != (None, None, None):
            raise UserError(
                "--coordinator, --num-processes and --process-id go together; a TPU "
                "pod or Slurm needs none of them, but --distributed"
            )


@contextlib.contextmanager
def process_group(processes: Processes) -> Iterator[None]:
    """Join the other processes for the block; must come before any use of a device.

    Raises:
        DeviceError: they did not come in time, or were lost on the way.
    """
    _start(processes)
    try:
        yield
    except BaseException as error:
        if getattr(error, "exit_code", 0) <= 128:
            _leave_the_others(error)
        jax.distributed.shutdown()  # all were asked to stop
        raise
    jax.distributed.shutdown()


def _start(processes: Processes) -> None:
    failures: list[Exception] = []

    def connect() -> None:
        try:
            jax.distributed.initialize(
                processes.coordinator,
                processes.num_processes,
                processes.process_id,
                # When its own time is up, it aborts the process.
                initialization_timeout=int(processes.timeout) + 60,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            )
        except Exception as error:  # of any kind, by the kind of cluster
            failures.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(processes.timeout)
    if thread.is_alive():
        count = processes.num_processes or "the"
        atexit.register(_exit, DeviceError.exit_code)  # the thread cannot be stopped
        raise DeviceError(
            f"not all processes came within {processes.timeout:g} s; start this on all "
            f"{count} hosts, with the same --coordinator and each its --process-id"
        )
    if failures:
        reason = str(failures[0]).splitlines()[0][:200]
        raise DeviceError(
            f"the processes cannot meet ({reason}); give --coordinator HOST:PORT, "
            "--num-processes N and --process-id I on each host"
        ) from failures[0]


def _leave_the_others(error: BaseException) -> NoReturn:
    """Raise `error`, and end without the others, who may never come."""
    lost = isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error)
    if lost:
        reason = str(error).splitlines()[0][:200]
        error = DeviceError(
            f"process {jax.process_index()} lost the others, or its device ({reason}); "
            "start all processes again with --resume"
        )
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    atexit.register(_exit, getattr(error, "exit_code", code))
    raise error


def _exit(code: int) -> None:
    # What jax does at the end of a process waits for the other processes.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def is_first() -> bool:
    """Does this process write the files of the run?"""
    return jax.process_index() == 0


def on_first_process(action: Callable[[], None]) -> None:
    """Call `action` on the first process; the others wait.

    Raises:
        UserError: what it raised, on every process.
    """
    if jax.process_count() == 1:
        return action()
    told = b""
    if is_first():
        try:
            action()
        except UserError as error:
            told = json.dumps([type(error).__name__, str(error)[:2000]]).encode()
    buffer = np.zeros(_TOLD_BYTES, np.uint8)
    buffer[: len(told)] = list(told)
    told = bytes(multihost_utils.broadcast_one_to_all(buffer)).rstrip(b"\0")
    if told:
        name, message = json.loads(told)
        raise getattr(errors, name)(message)


def agree(stop: int | None, limit: int) -> tuple[int | None, int]:
    """Return the signal that came to any process, and the smallest `limit`."""
    signum, limit = process_min(-(stop or 0), limit)
    return -signum or None, limit


def process_min(*numbers: int) -> list[int]:
    """Return the smallest that any process has of each of `numbers`."""
    if jax.process_count() == 1:
        return list(numbers)
    # As bytes: jax would make them int32.
    ours = np.asarray(numbers, np.int64).view(np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(ours))
    return gathered.view(np.int64).min(axis=0).tolist()


def barrier(name: str) -> None:
    """Wait until every process of the run has come to the barrier of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def exchange_rows(out: np.ndarray, counts: list[int]) -> None:
    """Fill `out` with the rows of all processes; each has written its own.

    The rows of a process follow those of the one before it: `counts` of each.
    """
    if len(counts) == 1:
        return
    starts = np.cumsum(counts) - counts
    slab = max(_SLAB_BYTES // max(out[:1].nbytes, 1), 1)
    mine = jax.process_index()
    for begin in range(0, max(counts), slab):
        sent = np.zeros((slab, *out.shape[1:]), out.dtype)
        some = out[
            starts[mine] + begin : starts[mine] + min(begin + slab, counts[mine])
        ]
        sent[: len(some)] = some
        received = np.asarray(multihost_utils.process_allgather(sent))
        for process, start in enumerate(starts):
            size = min(slab, counts[process] - begin)
            if process != mine and size > 0:
                out[start + begin : start + begin + size] = received[process, :size]
