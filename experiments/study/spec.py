"""What a study compares, and the numbers that its runs gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.evaluation.statistics import Summary, summarize

ACCURACIES = {
    "train": "training accuracy (%)",
    "validation": "validation accuracy (%)",
    "test": "test accuracy (%)",
}
# The folder of a run and its results.json to more numbers of it.
Measure = Callable[[Path, Mapping[str, Any]], Mapping[str, float]]
# A config and a seed to the numbers of each baseline.
MeasureBaselines = Callable[[FinetuneConfig, int], Mapping[str, Mapping[str, float]]]


def no_more_numbers(run: Path, results: Mapping[str, Any]) -> Mapping[str, float]:
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
    measure: Measure = no_more_numbers
    lexical: bool = False  # of every run; else it is the model alone that is compared
    # Of each set of texts; its metrics are of `metrics`.
    beside: MeasureBaselines | None = None

    def keys(self) -> list[str]:
        return [s.key or str(i) for i, s in enumerate(self.settings, start=1)]


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
class Baseline:
    """What else learns from the texts that some rows share."""

    places: tuple[int, ...]  # of those rows among the settings
    name: str
    numbers: Mapping[str, Summary]


def summarize_metric(label: str, values: Sequence[float]) -> Summary:
    """Return a metric over runs; of percents the interval stays within 0 to 100."""
    return summarize(values, percent=label.endswith("(%)"))


def summarize_rows(
    rows: Sequence[Row], metrics: Mapping[str, str]
) -> dict[str, Summary]:
    """Return each of `metrics` over `rows`; nothing where there are none."""
    if not rows:
        return {}
    return {
        name: summarize_metric(label, [row.numbers[name] for row in rows])
        for name, label in metrics.items()
    }
