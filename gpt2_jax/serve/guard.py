"""What stands before every route: who may ask, how much, how fast, and still waits."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import time
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt2_jax.config import ServeConfig
from gpt2_jax.serve.probes import INFO, METRICS
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


_JSON, _BYTES = "application/json", "application/octet-stream"

_SECRET = ("/v1/", METRICS, INFO)  # paths that ask for the token, where there is one


class Guard:
    """ASGI middleware: refuses early, reads bounded bodies, sets security headers.

    The bodies of `files` are read by their routes, since they are larger.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: ServeConfig,
        metrics: Metrics,
        paths: Collection[str],
        files: Collection[str] = (),
    ) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._paths = frozenset(paths)  # labels of metrics must be few
        # No form of another site can send these types.
        self._types = {path: _BYTES if path in files else _JSON for path in paths}
        self._files = frozenset(files)

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
        if response is None and scope["path"] in self._files:
            await self._pass(scope, receive, send_guarded)
            return
        if response is None:
            body = await self._read(receive)
            if body is None:
                return
            if isinstance(body, bytes):
                await self._answer(scope, body, receive, send_guarded)
                return
            response = body
        # What was not read of the body must not be taken for the next request.
        response.headers["connection"] = "close"
        await response(scope, receive, send_guarded)

    async def _answer(
        self, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> None:
        """Answer, unless the client goes away: then nothing is computed for it."""
        answer = asyncio.ensure_future(self._app(scope, _replay(body), send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answer, gone):
                task.cancel()  # nothing where it is done
            with contextlib.suppress(asyncio.CancelledError):
                await answer

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route read the body; what it leaves is never the next request."""
        read = False

        async def noted() -> Message:
            nonlocal read
            message = await receive()
            read = read or not message.get("more_body", False)
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and not read:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, noted, closing)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return why the head of the request is not acceptable, or None."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if len(headers.getlist("host")) != 1 or not self._is_ours(host):
            # A page of another site may have its own name point to this address.
            return problem(400, "unknown host; see gpt2-jax serve --allow-host")
        ours = (f"http://{host}", f"https://{host}", *self._config.cors_origins)
        if origin is not None and origin not in ours:
            return problem(403, "pages of other origins may not ask")
        if not self._has_token(scope["path"], headers.get("authorization", "")):
            return problem(
                401, "send Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"}
            )
        if "content-length" in headers and "transfer-encoding" in headers:
            # A proxy may see another end of this request, and so another next one.
            return problem(400, "both Content-Length and Transfer-Encoding")
        path = scope["path"]
        if scope["method"] == "POST" and path.startswith("/v1/"):
            media_type = headers.get("content-type", "").partition(";")[0].strip()
            expected = self._types.get(path, _JSON)
            if media_type.lower() != expected:
                return problem(415, f"send Content-Type: {expected}")
        length = headers.get("content-length", "0")
        limit = self._config.max_body
        if path in self._files:
            limit = self._config.max_file
        if length.isdecimal() and int(length) > limit:
            return too_large(limit)
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
        if token is None or not path.startswith(_SECRET):
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
                        return too_large(self._config.max_body)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return problem(408, "the request came too slowly")


def too_large(limit: int) -> Response:
    """Return that a body has more than `limit` bytes."""
    return problem(413, f"the body is larger than {limit} bytes")


def _replay(body: bytes) -> Receive:
    """Return a `receive` that gives the body that was read, and then waits."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return replay


async def _disconnected(receive: Receive) -> None:
    """Wait until nobody waits for the answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
