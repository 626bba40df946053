"""`gpt2-jax serve`: its flags, and the call."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from gpt2_jax.config import ServeConfig
from gpt2_jax.errors import DeviceError, UserError

_EXTRA = ("fastapi", "starlette", "uvicorn", "h11", "pydantic", "prometheus_client")


def add_serve(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `serve`."""
    parser = commands.add_parser(
        "serve", parents=[common], help="a web page and a JSON API of a run"
    )
    default = ServeConfig()
    parser.add_argument("run", metavar="RUN", type=Path)
    parser.add_argument("--host", default=default.host)
    parser.add_argument("--port", type=int, default=default.port, help="0: a free one")
    parser.add_argument(
        "--token",
        default=os.environ.get("GPT2_JAX_TOKEN") or None,
        help="that clients must send as Bearer token; or set GPT2_JAX_TOKEN",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which browsers reach this host",
    )
    parser.add_argument(
        "--max-queue", type=int, default=default.max_queue, metavar="TEXTS"
    )
    parser.add_argument(
        "--timeout", type=float, default=default.timeout, metavar="SECONDS"
    )


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve a run until told to stop."""
    try:
        config = ServeConfig(
            host=arguments.host,
            port=arguments.port,
            token=arguments.token,
            allow_hosts=tuple(name.lower() for name in arguments.allow_host),
            max_queue=arguments.max_queue,
            timeout=arguments.timeout,
        )
    except ValueError as error:
        raise UserError(str(error)) from None
    try:
        from gpt2_jax.serve.server import serve
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise DeviceError(
            "gpt2-jax serve needs the extra: pip install 'gpt2-jax[serve]'"
        ) from None
    from gpt2_jax.engine.compilation import set_up_compilation

    set_up_compilation(arguments)
    serve(arguments.run, config)
    return 0
