"""`gpt2-jax adapt`: a language model on texts without labels, before `finetune`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from gpt2_jax import config
from gpt2_jax.cli.finetune import add_resume, read_config, second_signal_ends
from gpt2_jax.cli.flags import add_flags, add_offline, with_flags
from gpt2_jax.config.data import ROWS
from gpt2_jax.config.finetune import MODEL
from gpt2_jax.config.layout import LAYOUT
from gpt2_jax.config.train import DEVICES, MEASURING, TRAINING
from gpt2_jax.errors import UserError

_SECTIONS = (
    MODEL,
    LAYOUT,
    ROWS,
    TRAINING,
    DEVICES,
    MEASURING,
)  # all but labels and split


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parser of `adapt`."""
    parser = commands.add_parser(
        "adapt",
        parents=[common],
        help="train a language model on texts without labels, to fine-tune from",
        example="gpt2-jax adapt --data all-mail.txt --workdir mail-lm",
        epilog="A flag that is given takes precedence over --config. Leave out texts "
        "that a classifier is tested on.",
    )
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help="replay a run's config.json")
    add_flags(parser, config.AdaptConfig(), sections=_SECTIONS)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="where the run and its weights are written (default: a new folder in "
        "checkpoints/)",
    )
    add_resume(run)
    add_offline(parser)


def run_adapt(arguments: argparse.Namespace) -> int:
    base = config.AdaptConfig()
    if arguments.config is not None:
        base = read_config(config.AdaptConfig, arguments.config)
    resolved = with_flags(base, arguments)
    if arguments.resume and arguments.workdir is None:
        raise UserError("--resume needs the --workdir of the run to go on with")
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.engine.devices import make_deterministic
    from gpt2_jax.training.adapt import adapt

    set_up_compilation(arguments)
    if resolved.deterministic:
        make_deterministic()
    with second_signal_ends():
        adapted = adapt(
            resolved,
            arguments.workdir,
            verbose=not arguments.quiet,
            resume=arguments.resume,
            offline=arguments.offline,
        )
    print(
        f"loss on held-out texts: {adapted.loss_before:.4f} nats per token before, "
        f"{adapted.loss_after:.4f} after {adapted.best_step} of {adapted.steps} steps"
    )
    folder = shlex.quote(str(adapted.weights))
    print(f"weights: {adapted.weights}")
    print(f"go on with: gpt2-jax finetune --weights {folder} --data ...")
    return 0
