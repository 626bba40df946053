"""Where the outputs of the frozen trunk are kept: in memory, in a file, nowhere."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.distributed import process_min
from gpt2_jax.engine.devices import Device
from gpt2_jax.engine.outputs import keeps_outputs
from gpt2_jax.engine.texts import Texts
from gpt2_jax.engine.trunk import output_shape, run_trunk
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.tree import Params, split_params
from gpt2_jax.storage.atomic import replacing
from gpt2_jax.storage.leaves import hash_leaves
from gpt2_jax.storage.sealed import digest

log = logging.getLogger(__name__)

_PLACES = ("starts", "lengths")  # of the texts in the values


def reuses_trunk(config: TrainConfig, depth: int) -> bool:
    """Return whether the output of a trunk of `depth` is the same in every step."""
    return config.reuse_trunk and not config.dropout_rate and depth > 0


def reuse_trunk(
    model: GPT2,
    params: Params,
    texts: Texts,
    config: TrainConfig,
    depth: int,
    folder: Path,
    *,
    devices: Sequence[Device] = (),
    poll: Callable[[], None] = lambda: None,
    cache: Path | None = None,
    resident: bool = False,
) -> Texts | None:
    """Run the frozen trunk of `depth` blocks once over every distinct text.

    Its output is kept in memory, or beyond `config.reuse_max_bytes` in a file in
    `folder` that vanishes with the process. Returns None where it would change from
    step to step (see `reuses_trunk`), or where it fits neither.

    What is kept in memory is also read from the folder `cache`, or left there for the
    next run of the same trunk on the same texts.

    Args:
        resident: the steps want it on the only one of `devices`, of the only process:
            it stays there where it fits, and there is no `cache`.
    """
    if not reuses_trunk(config, depth):
        return None
    shape, dtype = output_shape(model.config, texts, depth)
    needed = math.prod(shape) * dtype.itemsize
    in_memory = needed <= config.reuse_max_bytes
    (free,) = process_min(shutil.disk_usage(folder).free)  # processes must do the same
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
        len(np.unique(texts.starts)),
        needed / 1e6,
        "memory" if in_memory else f"a file in {folder}",
    )
    stays = resident and in_memory and cache is None
    on_device = stays and keeps_outputs(devices[0], needed)
    values = None if in_memory else _file_array(folder, shape, dtype)

    def run() -> Texts:
        return run_trunk(
            *(model.config, params, texts, depth, values, devices, poll),
            on_device=on_device,
        )

    if cache is None or not in_memory or jax.process_count() > 1:
        return run()
    file = cache / f"{_trunk_id(model.config, params, texts, depth)}.npz"
    saved = _load(file, {"values": shape, **dict.fromkeys(_PLACES, texts.starts.shape)})
    if saved is None:
        outputs = run()
        _save(file, outputs)
        return outputs
    log.info("it is read from %s", file)
    return dataclasses.replace(
        texts,
        values=saved["values"].view(dtype),  # NumPy's files know no bfloat16
        widths=(1,) if depth > model.config.num_layers else texts.widths,
        **{name: saved[name] for name in _PLACES},
    )


def _trunk_id(config: GPT2Config, params: Params, texts: Texts, depth: int) -> str:
    """Return the hash of all that the trunk's output depends on."""
    pooled = depth > config.num_layers
    trunk, _ = split_params(params, config.num_layers, depth)
    read = (texts.values, texts.starts, texts.lengths)
    known = {
        "params": hash_leaves(trunk),
        "texts": [hashlib.sha256(array.tobytes()).hexdigest() for array in read],
        "widths": texts.widths if pooled else texts.widths[-1],
        "pool": config.pool if pooled else None,
        "model": [config.num_heads, config.causal, config.dtype, config.precision],
        "depth": depth,
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    return digest(known)


def _load(
    file: Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray] | None:
    """Return what `_save` wrote, or None where it is not there or damaged."""
    if not file.is_file():
        return None
    try:
        with (
            file.open("rb") as opened,  # NumPy leaves a damaged one open
            np.load(opened, allow_pickle=False) as saved,
        ):
            arrays = {name: saved[name] for name in shapes}  # checks their CRC
    except Exception as error:  # a damaged archive raises whatever it likes
        log.warning("%s: damaged (%s); it is computed again", file, error)
        return None
    # A shape that became smaller ends the reading before the CRC.
    if {name: array.shape for name, array in arrays.items()} != dict(shapes):
        log.warning("%s: damaged (other shapes); it is computed again", file)
        return None
    return arrays


def _save(file: Path, outputs: Texts) -> None:
    with replacing(file) as whole:  # another run may write the same one
        arrays = {name: getattr(outputs, name) for name in _PLACES}
        np.savez(whole, values=outputs.values, **arrays)


def _file_array(folder: Path, shape: tuple[int, int], dtype: np.dtype) -> np.memmap:
    # The file has no name: whatever ends the process, the disk gets its space back.
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
