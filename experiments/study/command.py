"""The command of a study: run its rows over seeds, and write all that is finished."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.study.beside import measure_baselines
from experiments.study.page import write_page
from experiments.study.plots import draw
from experiments.study.results import write_results
from experiments.study.runs import Runner, adopt, finished, run_once, seeds_of
from experiments.study.spec import Study, summarize_rows
from experiments.study.tables import all_tables
from gpt2_jax import finetune
from gpt2_jax.engine.compilation import keep_compiled_programs
from gpt2_jax.errors import UserError
from gpt2_jax.sweeps.files import markdown
from gpt2_jax.workdir.memo import Memo
from gpt2_jax.workdir.signals import Interrupted

log = logging.getLogger("gpt2_jax.study")

_OF_RUN_STUDY = ("rows", "extend", "keep_models")  # flags that are its arguments


def run_study(
    study: Study,
    seeds: Sequence[int],
    workdir: Path,
    out: Path,
    *,
    rows: Sequence[str] = (),
    extend: bool = False,
    runner: Runner = finetune,
    keep_models: bool = False,
) -> None:
    """Run `rows` of `study`, or all that need nothing, and write all that is finished.

    With `extend` the runs in the results.csv of `out` are finished ones.

    Raises:
        ValueError: an unknown row, or a results.csv of other settings.
    """
    keys = study.keys()
    if unknown := set(rows) - set(keys):
        raise ValueError(
            f"--rows: no {', '.join(sorted(unknown))}; known: {', '.join(keys)}"
        )
    memo = Memo()
    if extend:
        adopt(study, out / "results.csv", workdir)
    for key, setting in zip(keys, study.settings, strict=True):
        if key not in rows if rows else setting.needs:
            continue
        shared = {"runner": runner, "keep_models": keep_models, "memo": memo}
        for seed in seeds:
            row = run_once(study, setting, seed, workdir, **shared)
            shown = ", ".join(
                f"{name} {row.numbers[name]:.2f}" for name in study.metrics
            )
            log.info("row %s (%s), seed %d: %s", key, setting.name, seed, shown)
        write_finished(study, workdir, out)
    write_finished(study, workdir, out)


def write_finished(study: Study, workdir: Path, out: Path) -> None:
    """Write results.csv, tables, figures and page of every run that is finished."""
    found = [
        [
            row
            for seed in seeds_of(setting, workdir)
            if (row := finished(study, setting, seed, workdir)) is not None
        ]
        for setting in study.settings
    ]
    baselines = measure_baselines(study, found, workdir)
    out.mkdir(parents=True, exist_ok=True)
    write_results(study, found, out / "results.csv")
    tables = all_tables(study, found, baselines)
    text = "\n".join(markdown(table.head, table.lines) for table in tables)
    (out / "table.md").write_text(text, encoding="utf-8")
    points = [summarize_rows(rows, study.metrics) for rows in found]
    figures = draw(study, points, baselines, out)
    write_page(study, found, tables, figures, out / "page.html")


def main(
    build: Callable[[argparse.Namespace], Study] | Study,
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Be the command of a study, which may have flags of its own."""
    parser = argparse.ArgumentParser(description="Run a study, or the rest of it.")
    add_flags(parser)
    _add_common_flags(parser)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    keep_compiled_programs()
    try:
        study = build if isinstance(build, Study) else build(arguments)
        workdir = arguments.workdir or Path("checkpoints") / study.name
        out = arguments.out or workdir
        flags = {name: getattr(arguments, name) for name in _OF_RUN_STUDY}
        run_study(study, arguments.seeds, workdir, out, **flags)
    except ValueError as error:
        parser.error(str(error))
    except UserError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    except Interrupted as stopped:
        parser.exit(stopped.exit_code, "stopped; the same command goes on\n")
    print((out / "table.md").read_text("utf-8"), end="")


def _add_common_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="default: all"
    )
    for flag, of in (
        ("--workdir", "the runs; default: checkpoints/STUDY"),
        ("--out", "results.csv, table.md, figures, page.html; default: the workdir"),
    ):
        parser.add_argument(flag, type=Path, metavar="DIR", help=f"of {of}")
    parser.add_argument(
        "--extend",
        action="store_true",
        help="take the runs in results.csv of --out for finished ones",
    )
    parser.add_argument(
        "--keep-models", action="store_true", help="keep what a finished run trained"
    )
