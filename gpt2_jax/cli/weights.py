"""The commands that write weights for other tools: convert and export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gpt2_jax.export import CONVERT_FORMATS, EXPORT_FORMATS
from gpt2_jax.weights.rules import NAMINGS


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    convert = commands.add_parser(
        "convert", parents=[common], help="language-model weights into another format"
    )
    convert.add_argument(
        "source", metavar="SRC", help="mini, 124M to 1558M, or a path to weights"
    )
    convert.add_argument("destination", metavar="DST", type=Path)
    convert.add_argument("--to", choices=CONVERT_FORMATS, required=True)
    convert.add_argument(
        "--num-heads", type=int, metavar="N", help="where SRC does not tell it"
    )
    convert.add_argument(
        "--naming",
        choices=[naming.key for naming in NAMINGS],
        help="whose names the tensors have, where SRC does not tell it",
    )
    convert.add_argument(
        "--tokenizer",
        metavar="FOLDER",
        type=Path,
        help="where the tokenizer of SRC lies, if not beside it",
    )
    add_offline(convert)

    export = commands.add_parser(
        "export", parents=[common], help="a trained classifier for other tools"
    )
    export.add_argument("run", metavar="RUN", type=Path)
    export.add_argument("destination", metavar="DST", type=Path)
    export.add_argument("--format", choices=EXPORT_FORMATS, required=True)
    export.add_argument(
        "--without-lexical",
        action="store_true",
        help="the model alone, of a classifier with a lexical part",
    )


def add_offline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offline", action="store_true", help="use what is cached; no network"
    )


def convert(arguments: argparse.Namespace) -> int:
    from gpt2_jax.export.language_model import convert_weights

    checked = convert_weights(
        arguments.source,
        arguments.destination,
        arguments.to,
        num_heads=arguments.num_heads,
        naming=arguments.naming,
        tokenizer=arguments.tokenizer,
        offline=arguments.offline,
    )
    return _report(checked, arguments.destination)


def export(arguments: argparse.Namespace) -> int:
    from gpt2_jax.export.classifier import export_run

    checked = export_run(
        arguments.run,
        arguments.destination,
        arguments.format,
        without_lexical=arguments.without_lexical,
    )
    return _report(checked, arguments.destination)


def _report(checked: list[str], destination: Path) -> int:
    print(*checked, sep="\n")
    print(f"written: {destination}")
    return 0
