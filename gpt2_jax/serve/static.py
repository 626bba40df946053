"""The page: a handful of files, read once and served from memory."""

from __future__ import annotations

import importlib.resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_INDEX = "index.html"  # answers to "/"


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page; no path of a request names a file."""
    folder = importlib.resources.files("gpt2_jax") / "serve" / "page"
    routes: list[BaseRoute] = [_route("/", (folder / _INDEX).read_bytes(), "text/html")]
    for file in folder.iterdir():
        if file.name != _INDEX:
            suffix = "." + file.name.rpartition(".")[2]
            routes.append(_route(f"/{file.name}", file.read_bytes(), _TYPES[suffix]))
    return routes


def _route(path: str, content: bytes, media_type: str) -> Route:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, answer, methods=["GET"])
