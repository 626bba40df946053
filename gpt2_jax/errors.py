"""Errors that a user can act on, and the exit code that each one means."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path


class UserError(Exception):
    """What is wrong, where, and what to do, in one line."""

    exit_code = 2


class DeviceError(UserError):
    """A device, or the environment, cannot do what was asked."""

    exit_code = 3


class DataError(UserError):
    """The labelled texts cannot be had, read or used."""

    exit_code = 4


class WeightsError(UserError):
    """Weights, a checkpoint or a trained run cannot be had, read or used."""

    exit_code = 5


class NonFiniteError(UserError):
    """The loss, or what trains, has become NaN or infinite."""

    exit_code = 5


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known word that is most like it, or ""."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def did_you_mean_path(path: Path, names: Iterable[str] = ()) -> str:
    """Do so of what lies beside `path`, and of `names` where it is one word."""
    known = [*names] if path.parent == Path() else []
    with contextlib.suppress(OSError):
        known += [other.name for other in path.parent.iterdir()]
    return did_you_mean(path.name, known)


PREDICT_MEMORY_ADVICE = (
    "free the device of other programs, use a smaller model, or run on the CPU with "
    "JAX_PLATFORMS=cpu"
)


@contextlib.contextmanager
def explain_out_of_memory(what_to_do: str) -> Iterator[None]:
    """Turn what XLA, numpy and Python raise without memory into one line.

    Raises:
        DeviceError: the block needs more memory than there is.
    """
    try:
        yield
    except Exception as error:
        if is_callers(error) or not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [""])[0][:200] or "of the host"
        raise DeviceError(f"out of memory ({reason}); {what_to_do}") from error


_CALLERS = "raised by the callback "


@contextlib.contextmanager
def leave_to_caller(name: str) -> Iterator[None]:
    """Let what the block raises, a callback of the caller, reach the caller as it is.

    Only a note with the callback's `name` is added.
    """
    try:
        yield
    except Exception as error:
        error.add_note(_CALLERS + name)
        raise


def is_callers(error: BaseException) -> bool:
    """Tell whether the caller's own code raised `error`."""
    return any(note.startswith(_CALLERS) for note in getattr(error, "__notes__", ()))


def is_out_of_memory(error: BaseException) -> bool:
    # XLA's status is the first word of what jax raises; it has no class of its own.
    return isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")
