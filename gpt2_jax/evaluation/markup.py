"""Pieces of HTML; what is not made here is escaped here."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Iterable, Sequence


def page(title: str, body: str) -> str:
    """Return a whole page without scripts, that needs nothing beside it."""
    css = importlib.resources.files("gpt2_jax") / "evaluation" / "report.css"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>
{css.read_text("utf-8")}</style></head>
<body><main>
{body}</main></body></html>
"""


def table(head: Sequence[str], rows: Iterable[str], kind: str, caption: str) -> str:
    """Return a table that scrolls by itself where it is too wide."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{kind}">'
        f'<table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "</div>\n"
    )


def row(name: str, cells: Iterable[str]) -> str:
    """Return a row of `cells`, headed by `name`."""
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>\n'


def shaded_cell(count: int, total: int) -> str:
    """Return a cell that is the darker, the more `count` is of `total`."""
    return f'<td style="--share:{count / max(total, 1):.3f}">{count}</td>'


def number_cell(value: object) -> str:
    return f'<td class="number">{value}</td>'


def escape(value: str) -> str:
    return html.escape(value)
