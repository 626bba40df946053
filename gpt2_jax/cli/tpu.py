"""`gpt2-jax tpu-check`: what a run needs of a TPU slice, found out without one."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from typing import Any

from gpt2_jax import config
from gpt2_jax.errors import UserError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `tpu-check`."""
    parser = commands.add_parser(
        "tpu-check",
        parents=[common],
        help="compile the train step for TPU slices: memory, flops, bytes sent",
    )
    add = parser.add_argument
    add("--topology", nargs="+", default=["v5e:2x4"], help="such as v5e:2x4 v6e:2x2")
    add("--weights", nargs="+", choices=list(config.PRESETS), default=["mini"])
    add("--trainable", nargs="+", choices=config.TRAINABLE, default=["last_block"])
    add("--parallel", nargs="+", choices=config.PARALLEL, default=["jit"])
    add("--shard", choices=config.SHARDS, default="none")
    add("--batch-size", type=int, default=64, help="over all chips")
    add("--max-length", type=int, default=128, metavar="TOKENS")
    add("--num-classes", type=int, default=2)
    add("--dtype", choices=config.DTYPES, default="float32")


def run_tpu_check(arguments: argparse.Namespace) -> int:
    """Print a table of every combination; 3 where one of them does not fit."""
    from gpt2_jax.plan import tpu_check

    tpu_check.prepare_compiler()
    print(*tpu_check.HEADER, sep="\n", flush=True)
    width, fits = arguments.max_length, True
    for topology, weights, trainable, parallel in itertools.product(
        arguments.topology, arguments.weights, arguments.trainable, arguments.parallel
    ):
        try:
            model = dataclasses.replace(
                config.PRESETS[weights],
                num_classes=arguments.num_classes,
                dtype=arguments.dtype,
            )
            train = config.TrainConfig(
                trainable=(trainable,),
                parallel=parallel,
                shard=arguments.shard,
                batch_size=arguments.batch_size,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        if width > model.max_len:
            raise UserError(
                f"--max-length {width}: {weights} has {model.max_len} positions"
            )
        need = tpu_check.check(topology, model, train, width)
        wrapper = parallel if arguments.shard == "none" else f"{parallel}, fsdp"
        shapes = f"{arguments.batch_size} x {width}"
        names = (weights, trainable, wrapper, shapes)
        print(tpu_check.describe(topology, names, need), flush=True)
        fits &= need.fits
    return 0 if fits else 3
