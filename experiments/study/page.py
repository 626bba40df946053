"""The page of a study: its question, figures and tables, and how it is run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.study.plots import Drawn
from experiments.study.spec import Row, Study
from experiments.study.tables import Table
from gpt2_jax.evaluation import markup


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
        body += _section("", f"<figure>{figure.svg}{caption}</figure>")
    body += _section("The numbers", "".join(map(_table, tables)))
    again = f"<pre>{markup.escape(commands(study, found))}</pre>\n"
    body += _section("Again", again + _facts(found))
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
    facts = {
        "device": ", ".join(sorted({row.device for row in rows})),
        "commit": ", ".join(sorted({row.commit for row in rows})),
        "runs": str(len({row.run for row in rows})),
    }
    lines = (markup.row(name, [_cell(value)]) for name, value in facts.items())
    return markup.table(("", ""), lines, "facts", "What they were measured with")


def _table(table: Table) -> str:
    lines = (markup.row(line[0], map(_cell, line[1:])) for line in table.lines)
    return markup.table(table.head, lines, "each", table.caption)


def _section(title: str, content: str) -> str:
    head = f"<h2>{title}</h2>\n" if title else ""
    return f"<section>{head}{content}</section>\n"


def _cell(value: str) -> str:
    return f"<td>{markup.escape(value)}</td>"
