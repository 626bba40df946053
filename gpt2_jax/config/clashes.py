"""Settings of the data that others leave without a use."""

from __future__ import annotations

from typing import Any

from gpt2_jax.config.fields import require

_NEWLINES = ("\n", "\r", "\0")


def check_characters(config: Any) -> None:
    """Refuse a delimiter or a quote of a `DataConfig` that is no character.

    Raises:
        ValueError: it names the setting.
    """
    for field, least in (("delimiter", 1), ("quote", 0)):
        value = getattr(config, field)
        require(
            value is None or (least <= len(value) <= 1 and value not in _NEWLINES),
            f"{field}={value!r} must be one character",
        )
    require(
        config.quote != config.delimiter or not config.quote,
        f"quote={config.quote!r} is the delimiter too",
    )


def check_values(config: Any) -> None:
    """Refuse renames, an encoding and a split of a `DataConfig` that are none.

    Raises:
        ValueError: it names the setting.
    """
    for rename in config.rename_labels:
        require("=" in rename, f"rename_labels: {rename!r} is not OLD=NEW")
    try:
        "".encode(config.encoding)
    except (LookupError, ValueError) as error:  # "unknown encoding: utf-9"
        raise ValueError(f"encoding={config.encoding!r}: {error}") from None
    require(
        all(part > 0 for part in config.split) and abs(sum(config.split) - 1.0) < 1e-6,
        f"split={config.split} must be three positive parts that sum to 1",
    )


def check_clashes(config: Any) -> None:
    """Refuse what is set in a `DataConfig` and would do nothing.

    Raises:
        ValueError: it names both settings, and what to do.
    """
    require(
        config.test_labels_file is None or config.test_data is not None,
        "test_labels_file needs test_data (--test-data), the texts of these labels",
    )
    require(
        config.book or config.book_split == "chapter",
        f"book_split={config.book_split!r} needs book=True (--preset book)",
    )
    for field, unset in (
        ("split_column", None),
        ("limit", None),
        ("drop_duplicates", False),
        ("folds", None),
    ):
        value = getattr(config, field)
        require(
            not config.book or value == unset,
            f"{field}={value!r} has no use with book=True (--preset book), which "
            "has rows and a split of its own; omit one of them",
        )
    require(
        config.group or config.group_column is None,
        f"group_column={config.group_column!r} has no use with group=False; omit one "
        "of them",
    )
    _check_folds(config)


def _check_folds(config: Any) -> None:
    for field in ("split_column", "test_data"):
        value = getattr(config, field)
        require(
            config.folds is None or value is None,
            f"{field}={value!r} has no use with folds={config.folds}, which say what "
            "the test part is; omit one of them",
        )
    for field in ("fold", "fold_repeat"):
        value = getattr(config, field)
        require(
            config.folds is not None or not value,
            f"{field}={value} needs folds (--folds), of which it is one",
        )
    require(
        config.folds is None or config.fold < config.folds,
        f"fold={config.fold} is none of folds={config.folds}; they begin with 0",
    )
