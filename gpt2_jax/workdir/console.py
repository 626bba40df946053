"""What a run says while it goes on, to people who set up no logging of their own."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

from gpt2_jax import progress

_OURS = logging.getLogger("gpt2_jax")
# Those of orbax, whose lines about its own work are no answer to anybody's question.
_NOISY = ("absl", "orbax")


def console_handler(stream: TextIO | None = None) -> logging.Handler:
    """Return what prints the bare lines to a stream, whatever its encoding.

    None: standard output. A bar makes room for them.
    """
    stream = stream or sys.stdout
    handler = _Printer(stream)
    handler.setFormatter(_Line(getattr(stream, "encoding", None) or "utf-8"))
    return handler


class _Printer(logging.StreamHandler):
    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _Line(logging.Formatter):
    def __init__(self, encoding: str) -> None:
        super().__init__("%(message)s")
        self._encoding = encoding

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return line.encode(self._encoding, "backslashreplace").decode(self._encoding)


class _Shared:
    """The one log of this package, which runs in several threads may share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[bool] = []  # for each open run: does it speak?
        self._handler: logging.Handler | None = None
        self._levels: dict[str, int] = {}  # as they were

    def enter(self, *, verbose: bool) -> None:
        with self._lock:
            if not self._open:
                for name in (_OURS.name, *_NOISY):
                    self._levels[name] = logging.getLogger(name).level
            self._open.append(verbose)
            self._apply()

    def leave(self, *, verbose: bool) -> None:
        with self._lock:
            self._open.remove(verbose)
            if self._open:
                return self._apply()
            for name, level in self._levels.items():
                logging.getLogger(name).setLevel(level)
            if self._handler is not None:
                _OURS.removeHandler(self._handler)
                self._handler = None

    def _apply(self) -> None:
        for name in _NOISY:
            level = max(self._levels[name], logging.WARNING)
            logging.getLogger(name).setLevel(level)
        if not any(self._open):
            return _OURS.setLevel(logging.WARNING)
        if self._handler is None and not _OURS.hasHandlers():
            self._handler = console_handler()
            _OURS.addHandler(self._handler)
        ours = self._handler is not None
        _OURS.setLevel(logging.INFO if ours else self._levels[_OURS.name])


_SHARED = _Shared()


@contextlib.contextmanager
def console(*, verbose: bool) -> Iterator[None]:
    """Print the log of this package in the block, or with `verbose=False` none of it.

    Where logging is set up, by the caller or by the command line, its lines go there
    and nowhere else. Warnings are never held back. Of runs that are open at the same
    time one that speaks is enough; each shows bars or none.
    """
    _SHARED.enter(verbose=verbose)
    try:
        with progress.bars(shown=verbose):
            yield
    finally:
        _SHARED.leave(verbose=verbose)
