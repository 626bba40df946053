"""The tables of a study: its rows over seeds, and the baselines of their texts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from experiments.study.results import show_number
from experiments.study.spec import Baseline, Row, Study, summarize_rows


class Table(NamedTuple):
    head: list[str]
    lines: list[list[str]]
    caption: str


def all_tables(
    study: Study, found: Sequence[Sequence[Row]], baselines: Sequence[Baseline]
) -> list[Table]:
    """Return the table of the finished runs, and one of the baselines, if any."""
    return [
        rows_table(study, found),
        *([baselines_table(study, baselines)] if baselines else []),
    ]


def rows_table(study: Study, found: Sequence[Sequence[Row]]) -> Table:
    """Return the table of `found`, the runs of each setting.

    The interval is of the first figure's first metric. A setting without a run has a
    line only where it says what it needs.
    """
    main, over_x = study.plots[0][0], bool(study.x_label)
    head = ["row", "setting", *[study.x_label] * over_x, *study.metrics.values()]
    head += [f"{study.metrics[main]}, 95% interval", "seeds", "seconds, median"]
    head += [study.note_label] * bool(study.note_label)
    lines = []
    for key, setting, rows in zip(study.keys(), study.settings, found, strict=True):
        if not rows and not setting.needs:
            continue
        name = setting.name if rows else f"{setting.name} (needs {setting.needs})"
        line = [key, name, *[show_number(setting.x)] * over_x]
        line += _numbers(study, rows, main) if rows else [""] * (len(study.metrics) + 3)
        lines.append(line + [setting.note] * bool(study.note_label))
    caption = (
        "Mean ± standard deviation over seeds; the 95% interval is of the mean, and "
        "stays within 0 to 100%."
    )
    return Table(head, lines, caption)


def _numbers(study: Study, rows: Sequence[Row], main: str) -> list[str]:
    of = summarize_rows(rows, study.metrics)
    seconds = statistics.median(row.seconds for row in rows)
    return [*map(str, of.values()), of[main].interval, str(len(rows)), f"{seconds:.1f}"]


def baselines_table(study: Study, baselines: Sequence[Baseline]) -> Table:
    """Return the table of the baselines, with the metrics that any of them has."""
    names = [
        metric
        for metric in study.metrics
        if any(metric in baseline.numbers for baseline in baselines)
    ]
    head = ["rows", "on the same texts", *(study.metrics[name] for name in names)]
    lines = [
        [
            key_ranges(study.keys(), baseline.places),
            baseline.name,
            *(str(baseline.numbers.get(name, "")) for name in names),
        ]
        for baseline in baselines
    ]
    return Table(head, lines, "Baselines that learn from the texts of those rows.")


def key_ranges(keys: Sequence[str], places: Sequence[int]) -> str:
    """Return the keys at `places`, such as `1 to 3, 5`."""
    ranges: list[tuple[int, int]] = []
    for place in places:
        if ranges and ranges[-1][1] == place - 1:
            ranges[-1] = (ranges[-1][0], place)
        else:
            ranges.append((place, place))
    return ", ".join(
        keys[first] if first == last else f"{keys[first]} to {keys[last]}"
        for first, last in ranges
    )
