"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.monitoring
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from gpt2_jax.serve.schema import Result
from gpt2_jax.serve.sizes import SIZES

_COMPILED = "/jax/core/compile/backend_compile_duration"

_TOKENS = (1, 4, 16, 64, 256, 1024)
_PROBS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
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
        self.cold_shapes = Gauge(
            "gpt2_jax_cold_shapes",
            "Batch shapes that are still to be compiled; texts may wait for theirs",
            registry=registry,
        )
        self.compilations = Counter(
            "gpt2_jax_compilations",
            "Programs compiled; after the warm-up there should be no more",
            registry=registry,
        )

        # Other shares than those of the first weeks tell that the texts have changed.
        self.labels = Counter(
            "gpt2_jax_labels", "Labels given", ["label"], registry=registry
        )
        self.abstained = Counter(
            "gpt2_jax_abstained", "Texts that got no label", registry=registry
        )
        self.truncated = Counter(
            "gpt2_jax_truncated", "Texts that were cut", registry=registry
        )
        self.probs = Histogram(
            "gpt2_jax_label_probability",
            "Probability of the label of each text",
            buckets=_PROBS,
            registry=registry,
        )
        self.tokens = Histogram(
            "gpt2_jax_text_tokens",
            "Length of each text",
            buckets=_TOKENS,
            registry=registry,
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def observe_answers(self, results: Iterable[Result]) -> None:
        """Count what was answered."""
        for result in results:
            if result.label is None:
                self.abstained.inc()
            else:
                self.labels.labels(result.label).inc()
            self.truncated.inc(result.truncated)
            self.probs.observe(result.prob)
            self.tokens.observe(result.n_tokens)

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
