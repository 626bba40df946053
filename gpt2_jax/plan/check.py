"""What the programs of a run need of an accelerator, by its own compiler, without one.

The compilers are libtpu's (the extra `tpu`) and that of jax's CUDA plugin.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from gpt2_jax.engine.devices import Device
from gpt2_jax.errors import DeviceError, UserError
from gpt2_jax.model.attention import compiling_for
from gpt2_jax.plan import aot
from gpt2_jax.plan.abstract import abstract_run
from gpt2_jax.plan.cases import Case
from gpt2_jax.plan.counting import collective_bytes, wire_bytes
from gpt2_jax.plan.targets import TARGETS, Target, describe_card

HEADER = (
    "| target | chips | model | trainable | dtype | wrapper | program | rows x tokens "
    "| GiB of a chip | Gflop of a chip | MB that collectives return to a device "
    "| attention | ms at least: what binds, and the rest | compiled in s | fits |",
    f"|{'---|' * 15}",
)
_INSTALL = {
    "tpu": ("libtpu", "pip install 'gpt2-jax[tpu]' (0.7 GB)"),
    "cuda": (
        "jax_plugins.xla_cuda13",
        "pip install --no-deps jax-cuda13-plugin jax-cuda13-pjrt, of jax's own version "
        f"{jax.__version__} (0.4 GB)",
    ),
}


@dataclasses.dataclass(frozen=True)
class Need:
    """What one program needs of each chip or card."""

    chips: int
    shape: str  # of its batch
    memory: int | None  # bytes; None: the compiler found no way
    seconds: float  # of the compilation
    fits: bool
    flops: float = 0.0
    returned: dict[str, int] = dataclasses.field(default_factory=dict)  # bytes, by kind
    attention: str = ""
    times: dict[str, float] = dataclasses.field(default_factory=dict)  # s, by resource
    reason: str = ""  # why it does not fit


def prepare_compiler(targets: Sequence[str]) -> None:
    """Make the compilers work for what is not there; before any use of a device.

    Raises:
        UserError: there is no such target.
        DeviceError: a compiler is not installed.
    """
    for platform in sorted({_target(name).platform for name in targets}):
        module, how = _INSTALL[platform]
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(module) is not None:
                continue
        raise DeviceError(f"check needs the compiler of {platform}: {how}")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # ask no cloud what we run on
    # Nothing runs on a chip here: another process that uses libtpu is no hindrance.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    jax.config.update("jax_platforms", "cpu")
    # Only a device that is there could load what a cache has kept.
    jax.config.update("jax_enable_compilation_cache", False)


def _target(name: str) -> Target:
    kind, _, shape = name.partition(":")
    target = TARGETS.get(kind)
    pattern = r"[1-9]\d*" if target and target.card else r"\d+(x\d+){1,2}"
    if target is None or not re.fullmatch(pattern, shape or target.shape):
        raise UserError(
            f"--target {name}: expected one of {', '.join(TARGETS)}, and a shape, such "
            "as h100:8, v5e:2x4 or v5p:2x2x1"
        )
    return target


def target_devices(name: str) -> list[Device]:
    """Return the devices of a target such as h100:8 or v5e:2x4.

    Raises:
        UserError: there is no such target.
        DeviceError: another process has the compiler.
    """
    from jax.experimental import topologies

    target, (kind, _, shape) = _target(name), name.partition(":")
    shape = shape or target.shape
    told: dict[str, Any] = {"platform": "tpu", "topology_name": f"{kind}:{shape}"}
    if target.card is not None:
        told = {"platform": "cuda", "topology_name": kind, "topology": f"1x1x{shape}"}
        told["target_config"] = describe_card(target.card, target.bandwidth)
    try:
        return list(topologies.get_topology_desc(**told).devices)
    except Exception as error:  # of whatever kind the plugin raises
        reason = str(error).splitlines()[0][:200]
        if "lockfile" in reason:
            raise DeviceError(
                "another process uses TPU's compiler, or left its lock behind: wait "
                f"for it, or remove /tmp/libtpu_lockfile ({reason})"
            ) from error
        raise UserError(f"--target {name}: no such slice ({reason})") from error


def check(case: Case) -> Need:
    """Compile a program for its target.

    Raises:
        UserError: there is no such target.
    """
    config, train = case.model, case.train
    target, devices = _target(case.target), target_devices(case.target)
    chips = _chips(case.target)
    cores = len(devices) // chips  # those of v4 and TPU7x are devices of their own
    started = time.perf_counter()
    run = abstract_run(config, train)
    work = aot.prepare(case.program, run, train, devices, case.width)
    try:
        with compiling_for(devices[0]), _without_cudnn():
            compiled = work.program.lower(*work.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used \S+ of \S+ \S+", str(error))
        reason = used[0] if used else str(error).splitlines()[0][:200]
        seconds = time.perf_counter() - started
        return Need(chips, work.shape, None, seconds, False, reason=reason)
    seconds = time.perf_counter() - started
    hlo, stats = _text(compiled), compiled.memory_analysis()
    flops, memory = cores * work.flops(), cores * _bytes(stats)
    returned = collective_bytes(hlo, config.num_layers - 1 - work.depth)
    # Arguments and results once, and what is between them written and read.
    moved = stats.argument_size_in_bytes + stats.output_size_in_bytes
    moved += 2 * stats.temp_size_in_bytes
    times = {
        "matmuls": flops / target.peak(config),
        "memory": cores * moved / target.bandwidth / 1e9,
        "wire": wire_bytes(returned, len(devices)) / target.wire / 1e9,
    }
    return Need(
        chips=chips,
        shape=work.shape,
        memory=memory,
        seconds=seconds,
        fits=memory <= target.memory * 2**30,
        flops=flops,
        returned=returned,
        attention="cuDNN" if "__cudnn$fmha" in hlo else "XLA",
        times=times,
    )


def _chips(name: str) -> int:
    shape = name.partition(":")[2] or _target(name).shape
    return math.prod(int(n) for n in shape.split("x"))


@contextlib.contextmanager
def _without_cudnn() -> Iterator[None]:
    """Let jax lower cuDNN's attention where cuDNN is not: it asks for its version."""
    try:
        from jax._src.cudnn import fused_attention_stablehlo as cudnn

        own = cudnn.check_cudnn_version
    except (ImportError, AttributeError):  # of another jax; then it must be there
        yield
        return
    cudnn.check_cudnn_version = lambda: 91000
    try:
        yield
    finally:
        cudnn.check_cudnn_version = own


