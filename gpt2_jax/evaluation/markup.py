"""Pieces of HTML; what is not made here is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


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
