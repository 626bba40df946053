"""`gpt2-jax serve`: its flags, and the call."""

from __future__ import annotations

import argparse
import os
from typing import Any

from gpt2_jax.cli.flags import add_flags, add_reading, add_run, with_flags
from gpt2_jax.config import ForeignConfig, ServeConfig
from gpt2_jax.errors import DeviceError

_EXTRA = ("fastapi", "starlette", "uvicorn", "h11", "pydantic", "prometheus_client")


def add_serve(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `serve`."""
    parser = commands.add_parser(
        "serve",
        parents=[common],
        help="a web page and a JSON API of a run",
        example="gpt2-jax serve mail --port 8000",
    )
    add_run(parser)
    add_flags(parser, ServeConfig())
    add_reading(parser)


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve a run until told to stop."""
    if arguments.token is None:
        arguments.token = os.environ.get("GPT2_JAX_TOKEN") or None
    config = with_flags(ServeConfig(), arguments)
    how = with_flags(ForeignConfig(), arguments)
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
    serve(arguments.run, config, how, offline=arguments.offline)
    return 0
