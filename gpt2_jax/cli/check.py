"""`gpt2-jax check`: what a run needs of an accelerator, found out without one."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from typing import Any

from gpt2_jax import config
from gpt2_jax.cli.flags import add_flags, with_flags
from gpt2_jax.errors import UserError


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `check`; `tpu-check --topology` is its older name."""
    for name in ("check", "tpu-check"):
        parser = commands.add_parser(
            name,
            parents=[common],
            help="compile the programs of a run for a GPU or TPU that is not here"
            if name == "check"
            else "another name of check",
            example=f"gpt2-jax {name} --target a100 v5e:2x2 --weights 124M",
        )
        add_flags(parser, config.CheckConfig())
        parser.add_argument(
            "--topology", dest="targets", nargs="+", help="another name of --target"
        )


def run_check(arguments: argparse.Namespace) -> int:
    """Print a table of every combination; 3 where one of them does not fit."""
    from gpt2_jax.plan import check

    asked = with_flags(config.CheckConfig(), arguments)
    check.prepare_compiler(asked.targets)
    print(*check.HEADER, sep="\n", flush=True)
    fits = True
    for target, weights, dtype, trainable, parallel in itertools.product(
        *(asked.targets, asked.weights, asked.dtype, asked.trainable, asked.parallel)
    ):
        try:
            model = dataclasses.replace(
                config.PRESETS[weights],
                num_classes=asked.num_classes,
                dtype=dtype,
                precision=asked.precision,
            )
            train = config.TrainConfig(
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
        wrapper = parallel if asked.shard == "none" else f"{parallel}, fsdp"
        for program in asked.programs:
            need = check.check(target, program, model, train, asked.max_length)
            names = (weights, trainable, dtype, wrapper, program)
            print(check.describe(target, names, need), flush=True)
            fits &= need.fits
    return 0 if fits else 3
