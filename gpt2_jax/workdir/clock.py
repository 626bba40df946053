"""Where the seconds of a run go, phase by phase."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import jax
import jax.monitoring

# Tracing, lowering and XLA's own time; events of jax._src.dispatch.
_COMPILE_EVENTS = "/jax/core/compile/"

_CACHE_EVENTS = "/jax/compilation_cache/cache_"  # then "hits" or "misses"

BESIDE = "compile"


class Clock:
    """Wall seconds by phase; what compiles inside a phase counts as `compile` too.

    But for what a thread named `BESIDE` compiles: nobody waits for it. `began`: when,
    in seconds since 1970.
    """

    def __init__(self) -> None:
        self._started, self.began = time.perf_counter(), time.time()
        names = ("load", "trunk", "compile", "train", "evaluate")
        self._phases: dict[str, float] = dict.fromkeys(names, 0.0)
        self._open: list[str] = []
        self._counting = threading.Lock()
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
            beside = threading.current_thread().name == BESIDE
            if event.startswith(_COMPILE_EVENTS) and not beside:
                # jax measures with a clock that may be set, also backwards
                most = time.perf_counter() - self._started
                self._phases["compile"] += min(max(duration_secs, 0.0), most)

        def count(event: str, **_: str | int) -> None:
            if event.startswith(_CACHE_EVENTS):
                with self._counting:
                    self.cache[event.removeprefix(_CACHE_EVENTS)] += 1

        jax.monitoring.register_event_duration_secs_listener(listen)
        jax.monitoring.register_event_listener(count)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)
            jax.monitoring.unregister_event_listener(count)

    @property
    def compiling_seconds(self) -> float:
        """What the compiler took until now; where programs nest, some of it twice."""
        return self._phases["compile"]

    @property
    def seconds(self) -> dict[str, float]:
        total = time.perf_counter() - self._started
        return {k: round(v, 3) for k, v in (self._phases | {"total": total}).items()}
