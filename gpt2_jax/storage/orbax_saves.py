"""Saves of one process begin one after the other: orbax numbers them for all threads.

Files are written once the folder of their number is there (`futures/future.py`). A save
that begins meanwhile takes the number away, and the files of the first come before
their folder, which then removes them.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_beginning = threading.Lock()


def begin_save(checkpointer: Any, folder: Path, tree: Any) -> None:
    """Let orbax's `checkpointer` begin to save `tree` into a new `folder`."""
    with _beginning:
        checkpointer.save(folder, tree)
