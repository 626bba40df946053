"""The page of a study: its question, figures and tables, and how it is run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.study.plots import Drawn
from experiments.study.spec import Row, Study
from experiments.study.tables import Table
from gpt2_jax.evaluation import markup
from gpt2_jax.sweeps.page import html_table, section


def write_page(
    study: Study,
    found: Sequence[Sequence[Row]],
    tables: Sequence[Table],
    figures: Sequence[Drawn],
    path: Path,
) -> None:
    """Write one file, without scripts, that needs nothing beside it."""
    title, question = map(markup.escape, (study.title, study.question))
    body = f"<h1>{title}</h1>\n<p>{question}</p>\n"
    for figure in figures:
        caption = f"<figcaption>{markup.escape(figure.caption)}</figcaption>"
        body += f"<section><figure>{figure.svg}{caption}</figure></section>\n"
    body += section("The numbers", "".join(html_table(*table) for table in tables))
    again = f"<pre>{markup.escape(commands(study, found))}</pre>\n"
    body += section("Again", again + _facts(found))
    path.write_text(markup.page(study.title, body), encoding="utf-8")


def commands(study: Study, found: Sequence[Sequence[Row]]) -> str:
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


def _facts(found: Sequence[Sequence[Row]]) -> str:
    rows = [row for rows in found for row in rows]
    lines = [
        ["device", ", ".join(sorted({row.device for row in rows}))],
        ["commit", ", ".join(sorted({row.commit for row in rows}))],
        ["runs", str(len({row.run for row in rows}))],
    ]
    return html_table(("", ""), lines, "What they were measured with")
