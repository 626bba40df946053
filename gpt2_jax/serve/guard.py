"""What stands before every route: who may ask, how much, how fast."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt2_jax.config import ServeConfig
from gpt2_jax.serve.prometheus import Metrics

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def problem(
    status: int, message: str, headers: dict[str, str] | None = None
) -> Response:
    """Return a JSON error; escaped, since a message may name what was sent."""
    content = json.dumps({"error": message})
    return Response(content, status, headers, media_type="application/json")


class Guard:
    """ASGI middleware: refuses early, reads bounded bodies, sets security headers."""

    def __init__(
        self,
        app: ASGIApp,
        config: ServeConfig,
        metrics: Metrics,
        paths: Collection[str],
    ) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._paths = frozenset(paths)  # labels of metrics must be few

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        path = scope["path"] if scope["path"] in self._paths else "other"

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
                status = str(message["status"])
                self._metrics.requests.labels(path, status).inc()
                self._metrics.seconds.labels(path).observe(time.perf_counter() - start)
            await send(message)

        response = self._refusal(scope)
        if response is None:
            body = await self._read(receive)
            if body is None:
                return
            if isinstance(body, bytes):
                await self._app(scope, _replay(body, receive), send_guarded)
                return
            response = body
        # What was not read of the body must not be taken for the next request.
        response.headers["connection"] = "close"
        await response(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return why the head of the request is not acceptable, or None."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if len(headers.getlist("host")) != 1 or not self._is_ours(host):
            # A page of another site may have its own name point to this address.
            return problem(400, "unknown host; see gpt2-jax serve --allow-host")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return problem(403, "pages of other origins may not ask")
        if not self._has_token(scope["path"], headers.get("authorization", "")):
            return problem(
                401, "send Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
            )
        if scope["method"] == "POST":
            media_type = headers.get("content-type", "").partition(";")[0].strip()
            if media_type.lower() != "application/json":
                return problem(415, "send Content-Type: application/json")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._config.max_body:
            return self._too_large()
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower()
        if name in ("localhost", self._config.host, *self._config.allow_hosts):
            return True
        try:
            ipaddress.ip_address(name)  # no site can have an address as its name
        except ValueError:
            return False
        return True

    def _has_token(self, path: str, authorization: str) -> bool:
        token = self._config.token
        if token is None or not (path.startswith("/v1/") or path == "/metrics"):
            return True
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode(), token.encode())
        return scheme.lower() == "bearer" and same

    async def _read(self, receive: Receive) -> bytes | Response | None:
        """Return the body, or why it is not acceptable; None: nobody is there."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._config.read_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._config.max_body:
                        return self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return problem(408, "the request came too slowly")

    def _too_large(self) -> Response:
        return problem(413, f"the body is larger than {self._config.max_body} bytes")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body that was read, and then what follows."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
