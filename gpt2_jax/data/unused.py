"""What is said of how data are read, and their form has no use for, is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from gpt2_jax.config import DataConfig
from gpt2_jax.config.fields import flag_of, option_of
from gpt2_jax.data.columns import ColumnsError
from gpt2_jax.data.reading import Reading

_CELLS = ("delimiter", "quote", "header")
_COLUMNS = ("text_column", "join", "label_column", "group_column", "split_column")

OF_FILES = (
    *vars(Reading()),
    "labels_file",
    "label_names",
    "test_data",
    "test_labels_file",
)

# By the kind of a `Form`.
_UNUSED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("jsonl", "json", "fasttext", "parquet", "arrow"), _CELLS),
    "xlsx": ("delimiter", "quote"),
    **dict.fromkeys(("lines", "folders"), (*_CELLS, *_COLUMNS)),
}


class UnusedError(ColumnsError):
    """Fields of a config are set that the data have no use for."""

    def __init__(self, message: str, fields: Collection[str]) -> None:
        super().__init__(message)
        self.fields = fields


def refuse_unused(name: str, kind: str, config: DataConfig) -> None:
    """Refuse what is said of tables, where a file has a form without it.

    Raises:
        UnusedError: something is said.
    """
    why = {"lines": "a text on each line", "folders": "a folder for each class"}
    refuse_said(name, why.get(kind, f"a file of {kind}"), _UNUSED.get(kind, ()), config)


def refuse_said(
    name: str, why: str, fields: Collection[str], config: DataConfig
) -> None:
    """Refuse that any of `fields` is set.

    Raises:
        UnusedError: it tells `why`, and all of them that are.
    """
    said = {
        field.name: flag_of(field.name, option_of(field))
        for field in dataclasses.fields(config)
        if field.name in fields
        # an older config.json names the columns that are the default
        and getattr(config, field.name) not in (field.default, option_of(field).unset)
    }
    if said:
        raise UnusedError(f"{name}: {why}; omit {', '.join(said.values())}", [*said])
