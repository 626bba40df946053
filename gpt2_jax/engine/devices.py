"""Which devices a run uses, and how its batches are cut over them.

Shapes: `S` steps, `B` batch, `N` devices.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.texts import Texts
from gpt2_jax.errors import DeviceError

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


DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def make_deterministic() -> None:
    """Let XLA take, on a GPU, only what gives the same bits each time.

    It reads its flags once: this must come before any use of a device.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if DETERMINISTIC not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {DETERMINISTIC}".strip()


def check_deterministic(device: Device) -> None:
    """Refuse a GPU that may add in any order.

    Raises:
        DeviceError: XLA was not told otherwise when it started.
    """
    if device.platform == "gpu" and DETERMINISTIC not in os.environ.get(
        "XLA_FLAGS", ""
    ):
        raise DeviceError(
            f"deterministic: set XLA_FLAGS={DETERMINISTIC} before jax is imported; "
            "gpt2-jax finetune --deterministic does so itself"
        )


def require_platform(name: str) -> None:
    """Run on the devices of `name` (cpu, gpu or tpu); must come before any use of one.

    Raises:
        DeviceError: there are none. jax alone would take the CPU, and say so in a line.
    """
    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = missing_platform(error) or str(error).splitlines()[0][:200]
        raise DeviceError(f"--device {name}: {reason}") from error
    if found[0].platform != name:
        raise DeviceError(
            f"--device {name}: there is none; found {len(found)} x {found[0].platform} "
            f"({found[0].device_kind}); install the extra for it, or leave --device out"
        )


def missing_platform(error: BaseException) -> str | None:
    """Return, if `error` is about it, why jax does not run on what JAX_PLATFORMS names.

    The line ends with what to do.
    """
    named, told = os.environ.get("JAX_PLATFORMS"), str(error)
    # Where no GPU is installed at all jax asserts it without a word.
    silent = isinstance(error, AssertionError) and not told
    if not named or not (silent or told.startswith("Unable to initialize backend")):
        return None
    if silent:
        try:
            jax.devices()
            return None
        except (AssertionError, RuntimeError):
            told = "there is no such platform here"
    reason = told.splitlines()[0].partition(" (set JAX_PLATFORMS")[0][:200].rstrip(".")
    return (
        f"JAX_PLATFORMS={named}: {reason}; name one that is installed, such as cpu, or "
        "unset it"
    )


def describe_devices(devices: Sequence[Device], config: TrainConfig) -> list[str]:
    """Return, line by line, what trains, and what padding that costs."""
    kind, num = devices[0].device_kind, len(devices)
    processes = jax.process_count()
    lines = [
        f"device: {num} x {kind} ({devices[0].platform}), {config.parallel}"
        + (", fsdp" if config.shard == "fsdp" else "")
        + (f", {processes} processes" if processes > 1 else "")
    ]
    if missing := -config.batch_size % num:
        lines.append(
            f"device: batches of {config.batch_size} are padded by {missing} to be cut "
            f"over {num}; a --batch-size that {num} divides wastes nothing"
        )
    return lines


def on_host() -> contextlib.AbstractContextManager[Any]:
    """Make arrays in the memory of the host, if JAX_PLATFORMS does not leave it out."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return contextlib.nullcontext()


def local_devices(devices: Sequence[Device]) -> list[Device]:
    """Return those of `devices` that belong to this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def local_batches(
    texts: Texts, rows: np.ndarray, width: int, devices: Sequence[Device]
) -> dict[str, np.ndarray]:
    """Return the batches of `rows` [..., B], only what this process's devices work on.

    Each of the N devices has the next B/N of a batch. A batch that they do not divide
    is padded with rows of weight 0, which count nowhere.
    """
    rows, real = _local_rows(rows, devices)
    batches = texts.batches(rows, width)
    batches["loss_weights"] = batches["loss_weights"] * real.astype(np.float32)
    return batches


def local_rows(rows: np.ndarray, padding: int, devices: Sequence[Device]) -> np.ndarray:
    """Return the rows of `local_batches`; `padding` is one of weight 0."""
    rows, real = _local_rows(rows, devices)
    return np.where(real, rows, padding).astype(np.int32)


def _local_rows(
    rows: np.ndarray, devices: Sequence[Device]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what this process has of `rows` [..., B], and which of these are real."""
    num, size = len(devices), rows.shape[-1]
    padding = [(0, 0)] * (rows.ndim - 1) + [(0, -size % num)]
    rows = np.pad(rows, padding, mode="edge")
    ours = [device.process_index == jax.process_index() for device in devices]
    places = np.flatnonzero(np.repeat(ours, rows.shape[-1] // num))
    return rows[..., places], places < size


def pad_steps(rows: np.ndarray, steps: int) -> np.ndarray:
    """Repeat the last of `rows` [S, B] up to `steps`: calls of one shape."""
    return np.pad(rows, ((0, steps - len(rows)), (0, 0)), mode="edge")
