"""Which devices a run uses, and how its batches are cut over them.

Shapes: `S` steps, `B` batch, `N` devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gpt2_jax.errors import DeviceError
from gpt2_jax.training.inputs import Inputs

Device = Any  # jax.Device is no class to a type checker


def choose_devices(count: int | None) -> list[Device]:
    """Return `count` devices, as many of each process, or all; those of one together.

    Raises:
        DeviceError: there are fewer, or the processes cannot share them.
    """
    devices, processes = jax.devices(), jax.process_count()
    wanted = count or len(devices)
    if wanted > len(devices):
        where = "this machine has" if processes == 1 else f"{processes} processes have"
        raise DeviceError(
            f"--devices {wanted}: {where} {len(devices)} ({devices[0].platform}); ask "
            "for fewer"
        )
    if wanted % processes:
        raise DeviceError(
            f"--devices {wanted}: not divisible by {processes} processes; choose "
            f"--devices {wanted - wanted % processes or processes}"
        )
    each = wanted // processes
    by_process = [
        [device for device in devices if device.process_index == process][:each]
        for process in range(processes)
    ]
    return [device for some in by_process for device in some]


def local_devices(devices: Sequence[Device]) -> list[Device]:
    """Return those of `devices` that belong to this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def local_batches(
    inputs: Inputs, rows: np.ndarray, width: int, devices: Sequence[Device]
) -> dict[str, np.ndarray]:
    """Return the batches of `rows` [..., B], only what this process's devices work on.

    Each of the N devices has the next B/N of a batch. A batch that they do not divide
    is padded with rows of weight 0, which count nowhere.
    """
    num, size = len(devices), rows.shape[-1]
    padding = [(0, 0)] * (rows.ndim - 1) + [(0, -size % num)]
    rows = np.pad(rows, padding, mode="edge")
    ours = [device.process_index == jax.process_index() for device in devices]
    places = np.flatnonzero(np.repeat(ours, rows.shape[-1] // num))
    batches = inputs.batches(rows[..., places], width)
    batches["weights"] = batches["weights"] * (places < size).astype(np.float32)
    return batches


def pad_steps(rows: np.ndarray, steps: int) -> np.ndarray:
    """Repeat the last of `rows` [S, B] up to `steps`: calls of one shape."""
    return np.pad(rows, ((0, steps - len(rows)), (0, 0)), mode="edge")
