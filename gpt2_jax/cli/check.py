"""`gpt2-jax check`: what a run needs of an accelerator, found out without one."""

from __future__ import annotations

import argparse
from typing import Any

from gpt2_jax import config
from gpt2_jax.cli.flags import add_flags, with_flags


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
    from gpt2_jax.plan.cases import cases

    asked = with_flags(config.CheckConfig(), arguments)
    check.prepare_compiler(asked.targets)
    print(*check.HEADER, sep="\n", flush=True)
    fits = True
    for case in cases(asked):
        need = check.check(case)
        print(check.describe(case, need), flush=True)
        fits &= need.fits
    return 0 if fits else 3
