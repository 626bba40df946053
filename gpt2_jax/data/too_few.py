"""Why there are too few texts, and which flag cures it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data import checks
from gpt2_jax.data.dataset import Dataset


def lacks_classes(
    dataset: Dataset,
    labels: np.ndarray,
    rows: np.ndarray,
    part: str,
    lacking: Sequence[int],
    config: DataConfig,
) -> str:
    """Return an error that names why `part` lacks classes, and the flag that cures.

    `rows` are those that were split.
    """
    counts = np.bincount(labels, minlength=len(dataset.classes))
    fewest = int(counts.min())
    if dataset.parts is not None and part == "train" and config.limit is None:
        cure = (
            "the split that is given has none to train on; leave such labels out with "
            "--rare drop --rare-below 1"
        )
    elif config.unseen and part != "train":
        cure = (
            "--unseen leaves out the texts that stand in train too; omit it, or "
            "use each text once with --drop-duplicates"
        )
    elif (left_out := left_out_by(dataset, config, rows)) is not None:
        cure = left_out
    elif config.rare == "train" and fewest < config.rare_below:
        cure = (
            f"rare labels are only trained on; lower --rare-below {config.rare_below}"
        )
    elif config.folds is not None:
        cure = f"add texts or take fewer --folds than {config.folds}"
    else:
        cure = "add texts or change the split with --split"
    names = checks.shortened([dataset.classes[index] for index in lacking])
    return (
        f"{dataset.name}: {len(rows)} texts are too few: the {part} part lacks {names};"
        f" {cure}"
    )


def fill_no_batch(
    dataset: Dataset, config: DataConfig, train: np.ndarray, batch_size: int
) -> str:
    """Return an error that the rows `train` fill no batch, with what cures it."""
    cure = left_out_by(dataset, config, train) or "add texts"
    return (
        f"{dataset.name}: {len(train)} training texts do not fill one batch of "
        f"{batch_size}; {cure}, or choose --batch-size {len(train)} or less"
    )


def left_out_by(dataset: Dataset, config: DataConfig, rows: np.ndarray) -> str | None:
    """Return which setting left most texts out of `rows`, and how to use more."""
    if config.shots is not None and len(rows) <= config.shots * len(dataset.classes):
        return f"raise --shots {config.shots}"
    if config.limit is not None and config.limit < len(dataset.labels):
        return f"raise --limit {config.limit}"
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    fewest = int(counts.argmin())
    undersampled = config.book or config.balance == "undersample"
    if undersampled and counts.max() > counts[fewest]:
        way = "omit --preset book" if config.book else "--balance none or weights"
        return (
            "undersampling leaves as many texts of each class as the rarest has, "
            f"{counts[fewest]} of {dataset.classes[fewest]}; {way} uses all"
        )
    repeated = len(dataset.texts) - len(set(dataset.texts))
    if config.drop_duplicates and repeated:
        return f"--drop-duplicates leaves out {repeated} texts; omit it"
    return None
