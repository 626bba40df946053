"""The section of the report on errors: the texts, and the words the answers rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt2_jax.evaluation.markup import escape, number_cell, sorts, table

MAX_SHOWN = 600  # characters of a text
MAX_LISTED = 200  # errors; predictions.csv has all

_HEAD = ["text", "true", "answer", "probability", "row"]


def error_list(test: Mapping[str, Any], texts: Sequence[str]) -> str:
    """Return the section as HTML, sortable; `texts` are those of the test part."""
    errors = test["errors"][:MAX_LISTED]
    wrong = test["n"] - sum(row[i] for i, row in enumerate(test["confusion"]))
    if not errors:
        return "<p>Every test text is classified correctly.</p>\n"
    words = (
        "<p>A row is one of <a href='predictions.csv'>predictions.csv</a>, below its "
        "header. Many errors of one kind are often a question of labels: read some.</p>"
    )
    if explained := sum("words" in error for error in errors):
        few = f" Told for the {explained} most probable." * (explained < len(errors))
        words += (
            '<p><mark class="for">Shaded</mark> words speak for the answer that was '
            "given, <mark class='against'>underlined</mark> ones against it; "
            f"approximate: each is left out in turn.{few}</p>\n"
        )
    rows = [(error, _row(texts, error)) for error in errors]
    orders = {
        "probability": ("most probable first", lambda e: -e["prob"]),
        "true": ("by true label", lambda e: (e["label"], e["predicted"], -e["prob"])),
        "length": ("shortest first", lambda e: len(texts[int(e["row"])])),
        "row": ("by row", lambda e: e["row"]),
    }
    caption = f"{len(errors)} of {wrong} errors"
    tables = {}
    for name, (label, key) in orders.items():
        ordered = [html for _, html in sorted(rows, key=lambda pair: key(pair[0]))]
        tables[name] = label, table(_HEAD, ordered, "errors", f"{caption}, {label}")
    return words + sorts("errors", tables)


def _row(texts: Sequence[str], error: Mapping[str, Any]) -> str:
    text = texts[int(error["row"])]
    link = f'<a href="predictions.csv">{error["row"] + 1}</a>'
    return (
        f'<tr><td class="text" dir="auto">{_marked(text, error.get("words", ()))}</td>'
        f'<td data-name="true">{escape(error["label"])}</td>'
        f'<td data-name="answer">{escape(error["predicted"])}</td>'
        f"{number_cell(format(error['prob'], '.3f'), 'probability')}"
        f"{number_cell(link, 'row')}</tr>\n"
    )


def _marked(text: str, words: Sequence[Sequence[Any]]) -> str:
    """Return the text as HTML, cut, its words shaded by their weights."""
    strongest = max([0.02, *(abs(weight) for _, _, weight in words)])
    out, at = "", 0
    for start, end, weight in words:
        share = abs(weight) / strongest
        if end > MAX_SHOWN or share < 0.1:
            continue
        kind = "for" if weight > 0 else "against"
        out += escape(text[at:start])
        out += f'<mark class="{kind}" style="--share:{share:.2f}">'
        out += f"{escape(text[start:end])}</mark>"
        at = end
    more = " …" if len(text) > MAX_SHOWN else ""
    return f"{out}{escape(text[at:MAX_SHOWN])}{more}"
