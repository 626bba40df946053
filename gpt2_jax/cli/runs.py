"""`gpt2-jax runs`, `compare` and `label-errors`: what finished runs say together."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gpt2_jax.cli import streams


def add_parsers(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the parsers of `runs`, `compare` and `label-errors`."""
    parser = commands.add_parser(
        "runs",
        parents=[common],
        help="list runs",
        example="gpt2-jax runs checkpoints --sort test",
    )
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        type=Path,
        default=Path("checkpoints"),
        metavar="DIR",
        help="where they lie (default: checkpoints)",
    )
    add(
        "--sort",
        default="name",
        metavar="COLUMN",
        help="name, date, validation, test, macro_f1, seconds or a field of "
        "config.json (default: name)",
    )
    add(
        "--where",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="only runs with this value in config.json; may be repeated",
    )
    add("--json", action="store_true", help="print all of it as JSON")
    parser = commands.add_parser(
        "compare",
        parents=[common],
        help="put finished runs side by side",
        example="gpt2-jax compare mail checkpoints/other",
    )
    help_ = "folder of a run, as finetune wrote it"
    parser.add_argument("first", type=Path, metavar="RUN", help=help_)
    parser.add_argument("others", type=Path, nargs="+", metavar="RUN", help=help_)
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write it as a page too"
    )
    parser = commands.add_parser(
        "label-errors",
        parents=[common],
        help="find labels that are probably wrong, after cv",
        example="gpt2-jax label-errors folds",
    )
    parser.add_argument("folder", type=Path, metavar="CV", help="the --workdir of cv")


def run_runs(arguments: argparse.Namespace) -> int:
    from gpt2_jax.sweeps.files import aligned
    from gpt2_jax.sweeps.listing import as_json, find_runs, listing, select

    runs = select(find_runs(arguments.folder), arguments.where, arguments.sort)
    if arguments.json:
        streams.write_json_lines()
        print(json.dumps(as_json(runs), indent=2, ensure_ascii=False))
    else:
        print(*aligned(*listing(runs)), sep="\n")
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    from gpt2_jax.sweeps.compare import SHOWN, compare_runs, tables, write_comparison
    from gpt2_jax.sweeps.files import aligned

    compared = compare_runs([arguments.first, *arguments.others])
    for title, head, lines in tables(compared):
        print(f"{title}:", *aligned(head, lines[:SHOWN]), sep="\n")
        if len(lines) > SHOWN:
            print(f"and {len(lines) - SHOWN} more: --page FILE has all")
        print()
    for note in compared.notes:
        print(f"note: {note}")
    if arguments.page is not None:
        write_comparison(compared, arguments.page)
        print(f"page: {arguments.page}")
    return 0


def run_label_errors(arguments: argparse.Namespace) -> int:
    from gpt2_jax.sweeps.label_errors import find_label_errors

    print(*find_label_errors(arguments.folder), sep="\n")
    return 0
