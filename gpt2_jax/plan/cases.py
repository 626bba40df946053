"""The programs that a `CheckConfig` asks for, one by one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from gpt2_jax.config import PRESETS, CheckConfig, GPT2Config, TrainConfig
from gpt2_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Case:
    """One program for one accelerator: a row of the table of `check`."""

    target: str  # such as h100:8
    names: tuple[str, ...]  # of its size, scope, number type and wrapper
    program: str
    model: GPT2Config
    train: TrainConfig
    width: int  # tokens of a text


def cases(asked: CheckConfig) -> Iterator[Case]:
    """Yield every combination that is asked for.

    Raises:
        UserError: one of them is none.
    """
    for target, weights, dtype, trainable, parallel in itertools.product(
        *(asked.targets, asked.weights, asked.dtype, asked.trainable, asked.parallel)
    ):
        try:
            model = dataclasses.replace(
                PRESETS[weights],
                num_classes=asked.num_classes,
                dtype=dtype,
                precision=asked.precision,
            )
            train = TrainConfig(
                trainable=(trainable,),
                parallel=parallel,
                shard=asked.shard,
                batch_size=asked.batch_size,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        if asked.max_length > model.max_len:
            raise UserError(
                f"--max-length {asked.max_length}: {weights} has {model.max_len} "
                "positions"
            )
        wrapper = parallel if asked.shard == "none" else f"{parallel}, {asked.shard}"
        names = (weights, trainable, dtype, wrapper)
        for program in asked.programs:
            yield Case(target, names, program, model, train, asked.max_length)
