"""A file of answers that a broken run leaves so that the next can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from gpt2_jax.errors import UserError
from gpt2_jax.inference.rows import Row

TOLERANCE = 0.01  # of probabilities that another kind of device gave

Answer = Callable[[list[Row]], list[str]]  # the lines of a window

Windows = Iterable[list[Row]]


def write_answers(path: Path, windows: Windows, answer: Answer) -> Iterator[int]:
    """Write the answers to `path`; yield how many are new, window by window.

    The first window is answered before the file is opened: an input that cannot be
    read leaves no output.

    Raises:
        UserError: the file cannot be written.
    """
    remaining = iter(windows)
    first = next(remaining, [])
    lines = answer(first) if first else []
    with _open(path, "wb") as file:
        yield _append(file, lines)
        for window in remaining:
            yield _append(file, answer(window))


def resume_answers(path: Path, windows: Windows, answer: Answer) -> Iterator[int]:
    """Go on after the last complete line of `path`; yield as `write_answers` does.

    The last window that was answered, whole or in part, is answered again and must say
    what the file says; then a half-written line is cut and the rest is added.

    Raises:
        UserError: the file cannot be written, has more lines than the input has texts,
            or was not made by this run from this input.
    """
    with _open(path, "r+b") as file:
        remaining, number = iter(windows), 0
        for window in remaining:
            start = file.tell()
            written = [line for _ in window if (line := _whole_line(file))]
            if len(written) == len(window) and _another(file):
                number += len(window)
                continue
            lines = answer(window)
            for offset, (old, new) in enumerate(zip(written, lines, strict=False), 1):
                if not _same(old, new):
                    raise UserError(
                        f"{path}, line {number + offset}: not what this run says of "
                        "this input, so another one wrote it; choose another --output, "
                        "or --overwrite it"
                    )
            file.seek(start + sum(map(len, written)))
            file.truncate()
            yield _append(file, lines[len(written) :])
            break
        if _whole_line(file):
            raise UserError(
                f"{path}: more lines than the input has texts ({number}), so another "
                "input made it; choose another --output"
            )
        for window in remaining:
            yield _append(file, answer(window))


def _same(old: bytes, new: str) -> bool:
    """Do both lines answer the same text? Probabilities may differ in rounding."""
    try:
        ours, theirs = json.loads(new), json.loads(old)
        kept = ("id", "label", "n_tokens", "truncated")
        return (
            list(ours) == list(theirs)
            and all(ours.get(key) == theirs.get(key) for key in kept)
            and ours["probs"].keys() == theirs["probs"].keys()
            and all(
                abs(p - theirs["probs"][name]) <= TOLERANCE
                for name, p in ours["probs"].items()
            )
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return False


def _append(file: BinaryIO, lines: list[str]) -> int:
    try:
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
    except OSError as error:
        raise UserError(
            f"{file.name}: cannot be written ({error.strerror}); make room and go on "
            "with --resume"
        ) from error
    return len(lines)


def _whole_line(file: BinaryIO) -> bytes:
    """Return the next line, or nothing where it has no end."""
    line = file.readline()
    return line if line.endswith(b"\n") else b""


def _another(file: BinaryIO) -> bool:
    position = file.tell()
    found = bool(_whole_line(file))
    file.seek(position)
    return found


def _open(path: Path, mode: str) -> BinaryIO:
    try:
        return cast(Any, path.open(mode))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
