"""Pieces of HTML; what is not made here is escaped here."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence


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


def number_cell(value: object, name: str = "") -> str:
    """Return a cell of a number; `name` stands beside it where rows become blocks."""
    named = f' data-name="{name}"' if name else ""
    return f'<td class="number"{named}>{value}</td>'


def sorts(group: str, tables: Mapping[str, tuple[str, str]]) -> str:
    """Return tables in several orders, by name the words and the HTML of each.

    The page has no scripts: each order is there, and a button shows one. report.css
    knows the names.
    """
    buttons, shown = "", ""
    for i, (name, (words, content)) in enumerate(tables.items()):
        checked = " checked" if i == 0 else ""
        buttons += (
            f'<input type="radio" name="{group}-order" id="{group}-{name}"{checked}>'
            f'<label for="{group}-{name}">{words}</label>\n'
        )
        shown += f'<div class="sorted {group}-{name}">{content}</div>'
    return f'<div class="sorts">{buttons}{shown}</div>\n'


def escape(value: str) -> str:
    return html.escape(value)
