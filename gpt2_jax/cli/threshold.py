"""`gpt2-jax threshold`: from which probability on a class is the answer."""

from __future__ import annotations

import argparse
from typing import Any

from gpt2_jax.cli.flags import add_run


def probability(value: str) -> float:
    """Return the number that `value` says, in 0 to 1."""
    number = float(value)
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{value} is not in 0 to 1")
    return number


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "threshold",
        parents=[common],
        help="choose, on validation, from which probability on a class is the answer",
        example="gpt2-jax threshold mail --target-recall 0.98",
    )
    add_run(parser)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--target-precision",
        type=probability,
        metavar="P",
        help="share of the texts with the label that it is right for",
    )
    target.add_argument(
        "--target-recall",
        type=probability,
        metavar="R",
        help="share of the class that shall be found",
    )
    target.add_argument(
        "--best-f1",
        action="store_true",
        help="the highest F1: for a class too rare to be the likeliest label",
    )
    target.add_argument(
        "--remove", action="store_true", help="answer the most probable label again"
    )
    parser.add_argument(
        "--positive", metavar="CLASS", help="the class (default: the rarer of two)"
    )


def run_threshold(arguments: argparse.Namespace) -> int:
    from gpt2_jax.inference.set_threshold import set_threshold

    lines = set_threshold(
        arguments.run,
        precision=arguments.target_precision,
        recall=arguments.target_recall,
        best_f1=arguments.best_f1,
        positive=arguments.positive,
    )
    print(*lines, sep="\n")
    return 0
