"""Two runs and more side by side: the same texts, what differs, and how sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.evaluation import markup
from gpt2_jax.evaluation.statistics import (
    Answers,
    Difference,
    difference,
    mcnemar,
    mean_score,
    resampled,
)
from gpt2_jax.evaluation.svg import COLORS, STYLE, STYLES, to_svg
from gpt2_jax.storage.atomic import write_text
from gpt2_jax.sweeps.listing import Listed, differing, find_runs, listing
from gpt2_jax.sweeps.page import html_table, section
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.predictions import PREDICTIONS, Predictions, read_predictions

SHOWN = 20  # texts on which two runs differ, in the terminal
_LONGEST = 100  # characters of a text


@dataclasses.dataclass(frozen=True)
class Pair:
    """The first run beside another one, on test texts that both answered."""

    other: str
    texts: int  # that both have
    ahead: Difference  # of the other one, in points of accuracy
    mcnemar: Mapping[str, float]
    differ: tuple[
        tuple[str, str, str, str], ...
    ]  # text, label, first's, other's answer


@dataclasses.dataclass(frozen=True)
class Compared:
    """Finished runs, and each after the first beside it."""

    runs: tuple[Listed, ...]
    settings: tuple[str, ...]  # that differ
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare_runs(folders: Sequence[Path]) -> Compared:
    """Compare finished runs on the test texts that they share.

    Raises:
        UserError: a folder is no finished run, or two have no test text in common.
        WeightsError: a file of a run is damaged.
    """
    runs = [_run(folder) for folder in folders]
    first = read_predictions(runs[0].folder / PREDICTIONS["test"])
    pairs, notes = [], []
    for run in runs[1:]:
        other = read_predictions(run.folder / PREDICTIONS["test"])
        pair = _pair(runs[0].name, run.name, first, other)
        pairs.append(pair)
        if not pair.texts == len(first.texts) == len(other.texts):
            notes.append(
                f"{runs[0].name} was tested on {len(first.texts)} texts and {run.name} "
                f"on {len(other.texts)}: only the {pair.texts} that both have, with "
                "the same labels, are compared"
            )
    return Compared(tuple(runs), tuple(differing(runs)), tuple(pairs), tuple(notes))


def _run(folder: Path) -> Listed:
    found = find_runs(folder)
    if len(found) > 1:
        raise UserError(
            f"{folder}: holds {len(found)} runs; name those to compare, such as "
            f"{found[0].folder}"
        )
    if not found[0].numbers:
        raise WeightsError(f"{folder}: is not finished; go on with it first")
    return dataclasses.replace(found[0], name=str(folder))


def _pair(name: str, other_name: str, first: Predictions, other: Predictions) -> Pair:
    places: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(other.texts, other.labels, strict=True)):
        places.setdefault(key, []).append(i)
    both = [
        (i, places[key].pop(0))
        for i, key in enumerate(zip(first.texts, first.labels, strict=True))
        if places.get(key)
    ]
    if not both:
        raise UserError(f"{name} and {other_name}: no test text in common to compare")
    ours, theirs = ([pair[side] for pair in both] for side in (0, 1))
    one, two = _chosen(first, ours), _chosen(other, theirs)
    drawn = resampled([[one], [two]])
    apart = mean_score([two], "accuracy") - mean_score([one], "accuracy")
    answers = [
        (first.texts[i], first.labels[i], _answer(first, i), _answer(other, j))
        for i, j in both
    ]
    return Pair(
        other_name,
        len(both),
        difference(drawn[:, 1], drawn[:, 0], apart),
        mcnemar(one.right, two.right),
        tuple(answer for answer in answers if answer[2] != answer[3]),
    )


def _chosen(predictions: Predictions, rows: list[int]) -> Answers:
    answers = predictions.answers
    return Answers(answers.labels[rows], answers.probabilities[rows])


def _answer(predictions: Predictions, row: int) -> str:
    return predictions.classes[int(predictions.probabilities[row].argmax())]


def tables(compared: Compared) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return what is compared as tables: a title, a head and lines each."""
    first = compared.runs[0].name
    head = ["against the first", "texts", "ahead, in points", "95% interval"]
    head += ["only the first right", "only this right", "McNemar's p"]
    lines = [
        [
            *(pair.other, str(pair.texts), f"{pair.ahead.mean:+.2f}"),
            f"{pair.ahead.low:+.2f} to {pair.ahead.high:+.2f}",
            *(str(pair.mcnemar[key]) for key in ("only_first", "only_second")),
            f"{pair.mcnemar['p']:.3g}",
        ]
        for pair in compared.pairs
    ]
    found = [("Runs", *listing(compared.runs)), ("On the test part", head, lines)]
    found += [
        (
            f"Texts on which {first} and {pair.other} differ",
            ["text", "label", "first", "this"],
            [[_short(text), *rest] for text, *rest in pair.differ],
        )
        for pair in compared.pairs
    ]
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def write_comparison(compared: Compared, path: Path) -> None:
    """Write the page of a comparison, with the curves of the runs over each other."""
    body = "<h1>Runs compared</h1>\n"
    body += "".join(f"<p>{markup.escape(note)}.</p>\n" for note in compared.notes)
    body += _curves(compared.runs)
    for title, head, lines in tables(compared):
        body += section(title, html_table(head, lines, title))
    write_text(path, markup.page("Runs compared", body))


def _curves(runs: Sequence[Listed]) -> str:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return "<p>No curves: install gpt2-jax[report] for them.</p>\n"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes: Any = figure.subplots(1, 2)
        for number, run in enumerate(runs):
            history = MetricsLog(run.folder / "metrics.jsonl").read()
            for panel, key in zip(axes, ("loss", "accuracy"), strict=True):
                points = [
                    (line["step"], line[f"validation_{key}"])
                    for line in history
                    if f"validation_{key}" in line and "epoch" in line
                ]
                panel.plot(
                    *zip(*points, strict=True),
                    STYLES[number % len(STYLES)],
                    color=COLORS[number % len(COLORS)],
                    marker="o",
                    label=run.name,
                )
                panel.set(xlabel="step", ylabel=f"validation {key}")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left")
        svg = to_svg(figure, "curves").replace("<svg", '<svg role="img"', 1)
    caption = "On validation, after each epoch."
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>\n"