def _text(compiled: Any) -> str:
    """Return the program's text; some libtpus fail to write that of TPU7x."""
    try:
        return compiled.as_text() or ""
    except jax.errors.JaxRuntimeError:
        return ""


def _bytes(stats: Any) -> int:
    """Return what is held at the same time; results lie where the state was."""
    return (
        stats.argument_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
        + stats.temp_size_in_bytes
        + stats.generated_code_size_in_bytes
    )


def describe(case: Case, need: Need) -> str:
    """Return a row of the table."""
    limit = _target(case.target).memory
    cells = [case.target, str(need.chips), *case.names, case.program]
    cells.append(need.shape)
    if need.memory is None:
        cells += [f"of {limit:g}", "", "", "", "", f"{need.seconds:.0f}"]
        cells += [f"no: {need.reason}"]
    else:
        longest = max(need.times.values())
        shares = sorted(need.times.items(), key=lambda item: -item[1])
        bound = ", ".join(f"{name} {100 * t / longest:.0f}%" for name, t in shares)
        sent = ", ".join(f"{k} {v / 1e6:.3f}" for k, v in sorted(need.returned.items()))
        cells += [
            f"{need.memory / 2**30:.2f} of {limit:g}",
            f"{need.flops / 1e9:.2f}",
            sent or "0",
            need.attention,
            f"{1e3 * longest:.3f}: {bound}",
            f"{need.seconds:.0f}",
            "yes" if need.fits else "no",
        ]
    return f"| {' | '.join(cells)} |"
