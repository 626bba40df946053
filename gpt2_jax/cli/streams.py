"""The standard streams: no character, and none that is closed, ends a command."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def make_ready() -> None:
    """Put a device that is empty in the place of a closed stream, and write all text.

    Else the next file that is opened would have the number of the closed one, and get
    what libraries write to it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    _reconfigure(sys.stdout, errors="backslashreplace")
    _reconfigure(sys.stderr, errors="backslashreplace")


def write_json_lines() -> None:
    """Write UTF-8 to standard output, which JSON always is."""
    _reconfigure(sys.stdout, encoding="utf-8", errors="backslashreplace")


def _reconfigure(stream: Any, **how: Any) -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(**how)
