"""The route that answers a file, row by row, and makes nobody else wait."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from gpt2_jax.config import ServeConfig
from gpt2_jax.data.reading import Reading
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.serve import table, upload
from gpt2_jax.serve.answers import results
from gpt2_jax.serve.batcher import Batcher, QueueFullError
from gpt2_jax.serve.prometheus import Metrics
from gpt2_jax.serve.schema import PROBLEMS, Columns, TableLine, TableQuery

PATH = "/v1/table"

_PAUSE = 0.05  # seconds until a queue that was full is asked again
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"required": True, "content": {"application/octet-stream": _BINARY}}
_TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
_ANSWER = {
    "description": "a line for each row, in order, in the format that was asked for",
    "content": {
        "application/json": {"schema": Columns.model_json_schema()},
        "application/x-ndjson": {"schema": TableLine.model_json_schema()},
        "text/csv": {"schema": {"type": "string"}},
    },
}


def add_table(
    app: FastAPI,
    classifier: Classifier,
    batcher: Batcher,
    config: ServeConfig,
    usual: Reading,
    metrics: Metrics,
    check_ready: Callable[[], None],
    secured: Sequence[Any],
) -> None:
    """Add the route to `app`."""
    free = config.max_files  # each takes disk

    @contextlib.contextmanager
    def place() -> Iterator[None]:
        nonlocal free
        if not free or not upload.free_space(config):
            raise QueueFullError
        free -= 1
        try:
            yield
        finally:
            free += 1

    @app.post(
        PATH,
        response_class=Response,
        responses={**PROBLEMS, 200: _ANSWER},
        openapi_extra={"requestBody": _BODY},
        dependencies=secured,
    )
    async def answer_table(
        request: Request, query: Annotated[TableQuery, Query()]
    ) -> Response:
        """Label each row of a file, which is the body; its parameters are the flags of
        `gpt2-jax predict --file`. A file that cannot be read whole is refused whole."""
        check_ready()
        try:
            how = table.table_reading(query, usual)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        with contextlib.ExitStack() as stack:
            stack.enter_context(place())
            file = stack.enter_context(tempfile.NamedTemporaryFile())
            await upload.receive(request.stream(), file, config)
            name = query.name if query.name.isprintable() else ascii(query.name)[1:-1]
            path, name = await asyncio.to_thread(
                stack.enter_context,
                upload.unpacked(Path(file.name), name, config.max_file),
            )
            if query.format == "columns":
                found = await asyncio.to_thread(table.find_columns, path, name, how)
                return Response(found.model_dump_json(), media_type="application/json")
            checked = await asyncio.to_thread(table.check, path, name, how)
            groups = table.groups(path, name, how, classifier)
            lines = _lines(classifier, batcher, metrics, groups, checked, query)
            return _Stream(lines, stack.pop_all(), checked, query)


async def _lines(
    classifier: Classifier,
    batcher: Batcher,
    metrics: Metrics,
    groups: Generator[list[table.Item]],
    checked: table.Checked,
    query: TableQuery,
) -> AsyncGenerator[bytes]:
    """Yield the lines of the answer; the next texts wait while some are answered."""
    write = table.json_lines
    if query.format == "csv":
        writer = table.CsvTable(checked.columns, classifier.labels)
        write = writer.lines
        yield writer.head()
    waiting = collections.deque[tuple[list[table.Item], asyncio.Future[np.ndarray]]]()
    reading = threading.Lock()  # a thread reads on when this is cancelled

    def read() -> list[table.Item] | None:
        with reading:
            return next(groups, None)

    try:
        while True:
            group = await asyncio.to_thread(read)
            if group is not None:
                waiting.append((group, await _ask(batcher, group)))
            if len(waiting) == 2 or (waiting and group is None):
                items, future = waiting.popleft()
                texts, lengths = zip(*((i.text, i.length) for i in items), strict=True)
                rows, least = await future, query.abstain_below
                found = list(results(classifier, texts, lengths, rows, least))
                metrics.observe_answers(found)
                yield write(items, found)
            elif group is None:
                return
    finally:
        for _, future in waiting:
            future.cancel()
        with reading:
            groups.close()


async def _ask(
    batcher: Batcher, group: Sequence[table.Item]
) -> asyncio.Future[np.ndarray]:
    """Queue texts behind those of everyone else, once there is room."""
    texts, lengths = [i.read for i in group], [i.length for i in group]
    while True:
        with contextlib.suppress(QueueFullError):
            return asyncio.wrap_future(batcher.submit(texts, lengths, background=True))
        await asyncio.sleep(_PAUSE)


class _Stream(StreamingResponse):
    """An answer in pieces, after which its file is deleted, come what may."""

    def __init__(
        self,
        lines: AsyncGenerator[bytes],
        files: contextlib.ExitStack,
        checked: table.Checked,
        query: TableQuery,
    ) -> None:
        headers = {"x-rows": str(checked.rows)}
        if query.format == "csv":
            headers["content-disposition"] = 'attachment; filename="labels.csv"'
        super().__init__(lines, headers=headers, media_type=_TYPES[query.format])
        self._lines, self._files = lines, files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._files:
            async with contextlib.aclosing(self._lines):
                await super().__call__(scope, receive, send)
