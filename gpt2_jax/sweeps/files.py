"""The files of a sweep: results.csv, table.md, sweep.json and report.html."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.evaluation.statistics import Difference, Summary
from gpt2_jax.storage.atomic import write_json, write_text
from gpt2_jax.sweeps.finished import Finished
from gpt2_jax.sweeps.page import write_page
from gpt2_jax.sweeps.run import Swept
from gpt2_jax.sweeps.table import METRICS, Comparison, compare, numbers_of
from gpt2_jax.workdir.claim import SWEEP

Lines = list[list[str]]


def write_sweep(finished: Sequence[Finished], folder: Path) -> list[str]:
    """Write what the finished runs of a sweep say; return it in lines.

    Nothing but the last column of results.csv tells of time.
    """
    comparison = compare(finished)
    write_text(folder / "results.csv", results_csv(finished))
    head, lines = table(comparison)
    told = conclusions(comparison)
    after = "".join(f"\n{line}\n" for line in told)
    write_text(folder / "table.md", markdown(head, lines) + after)
    write_json(folder / SWEEP, as_json(comparison, finished))
    write_page(comparison, finished, (head, lines), told, folder / "report.html")
    return [*aligned(head, lines), *told]


def as_lines(swept: Swept) -> list[str]:
    """Return what a sweep found, and what it took, line by line."""
    made = ", ".join(f"{kind}: {count}" for kind, count in swept.made.items())
    diverged = [f"diverged, and left out: {', '.join(swept.diverged)}"]
    return [
        *swept.told,
        *diverged * bool(swept.diverged),
        f"made for all runs together: {made or 'nothing, all were finished'}; "
        f"{swept.programs} programs compiled",
        f"runs: {swept.place}",
        f"report: {swept.place}/report.html",
    ]


def aligned(head: Sequence[str], lines: Lines) -> list[str]:
    """Return a table as lines of text, its columns below each other."""
    every = [list(head), *lines]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in every
    ]


def results_csv(finished: Sequence[Finished]) -> str:
    """Return a line per run; the last column are its seconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "setting", "seed", *METRICS, "device", "seconds"])
    for each in finished:
        numbers = [f"{value:.6g}" for value in numbers_of(each).values()]
        results = each.results
        run = [each.member.name, each.member.setting, results.seed]
        seconds = f"{results.seconds['total']:.1f}"
        writer.writerow([*run, *numbers, results.device, seconds])
    return out.getvalue()


def table(comparison: Comparison) -> tuple[list[str], Lines]:
    """Return the head and the lines of the table of settings, the best first."""
    head = ["setting", "runs", *METRICS.values(), "test, 95% interval"]
    many = len(comparison.rows) > 1
    head += ["best on validation", "best setting ahead on test, in points"] * many
    rows = sorted(comparison.rows, key=lambda row: row.name != comparison.best)
    lines = []
    for row in rows:
        summaries = [row.numbers[name] for name in METRICS]
        line = [row.name, str(len(summaries[0].values)), *map(str, summaries)]
        line.append(row.numbers["test"].interval)
        if many:
            line.append("" if row.best is None else f"{100 * row.best:.0f}%")
            line.append(_ahead(row.behind))
        lines.append(line)
    return head, lines


def _ahead(behind: Difference | None) -> str:
    if behind is None:
        return ""
    return f"{behind.mean:+.2f} ({behind.low:+.2f} to {behind.high:+.2f})"


def conclusions(comparison: Comparison) -> list[str]:
    """Return in words which setting is the best, and how sure that is."""
    lines = []
    if len(comparison.rows) > 1:
        best = next(row for row in comparison.rows if row.name == comparison.best)
        metric = {"f1": "macro-F1"}.get(comparison.metric, comparison.metric)
        how_sure = ""
        if best.best is not None:
            how_sure = (
                f"; it is the best in {100 * best.best:.0f}% of resamples of seeds and "
                "validation texts"
            )
        lines.append(
            f"Best on validation ({metric}): {comparison.best}{how_sure}. The test "
            "part was not looked at to choose it."
        )
    return lines + [f"{note[0].upper()}{note[1:]}." for note in comparison.notes]


def markdown(head: Sequence[str], lines: Lines) -> str:
    """Return a table as Markdown."""
    bars = ["---"] * len(head)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, bars, *lines))


def as_json(comparison: Comparison, finished: Sequence[Finished]) -> dict[str, Any]:
    """Return what sweep.json holds."""
    runs: dict[str, list[str]] = {}
    for each in finished:
        runs.setdefault(each.member.setting, []).append(each.member.name)
    return {
        "metric": comparison.metric,
        "best": comparison.best,
        "shared_seeds": comparison.shared,
        "settings": [
            {
                "name": row.name,
                "runs": runs[row.name],
                "share_best_on_validation": row.best,
                "best_setting_ahead_on_test": row.behind
                and dataclasses.asdict(row.behind),
                **{name: _summary(row.numbers[name]) for name in METRICS},
            }
            for row in comparison.rows
        ],
        "notes": list(comparison.notes),
    }


def _summary(summary: Summary) -> Mapping[str, Any]:
    return dataclasses.asdict(summary)
