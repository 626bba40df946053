"""The routes for those who run the service: is it alive, what is it, how does it go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gpt2_jax.config import ServeConfig
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.serve.answers import stored_threshold
from gpt2_jax.serve.prometheus import Metrics
from gpt2_jax.serve.schema import PROBLEMS, Info
from gpt2_jax.storage.sealed import read_json, sha256_of
from gpt2_jax.version import __version__
from gpt2_jax.weights.trained import MODEL_FILE, model_folder

INFO, METRICS = "/info", "/metrics"

_EXAMPLES = (
    "Congratulations! You have won a free cruise. Call now to claim your prize.",
    "Are we still on for lunch tomorrow? I can book a table.",
)


@dataclasses.dataclass(frozen=True)
class Model:
    """What tells one model that is served from another."""

    run: str = ""
    sha256: str = ""
    examples: tuple[str, ...] = ()


def model_of(run: Path) -> Model:
    """Return the name of a run, the hash of its model's description, which holds those
    of its weights, and texts to try: none of data that may be private."""
    folder = model_folder(run)
    sha256 = sha256_of(folder / MODEL_FILE) if folder else ""
    examples = ()
    if (results := run / "results.json").is_file():
        data = read_json(results).get("data")
        name = data.get("name") if isinstance(data, dict) else None
        examples = _EXAMPLES if name in ("demo", "sms-spam") else ()
    return Model(run.resolve().name, sha256, examples)


def add_probes(
    app: FastAPI,
    classifier: Classifier,
    config: ServeConfig,
    metrics: Metrics,
    model: Model,
    check_ready: Callable[[], None],
    secured: Sequence[Any],
) -> None:
    """Add the routes to `app`."""

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer while the process lives."""
        return {"status": "alive"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses={503: PROBLEMS[503]})
    async def readyz() -> dict[str, str]:
        """Answer once the model runs; texts of some lengths may still be slow."""
        check_ready()
        return {"status": "ready"}

    @app.get(METRICS, response_class=Response, dependencies=secured)
    async def prometheus() -> Response:
        """Counts for Prometheus."""
        content = generate_latest(metrics.registry)
        return Response(content, headers={"content-type": CONTENT_TYPE_LATEST})

    @app.get(INFO, dependencies=secured)
    async def info() -> Info:
        """Tell which model answers, and how it decides."""
        return Info(
            run=model.run,
            labels=list(classifier.labels),
            threshold=stored_threshold(classifier),
            max_length=classifier.max_length,
            model_sha256=model.sha256,
            version=__version__,
            examples=list(config.examples or model.examples),
        )
