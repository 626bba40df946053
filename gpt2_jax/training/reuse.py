"""Where the outputs of the frozen trunk are kept: in memory, in a file, nowhere."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gpt2_jax.config import TrainConfig
from gpt2_jax.distributed import least
from gpt2_jax.model import GPT2
from gpt2_jax.training.devices import Device
from gpt2_jax.training.features import output_shape, run_trunk
from gpt2_jax.training.inputs import Inputs
from gpt2_jax.tree import Params

log = logging.getLogger(__name__)


def reuse_trunk(
    model: GPT2,
    params: Params,
    inputs: Inputs,
    config: TrainConfig,
    split: int,
    folder: Path,
    devices: Sequence[Device] = (),
    poll: Callable[[], None] = lambda: None,
) -> Inputs | None:
    """Run the frozen trunk of `split` blocks once over every distinct text.

    Its output is kept in memory, or beyond `config.reuse_max_bytes` in a file in
    `folder` that vanishes with the process. Returns None where it would change from
    step to step (dropout), where nothing is frozen below, or where it fits neither.
    """
    if not config.reuse_trunk or config.dropout_rate or not split:
        return None
    shape, dtype = output_shape(model.config, inputs, split)
    needed = math.prod(shape) * dtype.itemsize
    in_memory = needed <= config.reuse_max_bytes
    (free,) = least(shutil.disk_usage(folder).free)  # processes must do the same
    if not in_memory and needed > min(config.reuse_max_disk_bytes, free):
        log.info(
            "the frozen trunk runs in every step: its output (%.1f GB) is over the "
            "limits of %.1f GB in memory and %.1f GB on disk (%.1f GB free)",
            needed / 1e9,
            config.reuse_max_bytes / 1e9,
            config.reuse_max_disk_bytes / 1e9,
            free / 1e9,
        )
        return None
    log.info(
        "the frozen trunk runs once over %d distinct texts; its output (%.0f MB) is "
        "kept in %s",
        len(np.unique(inputs.starts)),
        needed / 1e6,
        "memory" if in_memory else f"a file in {folder}",
    )
    values = None if in_memory else _file_array(folder, shape, dtype)
    return run_trunk(model.config, params, inputs, split, values, devices, poll)


def _file_array(folder: Path, shape: tuple[int, int], dtype: np.dtype) -> np.memmap:
    # The file has no name: whatever ends the process, the disk gets its space back.
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
