"""Which labelled texts a run uses, and how they are read, balanced and split."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Literal

from gpt2_jax.config.clashes import check_characters, check_clashes, check_values
from gpt2_jax.config.fields import check_fields, option, require

Balance = Literal["none", "undersample", "weights"]
BALANCES: tuple[Balance, ...] = typing.get_args(Balance)

Rare = Literal["error", "drop", "train"]

BookSplit = Literal["chapter", "additional"]  # the first where none is named
BOOK_SPLITS: tuple[BookSplit, ...] = typing.get_args(BookSplit)

EncodingErrors = Literal["strict", "replace"]

TEXT_COLUMN, LABEL_COLUMN = "text", "label"  # where none is named

# Sections of --help: `evaluate` takes the flags of the first two, `predict` those of
# the first.
ROWS, LABELS, SPLIT = "rows", "labels", "balance and split"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which labelled texts, and how they are balanced and split."""

    source: tuple[str, ...] | str | Path = option(
        "demo",
        "demo, sms-spam, imdb, a file (.csv, .tsv, .txt, .json, .jsonl, also .gz, "
        ".bz2, .xz, .zst; .parquet, .arrow, .xlsx, .zip), a pattern as '*.csv', a "
        "folder (train, validation and test files, datasets.save_to_disk, a folder of "
        ".txt files for each class), or -, stdin; give it again for more files",
        flag="--data",
        metavar="D",
        repeated=True,
        section=ROWS,
    )
    text_column: tuple[str, ...] | str | None = option(
        None,
        "column that holds the texts; give it again to join several, as of pairs",
        unset=TEXT_COLUMN,
        repeated=True,
        section=ROWS,
    )
    join: str | None = option(
        None,
        "what is put between several text columns",
        metavar="TEXT",
        unset="a newline",
        section=ROWS,
    )
    delimiter: str | None = option(
        None,
        "character between the columns; \\t is a tab",
        metavar="C",
        unset="found out",
        section=ROWS,
    )
    quote: str | None = option(
        None,
        "character around a value; empty: none is special",
        metavar="C",
        unset="found out",
        section=ROWS,
    )
    header: bool | None = option(
        None,
        "the first row names the columns; without, they have numbers, from 1",
        unset="yes, but refused where it looks like data",
        section=ROWS,
    )
    label_column: str | None = option(
        None, "column that holds the labels", unset=LABEL_COLUMN, section=LABELS
    )
    positive: str | None = option(
        None,
        "class of two whose precision, recall, F1 and AUC are shown, and of more whose "
        "curves are drawn",
        unset="the rarer of two",
        metavar="LABEL",
        section=LABELS,
    )
    rename_labels: tuple[str, ...] = option(
        (),
        "use the label NEW for OLD; may be repeated",
        flag="--rename-label",
        metavar="OLD=NEW",
        repeated=True,
        section=LABELS,
    )
    label_threshold: float | None = option(
        None,
        "make two classes of labels that are numbers: below it, and from it on",
        section=LABELS,
    )
    labels_file: str | Path | None = option(
        None,
        "labels, one on each line, of the texts on the lines of --data",
        metavar="FILE",
        section=LABELS,
    )
    label_names: str | Path | None = option(
        None,
        "names of labels that are numbers: one on each line, or after its number",
        metavar="FILE",
        section=LABELS,
    )
    corrections: str | Path | None = option(
        None,
        "labels that were looked at again: a CSV as `label-errors` writes it, with the "
        "right ones in its column `corrected`",
        metavar="FILE",
        section=LABELS,
    )
    test_data: tuple[str, ...] | str | Path | None = option(
        None,
        "files of the test part, read as --data is",
        metavar="D",
        repeated=True,
        section=SPLIT,
    )
    test_labels_file: str | Path | None = option(
        None,
        "labels, one on each line, of the texts on the lines of --test-data",
        metavar="FILE",
        section=SPLIT,
    )
    group_column: str | None = option(
        None,
        "rows with the same value in this column stay on one side of the split",
        section=SPLIT,
    )
    split_column: str | None = option(
        None,
        "column that says train, validation or test",
        unset="a split at random",
        section=SPLIT,
    )
    encoding: str = option("utf-8", "of the text file", section=ROWS)
    encoding_errors: EncodingErrors = option(
        "strict",
        "bytes that are not in the encoding: refused, or U+FFFD in their place",
        section=ROWS,
    )
    drop_duplicates: bool = option(False, "use each text once", section=SPLIT)
    balance: Balance = option(
        "none",
        "of the classes: leave out texts of larger ones, weigh the loss, or nothing",
        section=SPLIT,
    )
    rare: Rare = option(
        "error",
        "what becomes of labels with fewer texts than --rare-below: an error, left "
        "out, or only trained on",
        section=SPLIT,
    )
    rare_below: int = option(2, "texts of a label", at_least=1, section=SPLIT)
    limit: int | None = option(
        None,
        "use so many texts, each class its share",
        unset="all",
        at_least=1,
        section=SPLIT,
    )
    shots: int | None = option(
        None,
        "train on so many texts of each class; validation and test stay whole",
        unset="all",
        at_least=1,
        section=SPLIT,
    )
    split: tuple[float, float, float] = option(
        (0.7, 0.1, 0.2),
        "three positive parts that sum to 1",
        metavar=("TRAIN", "VALIDATION", "TEST"),
        section=SPLIT,
    )
    group: bool = option(
        True,
        "identical texts, and the families of demo, stay on one side of the split",
        section=SPLIT,
    )
    split_seed: int = option(
        123,
        "of the split; apart from --seed, so that all seeds test the same rows",
        at_least=0,
        below=2**32,
        section=SPLIT,
    )
    folds: int | None = option(
        None,
        "cut all texts into K folds, of which one is the test part; validation is cut "
        "from the others, and --split says how much",
        unset="a split as --split says",
        metavar="K",
        at_least=2,
        section=SPLIT,
    )
    fold: int = option(
        0, "that is the test part, from 0", metavar="I", at_least=0, section=SPLIT
    )
    fold_repeat: int = option(
        0,
        "which of many ways to cut the folds",
        metavar="I",
        at_least=0,
        below=2**16,
        section=SPLIT,
    )
    book: bool = option(
        False, "the book's parsing, sampling and split, to the row", section=SPLIT
    )
    book_split: BookSplit = option(
        "chapter",
        "with --book: of its chapter, or of its additional experiments, which shuffle "
        "twice",
        section=SPLIT,
    )
    unseen: bool = option(
        False,
        "no validation or test text that stands in train too",
        section=SPLIT,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        for field in ("source", "text_column", "test_data"):
            value = getattr(self, field)
            if isinstance(value, tuple):  # one is written as one
                alone = value[0] if len(value) == 1 else value
                require(bool(value), f"{field} is an empty list")
                object.__setattr__(self, field, alone)
        if self.delimiter == "\\t":  # as shells pass it on
            object.__setattr__(self, "delimiter", "\t")
        check_characters(self)
        check_clashes(self)
        check_values(self)

    def of_all_folds(self) -> DataConfig:
        """Return how the texts are read, whichever fold is the test part."""
        return dataclasses.replace(self, fold=0, fold_repeat=0)
