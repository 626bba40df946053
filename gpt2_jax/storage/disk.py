"""A disk that is full or broken, said in one line."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Generator
from pathlib import Path

from gpt2_jax.errors import WeightsError, is_callers


@contextlib.contextmanager
def explain_disk_errors(workdir: Path) -> Generator[None]:
    """Turn what a full or broken disk raises into one line.

    Raises:
        WeightsError: `workdir` could not be written.
    """
    try:
        yield
    except OSError as error:
        if is_callers(error) or not is_disk_error(error):
            raise
        free = shutil.disk_usage(workdir).free
        raise WeightsError(
            f"{error.filename or workdir}: cannot be written ({error.strerror}; "
            f"{free:,} bytes free); make room and go on with --resume"
        ) from error


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def disk_error(path: Path, needed: int, error: Exception) -> WeightsError:
    """Say that `path` was not written, and whether that is for want of space."""
    reason = (str(error).splitlines() or [repr(error)])[0][:200]
    folder = path if path.is_dir() else path.parent
    free = shutil.disk_usage(folder).free
    return WeightsError(
        f"{path}: not saved ({reason}; {needed:,} bytes needed, {free:,} free); older "
        "checkpoints are intact: make room and go on with --resume"
    )


def is_disk_error(error: OSError) -> bool:
    """Tell whether a disk is at fault, and not what was asked for."""
    return error.errno in _DISK_ERRORS
