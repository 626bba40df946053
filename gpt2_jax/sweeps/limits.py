"""When a sweep stops, and what it counts on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax.monitoring

from gpt2_jax.workdir.signals import Interrupted


@contextlib.contextmanager
def time_limit(hours: float | None) -> Iterator[Callable[[], bool]]:
    """Send this process SIGTERM once the time is over; yield whether it is."""
    over = threading.Event()

    def end() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(3600 * hours, end) if hours is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield over.is_set
    finally:
        if timer is not None:
            timer.cancel()


@contextlib.contextmanager
def count_programs() -> Iterator[Callable[[], int]]:
    """Count the programs that are compiled in the block."""
    count = 0

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        nonlocal count
        count += event.endswith("/backend_compile_duration")

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield lambda: count
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def stopped_in_words(
    stopped: Interrupted, done: int, total: int, time_is_over: bool
) -> Interrupted:
    why = "the hours of --max-hours are over" if time_is_over else "stopped"
    return Interrupted(
        stopped.exit_code - 128,
        f"{why}: {done} of {total} runs are finished; the same command goes on",
    )
