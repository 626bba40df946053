"""TensorBoard and Weights & Biases, fed with the lines of metrics.jsonl."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt2_jax import config as configs
from gpt2_jax.config import FinetuneConfig, TrainConfig
from gpt2_jax.distributed import is_first
from gpt2_jax.errors import DeviceError

Writer = Callable[[Mapping[str, Any]], None]  # takes a line

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


def check_writers(config: TrainConfig) -> None:
    """Raise DeviceError if a writer that is asked for is not installed."""
    for name, package in _PACKAGES.items():
        if getattr(config, name) and importlib.util.find_spec(package) is None:
            raise DeviceError(
                f"--{name} needs the extra: pip install 'gpt2-jax[{name}]'"
            )


@contextlib.contextmanager
def open_writers(config: FinetuneConfig, workdir: Path) -> Iterator[list[Writer]]:
    """Open the writers that the config asks for, and close them at the end.

    Only the first process of a run has any.
    """
    with contextlib.ExitStack() as stack:
        writers = []
        if not is_first():
            yield writers
            return
        if config.train.tensorboard:
            writers.append(stack.enter_context(_tensorboard(workdir)))
        if config.train.wandb:
            writers.append(stack.enter_context(_wandb(config, workdir)))
        yield writers


@contextlib.contextmanager
def _tensorboard(workdir: Path) -> Iterator[Writer]:
    import tensorboardX

    with tensorboardX.SummaryWriter(str(workdir / "tensorboard")) as summary:

        def write(line: Mapping[str, Any]) -> None:
            for name, value in _scalars(line).items():
                summary.add_scalar(name, value, line["step"])

        yield write


@contextlib.contextmanager
def _wandb(config: FinetuneConfig, workdir: Path) -> Iterator[Writer]:
    import wandb

    with wandb.init(
        project="gpt2-jax",
        name=workdir.name,
        dir=str(workdir),
        config=configs.to_dict(config),
    ) as run:
        yield lambda line: run.log(_scalars(line), step=line["step"])


def _scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of a line under names that group them: `validation/loss`."""
    values = {"train_step_loss" if k == "loss" else k: v for k, v in line.items()}
    del values["step"]
    return {
        name.replace("train_", "train/").replace("validation_", "validation/"): value
        for name, value in values.items()
    }
