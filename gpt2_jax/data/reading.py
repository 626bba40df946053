"""How a file is to be read, and how one was understood."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

from gpt2_jax.config.data import LABEL_COLUMN, TEXT_COLUMN

Names = str | Sequence[str] | None


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the user says of a file; what is None is found out."""

    text_column: Names = None  # None: `usual`, else "text"; several are joined
    label_column: str | None = None  # None: "label"
    group_column: str | None = None
    split_column: str | None = None
    join: str | None = None  # between the text columns; None: a newline
    delimiter: str | None = None
    quote: str | None = None  # "": no quoting
    header: bool | None = None  # False: columns have numbers, from 1
    encoding: str = "utf-8"
    encoding_errors: str = "strict"
    label_threshold: float | None = None  # labels are numbers, to be cut there
    usual: tuple[str, ...] = (TEXT_COLUMN,)  # the text columns of the run that is used
    whole: bool = False  # rows keep the columns that are not asked for too
    labelled: bool = True  # False: of a table the texts alone

    @property
    def choices(self) -> tuple[tuple[str, ...], ...]:
        """The columns that the text may stand in: the first that are all there."""
        if self.text_column is None:
            return tuple(dict.fromkeys((self.usual, (TEXT_COLUMN,))))
        if isinstance(self.text_column, str):
            return ((self.text_column,),)
        return (tuple(self.text_column),)

    def texts(self, columns: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the columns of the text, of those that a file has."""
        there = {column.strip().casefold() for column in columns}
        for choice in self.choices:
            if {name.strip().casefold() for name in choice} <= there:
                return choice
        return self.choices[0]

    def joined(self, texts: Sequence[str]) -> str:
        return ("\n" if self.join is None else self.join).join(texts)

    @property
    def label(self) -> str:
        return LABEL_COLUMN if self.label_column is None else self.label_column

    @property
    def is_table(self) -> bool:
        """Does it say anything that only a table can have?"""
        given = (self.text_column, self.delimiter, self.header)
        return any(value is not None for value in given)

    def wanted(
        self, columns: Iterable[str], *, labelled: bool
    ) -> dict[str, tuple[str, ...]]:
        """Return the columns of each role, of those that a file has."""
        roles = {"text": self.texts(columns)}
        if labelled:
            roles["label"] = (self.label,)
            for role in ("group", "split"):
                if (name := getattr(self, f"{role}_column")) is not None:
                    roles[role] = (name,)
        return roles


@dataclasses.dataclass(frozen=True)
class Form:
    """The outer form of a file."""

    kind: str  # csv, tsv, table, jsonl, json, fasttext, lines, parquet, arrow, xlsx
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None  # None: it has no such thing
    encoding: str | None = None

    def __str__(self) -> str:
        parts = [_KINDS.get(self.kind, self.kind.upper())]
        if self.delimiter is not None:
            parts.append(f"delimiter {_named(self.delimiter)}")
            parts.append(f"quote {self.quote}" if self.quote else "no quoting")
        if self.header is not None:
            parts.append("first row is the header" if self.header else "no header")
        if self.encoding is not None:
            parts.append(self.encoding)
        return ", ".join(parts)


_KINDS = {
    "table": "delimited text",
    "jsonl": "JSON lines",
    "json": "JSON",
    "fasttext": "fastText lines (__label__x text)",
    "lines": "one text a line",
    "parquet": "Parquet",
    "arrow": "Arrow",
    "folders": "a folder for each class",
    "memory": "rows in memory",
}


def _named(delimiter: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon", " ": "space"}.get(
        delimiter, repr(delimiter)
    )


MAX_LABELS = 10  # that are printed


@dataclasses.dataclass(frozen=True)
class Understood:
    """How labelled texts were read, for the user to check."""

    name: str
    form: Form
    columns: tuple[tuple[str, str, str], ...] = ()  # (role, name, an example)
    unused: tuple[str, ...] = ()  # columns
    labels: tuple[tuple[str, int], ...] = ()  # with counts, the most frequent first
    more: int = 0  # files that were read like it

    def lines(self) -> list[str]:
        """Return the block that is printed."""
        more = f", and {self.more} more like it" if self.more else ""
        lines = [f"{self.name}{more}: {self.form}"]
        for role, name, example in self.columns:
            lines.append(f"  {role:<5} {name!r}: {example}")
        if self.unused:
            lines.append(f"  not used: {', '.join(map(repr, self.unused))}")
        if self.labels:
            count = len(self.labels)
            shown = ", ".join(f"{name} {n}" for name, n in self.labels[:MAX_LABELS])
            rest = count - MAX_LABELS
            more = f" and {rest} more" if rest > 0 else ""
            lines.append(f"  {count} label{'s' * (count > 1)}: {shown}{more}")
        return lines


def count_labels(labels: Sequence[str]) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(labels).most_common())


def shortened(value: object, width: int = 60) -> str:
    """Return a value in one short line."""
    text = " ".join(str(value)[: 4 * width].split())
    return text if len(text) <= width else f"{text[: width - 1]}…"
