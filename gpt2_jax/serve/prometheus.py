"""What the service counts, for Prometheus."""

from __future__ import annotations

from typing import Any

import jax.monitoring
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gpt2_jax.serve.batcher import SIZES

_COMPILED = "/jax/core/compile/backend_compile_duration"

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counts of one service; `registry` is what `/metrics` prints."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "gpt2_jax_requests",
            "Requests answered",
            ["path", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "gpt2_jax_request_seconds",
            "From the head of a request to its answer",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_texts = Histogram(
            "gpt2_jax_batch_texts", "Texts of a batch", buckets=SIZES, registry=registry
        )
        self.queue_seconds = Histogram(
            "gpt2_jax_queue_seconds",
            "From the arrival of a text to its batch",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_texts = Gauge(
            "gpt2_jax_queue_texts", "Texts that wait for the device", registry=registry
        )
        self.compilations = Counter(
            "gpt2_jax_compilations",
            "Programs compiled; after the warm-up there should be no more",
            registry=registry,
        )

    def observe_batch(self, waits: list[float]) -> None:
        """Count a batch, and the seconds that each of its texts waited."""
        self.batch_texts.observe(len(waits))
        for seconds in waits:
            self.queue_seconds.observe(seconds)

    def watch_compilations(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def unwatch_compilations(self) -> None:
        jax.monitoring.unregister_event_duration_listener(self._on_duration)

    def _on_duration(self, event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILED:
            self.compilations.inc()
