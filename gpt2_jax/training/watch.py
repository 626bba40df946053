"""What a run watches beside its losses: the clock, the compiler and the signals."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import jax
import jax.monitoring

from gpt2_jax import distributed

log = logging.getLogger(__name__)

# Tracing, lowering and XLA's own time; events of jax._src.dispatch.
_COMPILE_EVENTS = "/jax/core/compile/"
_CACHE_EVENTS = "/jax/compilation_cache/cache_"  # then "hits" or "misses"


class Clock:
    """Wall seconds by phase; what compiles inside a phase counts as `compile` too."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        names = ("load", "trunk", "compile", "train", "evaluate")
        self._phases: dict[str, float] = dict.fromkeys(names, 0.0)
        self._open: list[str] = []
        # Programs found in the compilation cache, and compiled and put there.
        self.cache = {"hits": 0, "misses": 0}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to `name`, and to no phase around it."""
        started = time.perf_counter()
        self._open.append(name)
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self._open.pop()
            self._phases[name] += spent
            if self._open:
                self._phases[self._open[-1]] -= spent

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Count the compiler's time, and the cache's hits, while the block runs."""

        def listen(event: str, duration_secs: float, **_: str | int) -> None:
            if event.startswith(_COMPILE_EVENTS):
                # jax measures with a clock that may be set, also backwards
                most = time.perf_counter() - self._started
                self._phases["compile"] += min(max(duration_secs, 0.0), most)

        def count(event: str, **_: str | int) -> None:
            if event.startswith(_CACHE_EVENTS):
                self.cache[event.removeprefix(_CACHE_EVENTS)] += 1

        jax.monitoring.register_event_duration_secs_listener(listen)
        jax.monitoring.register_event_listener(count)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
            jax.monitoring.unregister_event_listener(count)

    @property
    def seconds(self) -> dict[str, float]:
        total = time.perf_counter() - self._started
        return {k: round(v, 3) for k, v in (self._phases | {"total": total}).items()}


class Interrupted(BaseException):
    """The run was asked to stop, and nothing of it is lost."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StopSignals:
    """Turns SIGINT and SIGTERM into a request that is honoured at the next gap.

    Gaps are between the calls of the train step, of the trunk and of evaluations; the
    compiler has none. A second signal has its usual effect.
    """

    def __init__(self, workdir: Path, url: str | None = None) -> None:
        self.requested: int | None = None
        self._agreed: int | None = None  # of several processes
        self._workdir, self._url = workdir, url
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread may set handlers; elsewhere the caller has its own way.
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.requested = signum
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        log.info("stopping at the next gap; a second signal stops at once")

    def meet(self, limit: int) -> int:
        """Agree with the other processes on a signal and on the smallest `limit`."""
        self._agreed, limit = distributed.agree(self.requested, limit)
        return limit

    @property
    def _signum(self) -> int | None:
        # One process that left alone would let the others wait for it for ever.
        return self.requested if jax.process_count() == 1 else self._agreed

    def poll(self) -> None:
        """Leave what can be done again, if a signal came.

        Raises:
            Interrupted: it did; of several processes: to any, before they last met.
        """
        if self._signum is not None:
            self._leave(self._signum, "no step was under way")

    def leave(self, step: int) -> NoReturn:
        """Raise Interrupted, after the state of `step` was saved."""
        assert self._signum is not None
        self._leave(self._signum, f"stopped at step {step}")

    def _leave(self, signum: int, what: str) -> NoReturn:
        config = self._workdir / "config.json"
        how = "nothing was begun"
        if config.exists():
            how = f"gpt2-jax finetune --config {config} --workdir {self._workdir}"
            how = f"go on with: {how} --resume"
            if self._url is not None:
                how = f"{self._url}: go on with the same command and --resume"
        raise Interrupted(signum, f"{what}; {how}")
