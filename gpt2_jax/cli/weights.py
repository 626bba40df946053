"""The commands that write weights for other tools: convert and export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gpt2_jax.cli.flags import add_flags, add_offline, add_reading, add_run, with_flags
from gpt2_jax.config import ForeignConfig, LayoutConfig
from gpt2_jax.export import CONVERT_FORMATS, EXPORT_FORMATS, QUANTIZED


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    convert = commands.add_parser(
        "convert",
        parents=[common],
        help="language-model weights into another format",
        example="gpt2-jax convert 124M gpt2.pth --to llms-from-scratch",
    )
    convert.add_argument(
        "source",
        metavar="SRC",
        help="mini, 124M to 1558M, a path to weights, or owner/name on the hub",
    )
    _add_destination(convert)
    convert.add_argument(
        "--to", choices=CONVERT_FORMATS, required=True, help="the format to write"
    )
    add_flags(convert, LayoutConfig())
    add_offline(convert)

    export = commands.add_parser(
        "export",
        parents=[common],
        help="a trained classifier for other tools",
        example="gpt2-jax export mail mail-hf --format hf --without-lexical",
    )
    add_run(export)
    _add_destination(export)
    export.add_argument(
        "--format", choices=EXPORT_FORMATS, required=True, help="the format to write"
    )
    export.add_argument(
        "--without-lexical",
        action="store_true",
        help="the model alone, of a classifier with a lexical part",
    )
    export.add_argument(
        "--quantize",
        choices=QUANTIZED,
        help="kernels and activations of onnx; tells how many labels stay",
    )
    add_reading(export)

    inspect = commands.add_parser(
        "inspect",
        parents=[common],
        help="what lies in weights, a checkpoint or a run, and its use",
        example="gpt2-jax inspect mail/checkpoints",
    )
    inspect.add_argument("path", metavar="PATH", type=Path, help="file or folder")


def _add_destination(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "destination", metavar="DST", type=Path, help="file or folder to write"
    )


def convert(arguments: argparse.Namespace) -> int:
    from gpt2_jax.export.language_model import convert_weights

    checked = convert_weights(
        arguments.source,
        arguments.destination,
        arguments.to,
        layout=with_flags(LayoutConfig(), arguments),
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
        quantize=arguments.quantize,
        how=with_flags(ForeignConfig(), arguments),
        offline=arguments.offline,
    )
    return _report(checked, arguments.destination)


def inspect(arguments: argparse.Namespace) -> int:
    from gpt2_jax.export.inspect_path import inspect_path

    for line in inspect_path(arguments.path):
        print(line)
    return 0


def _report(checked: list[str], destination: Path) -> int:
    print(*checked, sep="\n")
    print(f"written: {destination}")
    return 0
