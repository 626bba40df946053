"""Bars on standard error, where somebody looks: on a terminal or in a notebook."""

from __future__ import annotations

import contextlib
import contextvars
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

# Of a thread: beside one that shows bars, another one may be quiet.
_SHOWN: contextvars.ContextVar[bool] = contextvars.ContextVar("shown", default=False)

_DELAY = 1.0  # seconds; what takes less is over before it is read


@contextlib.contextmanager
def bars(*, shown: bool) -> Iterator[None]:
    """Show the bars of the block, where there is a terminal or a notebook."""
    token = _SHOWN.set(shown and (sys.stderr.isatty() or in_notebook()))
    try:
        yield
    finally:
        _SHOWN.reset(token)


def bar(total: int | None, what: str, unit: str, *, done: int = 0) -> tqdm:
    """Return a bar to be updated, and closed; outside of `bars` it shows nothing.

    Args:
        total: None: not known.
        done: of `total`, before this process began.
    """
    if not (_SHOWN.get() and _is_first()):
        return tqdm(disable=True)
    return _kind()(
        total=total,
        initial=done,
        desc=what,
        unit=f" {unit}",
        leave=False,
        delay=_DELAY,
    )


def in_notebook() -> bool:
    """Tell whether the code runs in a cell of Jupyter, Colab or the like."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def _is_first() -> bool:
    """Tell whether this is the first process; only asked where jax is needed anyway."""
    from gpt2_jax import distributed

    return distributed.is_first()


def _kind() -> Any:
    if not in_notebook():
        return tqdm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ipywidgets is missing: then it is text
        from tqdm.auto import tqdm as widget
    return widget
