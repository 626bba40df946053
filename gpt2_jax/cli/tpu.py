"""`gpt2-jax tpu-check`: what a run needs of a TPU slice, found out without one."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from typing import Any

from gpt2_jax import config
from gpt2_jax.cli.flags import add_flags, with_flags
from gpt2_jax.errors import UserError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `tpu-check`."""
    parser = commands.add_parser(
        "tpu-check",
        parents=[common],
        example="gpt2-jax tpu-check --topology v5e:2x4 --weights 124M",
        help="compile the train step for TPU slices: memory, flops, bytes sent",
    )
    add_flags(parser, config.TpuCheckConfig())


def run_tpu_check(arguments: argparse.Namespace) -> int:
    """Print a table of every combination; 3 where one of them does not fit."""
    from gpt2_jax.plan import tpu_check

    asked = with_flags(config.TpuCheckConfig(), arguments)
    tpu_check.prepare_compiler()
    print(*tpu_check.HEADER, sep="\n", flush=True)
    width, fits = asked.max_length, True
    for topology, weights, trainable, parallel in itertools.product(
        asked.topologies, asked.weights, asked.trainable, asked.parallel
    ):
        try:
            model = dataclasses.replace(
                config.PRESETS[weights],
                num_classes=asked.num_classes,
                dtype=asked.dtype,
            )
            train = config.TrainConfig(
                trainable=(trainable,),
                parallel=parallel,
                shard=asked.shard,
                batch_size=asked.batch_size,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        if width > model.max_len:
            raise UserError(
                f"--max-length {width}: {weights} has {model.max_len} positions"
            )
        need = tpu_check.check(topology, model, train, width)
        wrapper = parallel if asked.shard == "none" else f"{parallel}, fsdp"
        shapes = f"{asked.batch_size} x {width}"
        names = (weights, trainable, wrapper, shapes)
        print(tpu_check.describe(topology, names, need), flush=True)
        fits &= need.fits
    return 0 if fits else 3
