"""Which columns hold the text and the label: found by name, checked by what they hold.

Nothing is guessed in silence: a column that is not there is told with the likely one.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gpt2_jax.data.profile import (
    ENOUGH,
    NUMBER,
    holds_no_texts,
    likely,
    no_texts,
    profile,
    several_labels,
)
from gpt2_jax.data.reading import Reading
from gpt2_jax.data.row import Row, Rows
from gpt2_jax.errors import DataError


class ColumnsError(DataError):
    """Columns are not there; `advice` holds the fields of a config that are likely."""

    def __init__(self, message: str, advice: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.advice = advice or {}


class UnlabelledError(ColumnsError):
    """A file has texts, and only the column of labels is not there."""

    name = ""  # of the file


SAMPLE_ROWS = 100


def resolve(
    rows: Rows, sample: Sequence[Row], how: Reading, *, labelled: bool
) -> dict[str, tuple[str, ...]]:
    """Return the columns of each role, as the file writes them.

    Raises:
        DataError: one is not there, or holds what cannot be meant.
    """
    columns = list(
        dict.fromkeys([*rows.columns, *(name for row in sample for name in row.values)])
    )
    wanted = how.wanted(columns, labelled=labelled)
    found = {
        role: tuple(match(name, columns) or "" for name in names)
        for role, names in wanted.items()
    }
    missing = [
        (role, name)
        for role, names in wanted.items()
        for name, there in zip(names, found[role], strict=True)
        if not there
    ]
    table = {
        name: [row.values.get(name) for row in sample if name in row.values]
        for name in columns
    }
    if rows.twice is not None:
        reason = _data_cells(rows.columns)
        if how.header is None and reason:
            told, advice = _no_header(rows, sample, reason, labelled)
            raise ColumnsError(f"{rows.name}: {told}", advice)
        raise DataError(f"{rows.name}: column {rows.twice!r} stands twice; rename one")
    if missing:
        only_label = all(role == "label" for role, _ in missing)
        raise (UnlabelledError if only_label else ColumnsError)(
            *_missing(rows, sample, missing, table, how, labelled)
        )
    if rows.form.header and (reason := _looks_like_data(found, table, how)):
        told, advice = _no_header(rows, sample, reason, labelled)
        raise ColumnsError(f"{rows.name}: {told}", advice)
    used = [*found["text"], *found.get("label", ())]
    if again := [name for name in used if used.count(name) > 1]:
        role = "text" if found["text"].count(again[0]) > 1 else "label"
        raise ColumnsError(
            f"{rows.name}: the text column {again[0]!r} is named as {role} again; omit "
            f"it, or choose another --{role}-column"
        )
    _check_text(rows, found["text"], table)
    return found


def match(name: str, columns: Sequence[str]) -> str | None:
    """Return which of `columns` is meant: case and spaces at the ends do not count."""
    if name in columns:
        return name
    plain = name.strip().casefold()
    alike = [column for column in columns if column.strip().casefold() == plain]
    return alike[0] if len(alike) == 1 else None


def _missing(
    rows: Rows,
    sample: Sequence[Row],
    missing: Sequence[tuple[str, str]],
    table: Mapping[str, Sequence[Any]],
    how: Reading,
    labelled: bool,
) -> tuple[str, dict[str, Any]]:
    names = " or ".join(repr(name) for _, name in missing)
    line = rows.header_line or (sample[0].line if sample else 1)
    shown = ", ".join(name[:40] for name in table) or "none"
    where = f"{rows.name}, {rows.unit} {line}: no column {names}; found {shown}"
    named = [name for name in rows.columns if name not in rows.unnamed]
    again = [f"{n!r} stands in other rows too" for n in named if n in table[n]]
    reason = _data_cells(named) or next(iter(again), None)
    if rows.form.header and how.header is None and reason:
        told, advice = _no_header(rows, sample, reason, labelled)
        return f"{where}; {told}", advice
    if (several := several_labels(table)) is not None:
        return f"{where}; {several}", {}
    text, label = likely(table)
    roles = {role for role, _ in missing}
    if "text" in roles and holds_no_texts(table):
        return f"{where}; {no_texts(table)}", {}
    advice, flags, fields = [], [], {}
    for role, names in (("text", text), ("label", [label] if label else [])):
        if role in roles and names:
            several = len(names) > 1
            looks = "look like text" if several else f"looks like the {role}"
            advice.append(f"{' and '.join(map(repr, names))} {looks}")
            flags += [f"--{role}-column {quoted(name)}" for name in names]
            fields[f"{role}_column"] = tuple(names) if role == "text" else names[0]
        elif role in roles and flags:
            flags.append(f"--{role}-column NAME")
    if not advice:
        near = [difflib.get_close_matches(n.lower(), table, 1) for _, n in missing]
        advice = [f"did you mean {names[0]!r}?" for names in near if names]
    join = ", or one of the texts alone" if len(text) > 1 and "text" in roles else ""
    end = f"choose with {' '.join(flags)}{join}" if flags else _choose(roles)
    told = " and ".join(advice)
    header = ", or say --no-header if the first row is none" if rows.form.header else ""
    likely_ones = fields if {f"{role}_column" for role in roles} <= {*fields} else {}
    return f"{where}; {f'{told}; ' if told else ''}{end}{header}", likely_ones


def _choose(roles: Collection[str]) -> str:
    flags = [f"--{role}-column" for role in ("text", "label") if role in roles]
    return f"choose with {' and '.join(flags or ['another column'])}"


def quoted(name: str) -> str:
    """Return a name as it is typed on a command line, shortened."""
    return shlex.quote(name[:60])


def _looks_like_data(
    found: Mapping[str, tuple[str, ...]],
    table: Mapping[str, Sequence[Any]],
    how: Reading,
) -> str | None:
    """Return why the names of the columns that are used cannot be names."""
    if how.header is True:
        return None
    names = [name for names in found.values() for name in names]
    if reason := _data_cells(names):
        return reason
    for name in found.get("label", ()):
        again = sum(value == name for value in table[name])
        if again and name.casefold() != "label":
            return f"{name!r} is a label of other rows too"
    return None


def _data_cells(names: Sequence[str]) -> str | None:
    """Return which of the cells of a first row is none of a header."""
    for name in names:
        if len(name) > 60 or len(name.split()) > 5:
            return f"{name[:30]!r}… is a text"
    numbers = [name for name in names if NUMBER.fullmatch(name.strip())]
    if numbers:
        return f"{numbers[0]!r} is a number"
    return None


def _no_header(
    rows: Rows, sample: Sequence[Row], reason: str, labelled: bool
) -> tuple[str, dict[str, Any]]:
    """Return that there is no header, and the flags and fields that read all rows."""
    cells = zip(rows.header, rows.columns, strict=True)
    table = {
        str(i): [cell, *(row.values.get(name) for row in sample)]
        for i, (cell, name) in enumerate(cells, start=1)
    }
    text, label = likely(table)
    if holds_no_texts(table):
        return f"there is no header, and {no_texts(table)}", {}
    flags = [f"--text-column {name}" for name in text or ["N"]]
    if labelled:
        flags.append(f"--label-column {label or 'N'}")
    join = ", or one of the texts alone" if len(text) > 1 else ""
    return (
        f"the first row looks like data, not like a header ({reason}): say "
        f"--no-header {' '.join(flags)}{join}, columns by number from 1; or --header "
        "if it is one",
        {"header": False, "text_column": tuple(text), "label_column": label}
        if text and label
        else {},
    )


def _check_text(
    rows: Rows,
    names: Sequence[str],
    table: Mapping[str, Sequence[Any]],
) -> None:
    for name in names:
        column = profile(table[name])
        if column.count < ENOUGH or column.ids < 1:
            continue
        what = "numbers" if column.numbers == 1 else "ids"
        text = likely(table)[0]
        way = f"choose --text-column {quoted(text[0])}" if text else no_texts(table)
        raise DataError(
            f"{rows.name}: the text column {name!r} holds only {what}; {way}"
        )
