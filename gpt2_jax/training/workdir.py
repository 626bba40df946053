"""Which run a folder belongs to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gpt2_jax import config as configs
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.errors import UserError
from gpt2_jax.training import artifacts
from gpt2_jax.weights.files import read_json


def claim(workdir: Path, config: FinetuneConfig, *, resume: bool) -> None:
    """Make `workdir` this run's, and write its config.json.

    Raises:
        UserError: it holds another run, or, to resume, a run of another config.
    """
    path = workdir / "config.json"
    if path.exists() and not resume:
        raise UserError(
            f"{workdir}: holds a run already; choose another --workdir, or --resume it"
        )
    if path.exists():
        try:
            theirs = configs.from_dict(FinetuneConfig, read_json(path), str(path))
        except ValueError as error:
            raise UserError(
                f"{error}; it was written by another version: choose another --workdir"
            ) from None
        if _on_any_devices(theirs) != _on_any_devices(config):
            raise UserError(
                f"{workdir}: was started with another config ("
                f"{'; '.join(_differences(theirs, config))}); resume with --config "
                f"{path}"
            )
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        artifacts.write_json(path, configs.to_dict(config))
    except OSError as error:
        raise UserError(f"{workdir}: cannot be written ({error.strerror})") from error


def _on_any_devices(config: FinetuneConfig) -> FinetuneConfig:
    # The numbers of a run do not depend on what it runs on.
    train = dataclasses.replace(
        config.train, devices=None, parallel="jit", shard="none"
    )
    return dataclasses.replace(config, train=train)


def _differences(theirs: FinetuneConfig, ours: FinetuneConfig) -> list[str]:
    def flat(config: FinetuneConfig) -> dict[str, Any]:
        values = configs.to_dict(config)
        nested = {
            f"{room}.{key}": value
            for room in ("data", "train")
            for key, value in values.pop(room).items()
        }
        return values | nested

    old, new = flat(theirs), flat(ours)
    return [
        f"{key}: there {old[key]!r}, here {new[key]!r}"
        for key in old
        if old[key] != new[key]
    ]
