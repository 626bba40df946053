"""What the train step needs of a TPU slice, by the TPU's own compiler, without one."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import jax

from gpt2_jax.config import GPT2Config, TrainConfig
from gpt2_jax.engine.devices import Device
from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.plan.aot import abstract_run, compile_train, step_costs

# Memory of a chip in GiB: docs.cloud.google.com/tpu/docs, "System architecture".
CHIP_GIB = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32, "tpu7x": 192}

HEADER = (
    "| slice | chips | model | trainable | wrapper | batch x tokens | GiB of a chip "
    "| Gflop of a chip and step | MB sent of a chip and step | compiled in s | fits |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


@dataclasses.dataclass(frozen=True)
class Need:
    """What one train step needs of each chip."""

    chips: int
    memory: int | None  # bytes; None: the compiler found no way
    flops: float
    sent: int  # bytes that its collectives return
    seconds: float  # of the compilation
    fits: bool
    reason: str = ""  # why it does not


def prepare_compiler() -> None:
    """Make libtpu compile for slices that are not there; before any use of a device.

    Raises:
        DeviceError: it is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise DeviceError(
            "tpu-check needs TPU's compiler: pip install 'gpt2-jax[tpu]' (0.7 GB)"
        )
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # ask no cloud what we run on
    # Nothing runs on a chip here: another process that uses libtpu is no hindrance.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    jax.config.update("jax_platforms", "cpu")
    # Only a device that is there could load what a cache has kept.
    jax.config.update("jax_enable_compilation_cache", False)


def slice_devices(topology: str) -> list[Device]:
    """Return the devices of a slice such as v5e:2x4.

    Raises:
        UserError: there is no such slice.
        DeviceError: another process has the compiler.
    """
    from jax.experimental import topologies

    kind, _, shape = topology.partition(":")
    if kind not in CHIP_GIB or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise UserError(
            f"--topology {topology}: expected one of {', '.join(CHIP_GIB)} and a "
            "shape, such as v5e:2x4 or v5p:2x2x1"
        )
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # of whatever kind libtpu raises
        reason = str(error).splitlines()[0][:200]
        if "lockfile" in reason:
            raise DeviceError(
                "another process uses TPU's compiler, or left its lock behind: wait "
                f"for it, or remove /tmp/libtpu_lockfile ({reason})"
            ) from error
        raise UserError(f"--topology {topology}: no such slice ({reason})") from error
    return list(found.devices)


def check(topology: str, config: GPT2Config, train: TrainConfig, width: int) -> Need:
    """Compile the train step of texts of `width` tokens for `topology`.

    Raises:
        UserError: there is no such slice.
    """
    devices = slice_devices(topology)
    kind, _, shape = topology.partition(":")
    chips = math.prod(int(n) for n in shape.split("x"))
    cores = len(devices) // chips  # those of a v4 are devices of their own
    started = time.perf_counter()
    try:
        run = abstract_run(config, train)
        compiled = compile_train(run, train, devices, width)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used \S+ of \S+ \S+", str(error))
        reason = used[0] if used else str(error).splitlines()[0][:200]
        seconds = time.perf_counter() - started
        return Need(chips, None, 0.0, 0, seconds, False, reason)
    seconds = time.perf_counter() - started
    memory = cores * _bytes(compiled.memory_analysis())
    flops, sent = step_costs(config, train, devices, width, compiled, run.depth)
    return Need(
        chips=chips,
        memory=memory,
        flops=cores * flops,
        sent=cores * sent,
        seconds=seconds,
        fits=memory <= CHIP_GIB[kind] << 30,
    )


def _bytes(stats: Any) -> int:
    """Return what is held at the same time; results lie where the state was."""
    return (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.temp_size_in_bytes
        + stats.generated_code_size_in_bytes
    )


def describe(topology: str, names: Sequence[str], need: Need) -> str:
    """Return a row of the table; `names` are model, trainable, wrapper and shapes."""
    limit = CHIP_GIB[topology.partition(":")[0]]
    cells = [topology, str(need.chips), *names]
    if need.memory is None:
        cells += [f"of {limit}", "", "", f"{need.seconds:.0f}", f"no: {need.reason}"]
    else:
        cells += [
            f"{need.memory / 2**30:.2f} of {limit}",
            f"{need.flops / 1e9:.2f}",
            f"{need.sent / 1e6:.3f}",
            f"{need.seconds:.0f}",
            "yes" if need.fits else "no",
        ]
    return f"| {' | '.join(cells)} |"
