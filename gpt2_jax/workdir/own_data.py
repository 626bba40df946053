"""The data of a run, as its config.json says them."""

from __future__ import annotations

from pathlib import Path

from gpt2_jax import config as configs
from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.data.content import MEMORY, STDIN
from gpt2_jax.errors import DataError, WeightsError
from gpt2_jax.storage.sealed import read_json


def own_data(run: Path) -> DataConfig:
    """Return how the data that a run was trained on are read again.

    Raises:
        DataError: they were standard input, or rows in memory.
        WeightsError: the run's config.json cannot be read.
    """
    data = stored_data(run)
    gone = {STDIN: "standard input", MEMORY: "rows in memory"}
    if (what := gone.get(str(data.source))) is not None:
        raise DataError(
            f"{run}: was trained on {what}, which is not kept; give labelled texts "
            "with --data"
        )
    return data


def stored_data(run: Path) -> DataConfig:
    """Return how a run read its data, standard input too.

    Raises:
        WeightsError: the run's config.json cannot be read.
    """
    path = run / "config.json"
    try:
        return configs.from_stored(FinetuneConfig, read_json(path)).data
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
