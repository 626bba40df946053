"""Settings of the data that others leave without a use."""

from __future__ import annotations

from typing import Any

from gpt2_jax.config.fields import require


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
