"""The accelerators that programs can be compiled for without having one.

Memory, peak and bandwidth are the makers' published figures, without sparsity; what
goes to other chips is that of one direction, half of a "bidirectional" figure. The
source stands beside each. A GPU's memory is what its driver leaves of it.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any

from gpt2_jax.config import GPT2Config


@dataclasses.dataclass(frozen=True)
class Card:
    """What XLA's compiler must know of a GPU; the names are those of its protocol."""

    name: str
    capability: tuple[int, int]
    core_count: int
    fpus_per_core: int
    threads_per_core_limit: int
    shared_memory_per_core: int
    shared_memory_per_block_optin: int
    l2_cache_size: int
    clock_rate_ghz: float
    device_memory_size: int


@dataclasses.dataclass(frozen=True)
class Target:
    """An accelerator; rates are of one chip, per second."""

    shape: str  # of the slice, or how many GPUs, where none is given
    memory: float  # GiB
    bfloat16: float  # Tflops
    float32: tuple[float, float, float]  # Tflops by precision: default, high, highest
    bandwidth: float  # GB of memory
    wire: float  # GB sent to other chips
    kinds: tuple[str, ...]  # what jax calls its devices: `device_kind`
    card: Card | None = None  # None: a TPU

    @property
    def platform(self) -> str:
        return "tpu" if self.card is None else "cuda"

    def peak(self, config: GPT2Config) -> float:
        """Return the most flops per second of the matmuls of `config`."""
        if config.dtype == "bfloat16":
            return self.bfloat16 * 1e12
        which = ("default", "high", "highest").index(config.precision)
        return self.float32[which] * 1e12


def _tpu(
    shape: str, memory: int, peak: float, bandwidth: float, wire: float, *kinds: str
) -> Target:
    passes = (peak, peak / 3, peak / 6)  # of bfloat16, which its matrix unit makes
    return Target(shape, memory, peak, passes, bandwidth, wire, kinds)


TARGETS: Mapping[str, Target] = types.MappingProxyType(
    {
        # Data sheet of the H100 SXM: dense halves of 1,979 and 989; NVLink 900 GB/s.
        "h100": Target(
            *("1", 79.1, 989.0, (495.0, 495.0, 67.0), 3352.0, 450.0),
            ("NVIDIA H100 80GB HBM3",),
            Card(
                *("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 2048, 233472, 232448),
                *(52428800, 1.98, 84942979072),
            ),
        ),
        # Data sheet of the A100 80GB SXM; NVLink 600 GB/s.
        "a100": Target(
            *("1", 79.3, 312.0, (156.0, 156.0, 19.5), 2039.0, 300.0),
            (
                *("NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-40GB"),
                *("NVIDIA A100 80GB PCIe", "NVIDIA A100-PCIE-40GB"),
            ),
            Card(
                *("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 2048, 167936, 166912),
                *(41943040, 1.41, 85100068864),
            ),
        ),
        # Data sheet of the L4: dense halves of 242 and 120; PCIe 4.0 x16, 64 GB/s.
        "l4": Target(
            *("1", 22.0, 121.0, (60.0, 60.0, 30.3), 300.0, 32.0),
            ("NVIDIA L4",),
            Card(
                *("NVIDIA L4", (8, 9), 58, 128, 1536, 102400, 101376),
                *(50331648, 2.04, 23580639232),
            ),
        ),
        # Data sheet of the T4: 8.1 are of its ordinary units, for its matrix units know
        # neither bfloat16 nor TF32; PCIe 3.0 x16, 32 GB/s.
        "t4": Target(
            *("1", 14.7, 8.1, (8.1, 8.1, 8.1), 320.0, 16.0),
            ("Tesla T4",),
            Card(
                *("Tesla T4", (7, 5), 40, 64, 1024, 65536, 65536),
                *(4194304, 1.59, 15828320256),
            ),
        ),
        # The names of the kinds: jax/_src/pallas/mosaic/tpu_info.py.
        # docs.cloud.google.com/tpu/docs/v4; six links of 50 GB/s (arXiv:2304.01433).
        "v4": _tpu("2x2x1", 32, 275.0, 1200.0, 300.0, "TPU v4"),
        # docs.cloud.google.com/tpu/docs/v5e: 400 GB/s between chips, both directions.
        "v5e": _tpu("2x2", 16, 197.0, 819.0, 200.0, "TPU v5 lite", "TPU v5e"),
        # docs.cloud.google.com/tpu/docs/tpu7x, which has these three: 1200, 800, 1200.
        "v5p": _tpu("2x2x1", 95, 459.0, 2765.0, 600.0, "TPU v5", "TPU v5p"),
        "v6e": _tpu("2x2", 32, 918.0, 1638.0, 400.0, "TPU v6 lite", "TPU v6e"),
        "tpu7x": _tpu("2x2x1", 192, 2307.0, 7380.0, 600.0, "TPU7x"),
    }
)


def known_peak(devices: Sequence[Any], config: GPT2Config) -> float | None:
    """Return the most flops per second of `devices` together; None: not in the table.

    Where two devices are the cores of one chip, as on TPU7x, it counts once.
    """
    chips = {
        (getattr(d, "slice_index", 0), *getattr(d, "coords", [d.id])) for d in devices
    }
    for target in TARGETS.values():
        if devices[0].device_kind in target.kinds:
            return len(chips) * target.peak(config)
    return None


def describe_card(card: Card, bandwidth: float) -> str:
    """Return what XLA reads: its GpuTargetConfigProto, as text."""
    fields = dataclasses.asdict(card)
    name, (major, minor) = fields.pop("name"), fields.pop("capability")
    fields |= {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 49152,
        "block_dim_limit_x": 2147483647,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "memory_bandwidth": int(bandwidth * 1e9),
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
        "device_address_bits": 64,
    }
    feature = " feature_extension: ACCELERATED_FEATURES" if major == 9 else ""
    told = "\n".join(f"  {key}: {value}" for key, value in fields.items())
    return f"""gpu_device_info {{
{told}
  cuda_compute_capability {{ major: {major} minor: {minor}{feature} }}
  name: "{name}"
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{name}"
"""
