"""A study: settings, each run over seeds, and what they gave, with error bars.

A study only declares its settings; `main` is its command. Runs that are finished are
read, not repeated, and one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.study_beside import Measure, beside
from experiments.study_results import Row, write_json, write_results
from experiments.study_runs import NUMBERS, adopt, finished, of_seed, seeds_of
from gpt2_jax import finetune
from gpt2_jax.config import FinetuneConfig
from gpt2_jax.engine.compilation import keep_compiled_programs
from gpt2_jax.errors import UserError
from gpt2_jax.workdir.signals import Interrupted

log = logging.getLogger("gpt2_jax.study")

HEAVY = ("checkpoints", "model")
CODE = ("../gpt2_jax", "*.py")  # what a run's commit stands for, seen from here
ACCURACIES = {
    "train": "training accuracy (%)",
    "validation": "validation accuracy (%)",
    "test": "test accuracy (%)",
}


def nothing_more(run: Path, results: Mapping[str, Any]) -> Mapping[str, float]:
    return {}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A row of the table, or a point of a line."""

    name: str  # of the row; in a study over a number, of the line
    config: FinetuneConfig  # its seed is replaced
    x: float | None = None
    key: str = ""  # that --rows knows it by; "": its place, from 1
    needs: str = ""  # what few machines have: it runs only where --rows names it
    note: str = ""  # for the last column, such as what others found


@dataclasses.dataclass(frozen=True)
class Study:
    """What is compared, and what is measured of each run.

    The numbers of a run are `run_numbers` and what `measure` makes of its folder,
    while the model is still there, and of its results.json.
    """

    name: str  # of its folder under experiments/
    title: str
    question: str  # for the page
    settings: tuple[Setting, ...]
    command: str  # that makes it, without --seeds
    metrics: Mapping[str, str] = dataclasses.field(  # columns, with their units
        default_factory=lambda: ACCURACIES
    )
    plots: tuple[tuple[str, ...], ...] = (("test",),)  # metrics that share each figure
    x_label: str = ""  # with it the figures are lines over `x`
    log_x: bool = False
    note_label: str = ""
    measure: Callable[[Path, Mapping[str, Any]], Mapping[str, float]] = nothing_more
    beside: Measure | None = None  # of each set of texts; its metrics are of `metrics`

    def keys(self) -> list[str]:
        return [s.key or str(i) for i, s in enumerate(self.settings, start=1)]


def run_numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of results.json: accuracies in percent, others as they are."""
    numbers = {part: 100 * value for part, value in results["accuracy"].items()}
    if results["baselines"]["tfidf_logreg"] is not None:
        numbers["tfidf"] = 100 * results["baselines"]["tfidf_logreg"]
    for name in ("precision", "recall", "f1", "roc_auc", "brier", "ece"):
        if isinstance(results["test"].get(name), float):
            numbers[name] = results["test"][name]
    return numbers


def run_once(
    study: Study,
    setting: Setting,
    seed: int,
    workdir: Path,
    *,
    runner: Callable[..., dict[str, Any]] = finetune,
    keep_models: bool = False,
) -> Row:
    """Make a run, or read it where it is finished."""
    if (row := finished(study, setting, seed, workdir)) is not None:
        return row
    config, run = of_seed(setting, seed, workdir)
    resume = (run / "config.json").is_file()
    results = runner(config, run, resume=resume, trunk_cache=workdir / "trunks")
    numbers = {**run_numbers(results), **study.measure(run, results)}
    values = {
        "numbers": numbers,
        "seconds": results["seconds"]["total"],
        "device": results["device"],
        "commit": _commit(),
    }
    write_json(run / NUMBERS, values)
    for name in () if keep_models else HEAVY:
        shutil.rmtree(run / name, ignore_errors=True)
    row = finished(study, setting, seed, workdir)
    assert row is not None
    return row


def run_study(
    study: Study,
    seeds: Sequence[int],
    workdir: Path,
    out: Path,
    *,
    rows: Sequence[str] = (),
    extend: bool = False,
    **how: Any,
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
    if extend:
        adopt(study, out / "results.csv", workdir)
    for key, setting in zip(keys, study.settings, strict=True):
        if key not in rows if rows else setting.needs:
            continue
        for seed in seeds:
            row = run_once(study, setting, seed, workdir, **how)
            shown = ", ".join(
                f"{name} {row.numbers[name]:.2f}" for name in study.metrics
            )
            log.info("row %s (%s), seed %d: %s", key, setting.name, seed, shown)
        write(study, workdir, out)
    write(study, workdir, out)


def write(study: Study, workdir: Path, out: Path) -> None:
    """Write the table, the figures and the page of every run that is finished."""
    found = [
        [
            row
            for seed in seeds_of(setting, workdir)
            if (row := finished(study, setting, seed, workdir)) is not None
        ]
        for setting in study.settings
    ]
    write_results(study, found, beside(study, found, workdir), out)


def _commit() -> str:
    """Return the commit of the code, with a + where it was changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = _output([*git, "rev-parse", "--short", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "--", *CODE])
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + "+" * bool(changed)


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main(
    build: Callable[[argparse.Namespace], Study] | Study,
    add_flags: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Be the command of a study, which may have flags of its own."""
    parser = argparse.ArgumentParser(description="Run a study, or the rest of it.")
    add_flags(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="default: all"
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="of the runs; default: checkpoints/STUDY",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="of results.csv, table.md, figures and page.html; default: the workdir",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="take the runs in results.csv of --out for finished ones",
    )
    parser.add_argument(
        "--keep-models", action="store_true", help="keep what a finished run trained"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    keep_compiled_programs()
    try:
        study = build if isinstance(build, Study) else build(arguments)
        workdir = arguments.workdir or Path("checkpoints") / study.name
        out = arguments.out or workdir
        run_study(
            study,
            arguments.seeds,
            workdir,
            out,
            rows=arguments.rows,
            extend=arguments.extend,
            keep_models=arguments.keep_models,
        )
    except ValueError as error:
        parser.error(str(error))
    except UserError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    except Interrupted as stopped:
        parser.exit(stopped.exit_code, "stopped; the same command goes on\n")
    print((out / "table.md").read_text("utf-8"), end="")
