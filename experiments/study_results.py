"""What the runs of a study gave: results.csv, table.md, the figures, page.html."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy import stats

from experiments import study_plots
from gpt2_jax.evaluation import markup

if TYPE_CHECKING:
    from experiments.study import Study
    from experiments.study_beside import Beside


# The columns of results.csv around the numbers.
HEAD = ("row", "setting", "x", "seed")
TAIL = ("seconds", "device", "commit", "run")


@dataclasses.dataclass(frozen=True)
class Row:
    """A finished run."""

    seed: int
    run: str  # its folder in the workdir
    numbers: Mapping[str, float]
    seconds: float
    device: str
    commit: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """A number over seeds."""

    mean: float
    sd: float | None  # None: of one run
    half: float | None  # of the 95% interval of the mean, by Student's t
    values: tuple[float, ...]

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.2f}"
        return f"{self.mean:.2f}{spread}"

    @property
    def interval(self) -> str:
        if self.half is None:
            return ""
        return f"{self.mean - self.half:.2f} to {self.mean + self.half:.2f}"


def summarize(values: Sequence[float]) -> Summary:
    """Return the mean of `values`, how they spread, and how sure the mean is."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Summary(mean, None, None, tuple(values))
    sd = statistics.stdev(values)
    half = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    return Summary(mean, sd, half, tuple(values))


def write_results(
    study: Study,
    found: Sequence[Sequence[Row]],
    baselines: Sequence[Beside],
    out: Path,
) -> None:
    """Write all files of `study`; `found` are the finished runs of each setting."""
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(study, found, out / "results.csv")
    tables = [table(study, found)]
    if baselines:
        tables.append(table_beside(study, baselines))
    text = "\n".join(_markdown(*lines) for lines in tables)
    (out / "table.md").write_text(text, encoding="utf-8")
    points = [
        {name: summarize([row.numbers[name] for row in rows]) for name in study.metrics}
        if rows
        else {}
        for rows in found
    ]
    figures = study_plots.draw(study, points, baselines, out)
    _write_page(study, found, tables, figures, out / "page.html")


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    bars = ["---"] * len(head)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, bars, *lines))


def table_beside(
    study: Study, baselines: Sequence[Beside]
) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the baselines' table."""
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
    return head, lines


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


def table(
    study: Study, found: Sequence[Sequence[Row]]
) -> tuple[list[str], list[list[str]]]:
    """Return the head and the lines of the table; an interval is of the first figure.

    A setting without a run has a line only where it says what it needs.
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
        line = [key, name, *[_short(setting.x)] * over_x]
        line += _numbers(study, rows, main) if rows else [""] * (len(study.metrics) + 3)
        lines.append(line + [setting.note] * bool(study.note_label))
    return head, lines


def _numbers(study: Study, rows: Sequence[Row], main: str) -> list[str]:
    of = {
        name: summarize([row.numbers[name] for row in rows]) for name in study.metrics
    }
    seconds = statistics.median(row.seconds for row in rows)
    return [*map(str, of.values()), of[main].interval, str(len(rows)), f"{seconds:.1f}"]


def _write_csv(study: Study, found: Sequence[Sequence[Row]], path: Path) -> None:
    names = dict.fromkeys(study.metrics)
    for rows in found:
        for row in rows:
            names |= dict.fromkeys(row.numbers)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*HEAD, *names, *TAIL])
        for key, setting, rows in zip(study.keys(), study.settings, found, strict=True):
            for row in rows:
                x = _short(setting.x)
                numbers = [_short(row.numbers.get(name)) for name in names]
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


def write_json(path: Path, values: Any) -> None:
    part = path.with_name(f"{path.name}.partial")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _write_page(
    study: Study,
    found: Sequence[Sequence[Row]],
    tables: Sequence[tuple[list[str], list[list[str]]]],
    figures: Sequence[tuple[str, str]],
    path: Path,
) -> None:
    """Write one file, without scripts, that needs nothing beside it."""
    rows = [row for rows in found for row in rows]
    facts = {
        "device": ", ".join(sorted({row.device for row in rows})),
        "commit": ", ".join(sorted({row.commit for row in rows})),
        "runs": str(len({row.run for row in rows})),
    }
    title, question = map(markup.escape, (study.title, study.question))
    body = f"<h1>{title}</h1>\n<p>{question}</p>\n"
    for svg, caption in figures:
        body += _section(
            "",
            f"<figure>{svg}<figcaption>{markup.escape(caption)}</figcaption></figure>",
        )
    captions = (
        "Mean ± standard deviation over seeds; the 95% interval is of the mean, by "
        "Student's t, which knows no bound at 100%.",
        "Baselines that learn from the texts of those rows.",
    )
    numbers = [
        markup.table(
            head,
            (markup.row(line[0], map(_cell, line[1:])) for line in lines),
            "each",
            caption,
        )
        for (head, lines), caption in zip(tables, captions, strict=False)
    ]
    body += _section("The numbers", "".join(numbers))
    again = f"<pre>{markup.escape(_commands(study, found))}</pre>\n" + markup.table(
        ("", ""),
        (markup.row(name, [_cell(value)]) for name, value in facts.items()),
        "facts",
        "What they were measured with",
    )
    body += _section("Again", again)
    path.write_text(markup.page(study.title, body), encoding="utf-8")


def _commands(study: Study, found: Sequence[Sequence[Row]]) -> str:
    """Return what makes the runs that are there: a line for the rows of like seeds."""
    keys_of: dict[tuple[int, ...], list[str]] = {}
    for key, rows in zip(study.keys(), found, strict=True):
        if rows:
            keys_of.setdefault(tuple(row.seed for row in rows), []).append(key)
    of_all = len(keys_of) == 1 and all(found)
    return "\n".join(
        study.command
        + (f" --rows {' '.join(keys)}" * (not of_all))
        + f" --seeds {' '.join(map(str, seeds))}"
        for seeds, keys in keys_of.items()
    )


def _section(title: str, content: str) -> str:
    head = f"<h2>{title}</h2>\n" if title else ""
    return f"<section>{head}{content}</section>\n"


def _cell(value: Any) -> str:
    return f"<td>{markup.escape(str(value))}</td>"
