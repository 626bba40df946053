"""`gpt2-jax sweep` and `gpt2-jax cv`: many runs in one process."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt2_jax.cli.finetune import (
    add_config_flags,
    add_process_flags,
    finetune_config,
    in_process_group,
    second_signal_ends,
)
from gpt2_jax.cli.flags import add_flags, add_offline, with_flags
from gpt2_jax.config.sweep import KEPT, SweepConfig
from gpt2_jax.errors import UserError

if TYPE_CHECKING:
    from gpt2_jax.sweeps.members import Member


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parsers of `sweep` and `cv`."""
    parser = commands.add_parser(
        "sweep",
        parents=[common],
        help="train with many seeds and settings, and compare them",
        example="gpt2-jax sweep --seeds 0-4 --grid train.learning_rate=3e-4,1e-3 "
        "--workdir rates",
        epilog="Every flag of finetune says what all runs have in common. The same "
        "command goes on where it was ended; more seeds and values are added to the "
        "runs that are there.",
    )
    add_config_flags(parser)
    add_flags(parser, SweepConfig())
    _add_run_flags(parser)
    parser = commands.add_parser(
        "cv",
        parents=[common],
        help="cross-validate: test every text once, by a run that never saw it",
        example="gpt2-jax cv --folds 5 --workdir folds",
        epilog="Every flag of finetune says how the runs are trained. The same "
        "command goes on where it was ended.",
    )
    add_config_flags(parser, without=("fold", "fold_repeat"))
    add_flags(parser, SweepConfig(), sections=(KEPT,))
    parser.add_argument(
        "--repeats",
        type=positive,
        default=1,
        metavar="N",
        help="cut the folds anew so often (default: 1); --folds is 5 here",
    )
    _add_run_flags(parser)


def positive(text: str) -> int:
    """Return the positive number that `text` says."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return int(text)


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="where the runs are written, each in a folder of its own: a folder, or a "
        "bucket's gs://... (default: a new folder in checkpoints/)",
    )
    parser.add_argument(
        "--trunk-cache",
        type=Path,
        metavar="DIR",
        help="where another process finds the outputs of the frozen trunk",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="name the runs, and stop"
    )
    add_offline(parser)
    add_process_flags(parser.add_argument_group("processes"))


def run_sweep(arguments: argparse.Namespace) -> int:
    from gpt2_jax.sweeps.files import as_lines
    from gpt2_jax.sweeps.members import members_of
    from gpt2_jax.sweeps.sweep import sweep

    runs = with_flags(SweepConfig(), arguments)
    if runs.seeds is not None and getattr(arguments, "train.seed") is not None:
        raise UserError("--seed and --seeds both say which seeds; omit one of them")
    base = finetune_config(arguments)
    if arguments.dry_run:
        return _name_runs(members_of(base, runs))

    def run() -> list[str]:
        swept = sweep(
            base,
            runs,
            arguments.workdir,
            offline=arguments.offline,
            trunk_cache=arguments.trunk_cache,
        )
        return as_lines(swept)

    return _in_group(arguments, run)


def run_cv(arguments: argparse.Namespace) -> int:
    from gpt2_jax.sweeps.files import as_lines
    from gpt2_jax.sweeps.folds import cross_validate, with_folds
    from gpt2_jax.sweeps.members import folds_of

    runs = with_flags(SweepConfig(), arguments)
    base = with_folds(finetune_config(arguments))
    if arguments.dry_run:
        return _name_runs(folds_of(base, arguments.repeats))

    def run() -> list[str]:
        swept = cross_validate(
            base,
            arguments.workdir,
            repeats=arguments.repeats,
            runs=runs,
            offline=arguments.offline,
            trunk_cache=arguments.trunk_cache,
        )
        return as_lines(swept)

    return _in_group(arguments, run)


def _name_runs(members: Sequence[Member]) -> int:
    for member in members:
        print(member.name)
    print(f"{len(members)} runs")
    return 0


def _in_group(arguments: argparse.Namespace, run: Callable[[], list[str]]) -> int:
    """Call `run` as `finetune` runs, and print its lines."""

    def action() -> int:
        from gpt2_jax.distributed import is_first
        from gpt2_jax.engine.compilation import set_up_compilation
        from gpt2_jax.engine.devices import require_platform

        set_up_compilation(arguments)
        if arguments.device is not None:
            require_platform(arguments.device)
        with second_signal_ends():
            lines = run()
        if is_first():
            print(*lines, sep="\n")
        return 0

    return in_process_group(arguments, action)
