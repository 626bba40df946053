"""TensorBoard and Weights & Biases: two callbacks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.config import TrainConfig
from gpt2_jax.errors import DeviceError
from gpt2_jax.training.callbacks import Callback, RunInfo
from gpt2_jax.training.results import Results

_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
_STEP_NAMES = {"loss": "train/step_loss"}  # train/loss is that of an evaluation


def trackers(config: TrainConfig) -> list[Callback]:
    """Return those that `--tensorboard` and `--wandb` ask for.

    Raises:
        DeviceError: what one needs is not installed.
    """
    for name, package in _PACKAGES.items():
        if getattr(config, name) and importlib.util.find_spec(package) is None:
            raise DeviceError(
                f"--{name} needs the extra: pip install 'gpt2-jax[{name}]'"
            )
    found: list[Callback] = [TensorBoard()] if config.tensorboard else []
    return found + ([WandB()] if config.wandb else [])


class _Tracker(Callback):
    """Gives every number of a run to `write`, under names that people can read."""

    def __init__(self) -> None:
        self._step = 0

    def write(self, values: Mapping[str, float], step: int) -> None:
        raise NotImplementedError

    def on_step(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        size = len(metrics["loss"])
        for place in range(size):
            values = {
                _STEP_NAMES.get(name, f"train/{name}"): float(values[place])
                for name, values in metrics.items()
            }
            self.write(values, step - size + 1 + place)
        self._step = step

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self.write(dict(_grouped(metrics)), step)

    def on_epoch(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        values = {k: v for k, v in metrics.items() if isinstance(v, float)}
        self.write({"epoch": epoch, **dict(_grouped(values))}, metrics["step"])

    def final(self, results: Results) -> dict[str, float]:
        """Return the figures of a finished run."""
        return {
            **{f"test/{name}": value for name, value in results.metrics.items()},
            "seconds": results.seconds["total"],
        }


def _grouped(values: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield values under names such as `validation/loss`."""
    for name, value in values.items():
        part, _, metric = name.partition("_")
        yield f"{part}/{metric}", value


class TensorBoard(_Tracker):
    """Writes events into `tensorboard/` in the folder of the run."""

    def on_start(self, run: RunInfo) -> None:
        import tensorboardX

        # What a killed process wrote after the checkpoint comes again.
        purge = run.first_step + 1 if run.first_step else None
        self._step = run.first_step
        folder = str(run.folder / "tensorboard")
        self._summary = tensorboardX.SummaryWriter(folder, purge_step=purge)

    def write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._summary.add_scalar(name, value, step)

    def on_end(self, results: Results | None) -> None:
        if results is not None:
            self.write(self.final(results), self._step)
        self._summary.close()


class WandB(_Tracker):
    """Writes one run of Weights & Biases, which goes on where the run is resumed.

    Args:
        group: that the run belongs to; None: as WANDB_RUN_GROUP says, if it does.
        tags: of the run; none: as WANDB_TAGS says.
    """

    def __init__(
        self,
        *,
        project: str = "gpt2-jax",
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        super().__init__()
        given = {"project": project, "group": group, "tags": tuple(tags) or None}
        self._settings = {k: v for k, v in given.items() if v is not None}

    def on_start(self, run: RunInfo) -> None:
        import wandb

        self._step = run.first_step
        self._run = wandb.init(
            id=run.id,
            resume="allow",
            name=run.name,
            dir=str(run.folder),
            config=configs.to_dict(run.config),
            **self._settings,
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def on_end(self, results: Results | None) -> None:
        if results is None:
            self._run.mark_preempting()  # then it is shown as one that may go on
        else:
            self._run.summary.update(self.final(results))
        self._run.finish(exit_code=0 if results is not None else 1)
