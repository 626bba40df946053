"""Memory that is not there, said with what to do about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.errors import DeviceError

TO_PREDICT = (
    "free the device of other programs, use a smaller model, or run on the CPU with "
    "JAX_PLATFORMS=cpu"
)


@contextlib.contextmanager
def naming_memory_errors(what_to_do: str) -> Iterator[None]:
    """Turn what XLA, numpy and Python raise without memory into one line.

    Raises:
        DeviceError: the block needs more memory than there is.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [""])[0][:200] or "of the host"
        raise DeviceError(f"out of memory ({reason}); {what_to_do}") from error


def is_out_of_memory(error: BaseException) -> bool:
    # XLA's status is the first word of what jax raises; it has no class of its own.
    return isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")


def to_train(config: FinetuneConfig) -> str:
    """Return what to lower in a run of `config`."""
    train = config.train
    ways = [f"lower --batch-size (now {train.batch_size})"]
    ways.append(f"--max-length (now {config.max_length or 'that of the longest text'})")
    if config.dtype != "bfloat16":
        ways.append("give --dtype bfloat16")
    if train.trainable == ("all",) and train.shard == "none":
        ways.append("cut the parameters over several devices with --shard fsdp")
    elif train.trainable != ("head",):
        ways.append("train less of the model (--trainable)")
    if train.reuse_trunk:
        ways.append(
            f"lower train.reuse_max_bytes (now {train.reuse_max_bytes:,}) in --config"
        )
    return ", ".join(ways)
