"""The page of a sweep: its figure, its table, and its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt2_jax.evaluation import markup
from gpt2_jax.evaluation.point_plot import Line, draw_points
from gpt2_jax.evaluation.svg import STYLE, to_svg
from gpt2_jax.storage.atomic import write_text
from gpt2_jax.sweeps.finished import Finished
from gpt2_jax.sweeps.table import METRICS, Comparison, numbers_of

_CAPTION = (
    "Each point a run; bars: the 95% interval of the mean over seeds, on these texts."
)


def write_page(
    comparison: Comparison,
    finished: Sequence[Finished],
    table: tuple[list[str], list[list[str]]],
    told: Sequence[str],
    path: Path,
) -> None:
    """Write one file, without scripts, that needs nothing beside it."""
    results = finished[0].results
    title = f"{len(finished)} runs of {results.weights} on {results.data['name']}"
    body = f"<h1>{markup.escape(title)}</h1>\n"
    body += "".join(f"<p>{markup.escape(line)}</p>\n" for line in told)
    body += f"<section>{_figure(comparison)}</section>\n"
    body += section("Settings", html_table(*table, "Mean ± standard deviation"))
    lines = [
        [each.member.name, *(f"{value:.2f}" for value in numbers_of(each).values())]
        for each in finished
    ]
    head = ["run", *METRICS.values()]
    body += section("Runs", html_table(head, lines, "Each run has a report of its own"))
    write_text(path, markup.page(title, body))


def section(title: str, content: str) -> str:
    """Return a section of a page."""
    return f"<section><h2>{markup.escape(title)}</h2>\n{content}</section>\n"


def html_table(head: Sequence[str], lines: Sequence[Sequence[str]], what: str) -> str:
    """Return a table whose first column names its lines."""
    rows = (
        markup.row(line[0], [f"<td>{markup.escape(cell)}</td>" for cell in line[1:]])
        for line in lines
    )
    return markup.table(head, rows, "each", what)


def _figure(comparison: Comparison) -> str:
    try:
        import matplotlib
    except ImportError:
        return "<p>No figure: install gpt2-jax[report] for one.</p>\n"
    lines = [Line(row.name, row.numbers) for row in comparison.rows]
    labels = {name: METRICS[name] for name in ("validation", "test")}
    with matplotlib.rc_context(STYLE):
        figure = draw_points(lines, labels)
        figure.axes[0].set_xlabel("accuracy (%)")
        figure.legend(loc="outside upper left", ncols=2)
        svg = to_svg(figure, "sweep").replace("<svg", '<svg role="img"', 1)
    return f"<figure>{svg}<figcaption>{markup.escape(_CAPTION)}</figcaption></figure>\n"


def write_folds_page(
    finished: Sequence[Finished], told: Sequence[str], path: Path
) -> None:
    """Write the page of a cross-validation."""
    results = finished[0].results
    title = f"{results.weights} on {results.data['name']}, cross-validated"
    lines = [
        [each.member.name, *(f"{value:.2f}" for value in numbers_of(each).values())]
        for each in finished
    ]
    words = markup.escape("\n".join(told))
    body = f"<h1>{markup.escape(title)}</h1>\n<pre>{words}</pre>\n"
    body += section("Folds", html_table(["run", *METRICS.values()], lines, "Folds"))
    write_text(path, markup.page(title, body))
