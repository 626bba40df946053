"""What wraps every request: its path without a prefix, its id, a line of log."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt2_jax.config import ServeConfig

ID = "x-request-id"
_IDS = re.compile("[A-Za-z0-9._-]{1,64}")

logger = logging.getLogger(__name__)


class Access:
    """ASGI middleware around all others.

    An id that the client or the proxy sent is kept, where it is one; the answer and the
    log name it. The log has no text, and of paths those of `paths` alone, since others
    may hold anything.
    """

    def __init__(
        self, app: ASGIApp, config: ServeConfig, paths: Collection[str]
    ) -> None:
        self._app, self._config = app, config
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, size = time.perf_counter(), 0, 0
        given = Headers(scope=scope).get(ID, "")
        identity = given if _IDS.fullmatch(given) else uuid.uuid4().hex
        app, scope = self._routed(scope)

        async def noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[ID] = identity
                status = message["status"]
            size += len(message.get("body", b""))
            await send(message)

        try:
            await app(scope, receive, noted)
        finally:
            if self._config.access_log:
                seconds = time.perf_counter() - start
                self._log(scope, identity, status, size, seconds)

    def _routed(self, scope: Scope) -> tuple[ASGIApp, Scope]:
        """Take the prefix off, where the proxy did not; its folder is the page."""
        root, path = self._config.root_path, scope["path"]
        if root and path == root:
            return RedirectResponse(f"{root}/"), scope
        if root and path.startswith(f"{root}/"):
            return self._app, {**scope, "path": path[len(root) :]}
        return self._app, scope

    def _log(
        self, scope: Scope, identity: str, status: int, size: int, seconds: float
    ) -> None:
        path, client = scope["path"], scope.get("client")
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "id": identity,
            "client": client[0] if client else None,
            "method": scope["method"][:20],
            "path": path if path in self._paths else "other",
            "status": status,  # 0: the client went away
            "seconds": round(seconds, 4),
            "bytes": size,
        }
        logger.info("%s", json.dumps(line))
