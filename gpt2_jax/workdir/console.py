"""What a run says while it goes on, to people who set up no logging of their own."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TextIO


def console_handler(stream: TextIO | None = None) -> logging.Handler:
    """Return what prints the bare lines to a stream, whatever its encoding.

    None: standard output.
    """
    stream = stream or sys.stdout
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line(getattr(stream, "encoding", None) or "utf-8"))
    return handler


class _Line(logging.Formatter):
    def __init__(self, encoding: str) -> None:
        super().__init__("%(message)s")
        self._encoding = encoding

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.encode(self._encoding, "backslashreplace").decode(self._encoding)


@contextlib.contextmanager
def console(*, verbose: bool) -> Iterator[None]:
    """Print the log of this package in the block, or with `verbose=False` none of it.

    Where logging is set up, by the caller or by the command line, its lines go there
    and nowhere else. Warnings are never held back.
    """
    logger = logging.getLogger("gpt2_jax")
    level, handler = logger.level, None
    if not verbose:
        logger.setLevel(logging.WARNING)
    elif not logger.hasHandlers():
        handler = console_handler()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        if handler is not None:
            logger.removeHandler(handler)
