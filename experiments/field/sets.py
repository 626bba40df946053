"""A set is a folder with train.csv, test.csv or such: how it is read, and its parts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gpt2_jax.config import DataConfig
from gpt2_jax.data.columns import ColumnsError
from gpt2_jax.data.sources import load_dataset

OWN = "demo"  # the set that ships


def data_of(folder: str) -> DataConfig:
    """Return how the set is read: train.csv is split in training and validation.

    Columns of other names are those that the error about them advises.

    Raises:
        DataError: it cannot be read.
    """
    if folder == OWN:
        return DataConfig(source=OWN)
    train, test = (Path(folder, f"{part}.csv") for part in ("train", "test"))
    data = DataConfig(source=str(train), test_data=str(test))
    try:
        load_dataset(data)
    except ColumnsError as error:
        if not error.advice:
            raise
        data = dataclasses.replace(data, **error.advice)
    return data
