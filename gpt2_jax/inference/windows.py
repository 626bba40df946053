"""Windows of texts to predict: from arguments, a file, or lines that keep coming."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gpt2_jax.data.archive import member_of
from gpt2_jax.data.content import open_raw
from gpt2_jax.data.reading import Reading
from gpt2_jax.errors import DataError
from gpt2_jax.inference.rows import Row, open_entries, stream_groups

# A window is what is sorted by length, run and answered at once. Its bounds depend on
# the input alone, so that a resumed run meets the same ones.
WINDOW_TEXTS = 4096

WINDOW_CHARACTERS = 2**22


def windows(
    texts: Sequence[str],
    file: Path | None,
    how: Reading,
    stream: BinaryIO,
    *,
    as_they_come: bool = False,
    tell: Callable[[list[str]], None] = lambda lines: None,
) -> Iterator[list[Row]]:
    """Yield windows of the rows given, then of those of `file`, else of `stream`.

    `as_they_come` answers what a stream has sent without waiting for a full window.
    `tell` gets the lines on how `file` was understood, and at its end what was left
    out.

    Raises:
        DataError: nothing to read there, or a row that holds no text; the rows before
            it were yielded.
    """
    if file is None and not texts:
        groups = stream_groups(stream, how)
        nothing = (
            "standard input: empty; give TEXT, --file, or JSON lines on standard input"
        )
        if not as_they_come:
            groups = _flat(groups)
    else:
        groups = _flat([_given(texts, file, how, tell)])
        nothing = f"{file}: no texts in it"
    seen = False
    for group in groups:
        for window in _cut(group):
            seen = True
            yield window
    if not seen:
        raise DataError(nothing)


def _given(
    texts: Sequence[str],
    file: Path | None,
    how: Reading,
    tell: Callable[[list[str]], None],
) -> Iterator[Row]:
    yield from map(Row, texts)
    if file is None:
        return
    packed, member = member_of(file)
    with (
        open_raw(packed) as opened,
        open_entries(opened, str(packed), how, member) as entries,
    ):
        tell(entries.understood().lines())
        for entry in entries:
            yield Row(entry.text, entry.id)
        tell([*entries.rows.all_notes(), *entries.left_out()])


def _flat(groups: Iterable[Iterable[Row]]) -> Iterator[Iterable[Row]]:
    yield (row for group in groups for row in group)


def _cut(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut `rows` into windows; what came before an error is a window too."""
    window: list[Row] = []
    size = 0
    try:
        for row in rows:
            window.append(row)
            size += len(row.text)
            if len(window) == WINDOW_TEXTS or size >= WINDOW_CHARACTERS:
                yield window
                window, size = [], 0
    except DataError:
        if window:
            yield window
        raise
    if window:
        yield window
