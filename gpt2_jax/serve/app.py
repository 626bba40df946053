"""The routes of the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import numpy as np
from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from gpt2_jax.config import ServeConfig
from gpt2_jax.data.reading import Reading
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.decision import decide
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.explain import (
    MAX_SPANS,
    variants,
    word_spans,
    word_weights,
)
from gpt2_jax.serve.access import ID, Access
from gpt2_jax.serve.answers import results, stored_threshold
from gpt2_jax.serve.batcher import Batcher, QueueFullError
from gpt2_jax.serve.guard import Guard, problem
from gpt2_jax.serve.probes import Model, add_probes
from gpt2_jax.serve.prometheus import Metrics
from gpt2_jax.serve.schema import (
    PROBLEMS,
    ClassifyRequest,
    ClassifyResponse,
    ExplainRequest,
    ExplainResponse,
    Word,
    classify_request,
)
from gpt2_jax.serve.static import page_routes
from gpt2_jax.serve.table_route import PATH, add_table
from gpt2_jax.version import __version__

# An explanation predicts the text once for each word. Long texts get fewer, longer
# spans, so that one explanation costs about as much as another.
_EXPLAIN_TOKENS, _MIN_SPANS = 8192, 8


def create_app(
    classifier: Classifier,
    config: ServeConfig,
    usual: Reading = Reading(),
    model: Model = Model(),
) -> ASGIApp:
    """Return the ASGI application that serves `classifier`, which is `model`.

    `usual` says how texts stand in the data that it was trained on.
    """
    metrics = Metrics()
    encode = classifier.tokenizer.encode
    batcher = Batcher(
        classifier.predict_proba,
        num_classes=len(classifier.labels),
        max_length=classifier.max_length,
        config=config,
        on_batch=metrics.observe_batch,
    )
    metrics.queue_texts.set_function(lambda: batcher.waiting)
    metrics.cold_shapes.set_function(lambda: batcher.cold)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        metrics.watch_compilations()
        batcher.start()
        yield
        await asyncio.to_thread(batcher.close)
        metrics.unwatch_compilations()

    app = FastAPI(
        title="gpt2-jax",
        version=__version__,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        routes=page_routes(),
        servers=[{"url": config.root_path}] if config.root_path else None,
    )
    secured = [Security(HTTPBearer(auto_error=False))] if config.token else []

    def check_ready() -> None:
        if not batcher.ready.is_set():
            raise _not_ready(batcher)

    async def predict(
        texts: Sequence[str], lengths: Sequence[int], *, background: bool = False
    ) -> np.ndarray:
        check_ready()
        future = batcher.submit(texts, lengths, background=background)
        return await asyncio.wait_for(asyncio.wrap_future(future), config.timeout)

    async def classify(request: ClassifyRequest) -> ClassifyResponse:
        """Label each text."""
        lengths = [len(encode(text)) for text in request.texts]
        rows = await predict(request.texts, lengths)
        least = request.abstain_below
        found = list(results(classifier, request.texts, lengths, rows, least))
        metrics.observe_answers(found)
        return ClassifyResponse(threshold=stored_threshold(classifier), results=found)

    classify.__annotations__["request"] = classify_request(config.max_texts)
    app.post("/v1/classify", responses=PROBLEMS, dependencies=secured)(classify)

    @app.post("/v1/explain", responses=PROBLEMS, dependencies=secured)
    async def explain(request: ExplainRequest) -> ExplainResponse:
        """Say what each word adds to the probability of the label; approximate."""
        part = classifier.part_read(request.text)
        num_tokens = len(encode(part))
        affordable = max(_MIN_SPANS, _EXPLAIN_TOKENS // num_tokens)
        spans = word_spans(part, min(MAX_SPANS, affordable))
        texts = variants(request.text, part, spans)
        lengths = [len(encode(text)) for text in texts]
        rows = await predict(texts, lengths, background=True)
        label = int(decide(rows[:1], classifier.threshold)[0])
        weights = word_weights(rows, label)
        return ExplainResponse(
            label=classifier.labels[label],
            prob=float(rows[0, label]),
            words=[
                Word(start=start, end=end, weight=weight)
                for (start, end), weight in zip(spans, weights, strict=True)
            ],
        )

    add_table(app, classifier, batcher, config, usual, metrics, check_ready, secured)
    add_probes(app, classifier, config, metrics, model, check_ready, secured)
    _add_error_handlers(app)
    paths = [getattr(route, "path", "") for route in app.routes]
    guard: ASGIApp = Guard(app, config, metrics, paths, files=(PATH,))
    if config.cors_origins:
        guard = CORSMiddleware(
            guard,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", ID],
            expose_headers=[ID, "retry-after", "x-rows"],
        )
    return Access(guard, config, paths)


def _not_ready(batcher: Batcher) -> HTTPException:
    if batcher.failed:
        return HTTPException(503, "the model cannot be run; see the service's log")
    return HTTPException(503, "warming up", {"retry-after": "5"})


def _add_error_handlers(app: FastAPI) -> None:
    """Make every error one line of JSON that repeats nothing of a text."""

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(400, "not JSON")
        where = ".".join(str(part)[:40] for part in first["loc"][1:]) or "body"
        where = where if where.isprintable() else ascii(where)
        return problem(422, f"{where}: {first['msg']}")

    @app.exception_handler(UserError)
    async def unusable(_: Request, error: UserError) -> Response:
        return problem(422, " ".join(str(error).split())[:1000])

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: Exception) -> Response:
        return problem(400, "the body has no end")  # nobody is there to read it

    @app.exception_handler(QueueFullError)
    async def queue_full(_: Request, error: Exception) -> Response:
        return problem(429, "too many texts wait", {"retry-after": "1"})

    @app.exception_handler(TimeoutError)
    async def too_late(_: Request, error: Exception) -> Response:
        return problem(503, "no answer in time", {"retry-after": "1"})

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> Response:
        return problem(500, "internal error")
