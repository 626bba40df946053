"""The runs of a study as results.csv: a line for each, written and read back."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from experiments.study.spec import Row, Study

# The columns around the numbers.
HEAD = ("row", "setting", "x", "seed")
TAIL = ("seconds", "device", "commit", "run")


def write_results(study: Study, found: Sequence[Sequence[Row]], path: Path) -> None:
    """Write a line per run; `found` are the finished ones of each setting."""
    names = dict.fromkeys(study.metrics)
    for rows in found:
        for row in rows:
            names |= dict.fromkeys(row.numbers)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*HEAD, *names, *TAIL])
        for key, setting, rows in zip(study.keys(), study.settings, found, strict=True):
            for row in rows:
                x = show_number(setting.x)
                numbers = [show_number(row.numbers.get(name)) for name in names]
                tail = [f"{row.seconds:.1f}", row.device, row.commit, row.run]
                writer.writerow([key, setting.name, x, row.seed, *numbers, *tail])


def read_results(path: Path) -> list[Row]:
    """Return the runs of a results.csv.

    Raises:
        ValueError: there is no such file, or it has other columns.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; nothing to extend, leave out --extend")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or ()
        if lacking := [name for name in (*HEAD, *TAIL) if name not in names]:
            raise ValueError(f"{path}: no column {', '.join(lacking)}")
        numbers = [name for name in names if name not in (*HEAD, *TAIL)]
        return [
            Row(
                seed=int(line["seed"]),
                run=line["run"],
                numbers={name: float(line[name]) for name in numbers if line[name]},
                seconds=float(line["seconds"]),
                device=line["device"],
                commit=line["commit"],
            )
            for line in reader
        ]


def show_number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
