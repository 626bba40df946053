"""The confusion of many classes as a clustered heat map: a picture, or SVG for a page.

Cells hold the share of a true class's texts; classes that are mistaken for one another
stand side by side, and the commonest errors are numbered beside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2_jax.evaluation.confusions import cluster_order, confused_pairs, row_shares
from gpt2_jax.evaluation.markup import escape
from gpt2_jax.evaluation.svg import COLORS, INK

NUMBERED = 15  # pairs beside the picture
_MAX_NAMED = 40  # classes whose names can be read along the sides

_MAX_NAME = 36  # letters

# A share of 1% is still to be seen where the shade grows with the root.
_POWER = 0.5


def draw_heat_map(confusion: np.ndarray, classes: Sequence[str]) -> Any:
    """Return a matplotlib figure of the map, its scale and the commonest errors."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    side = float(np.clip(0.075 * len(classes), 6.5, 10.0))
    figure = Figure(figsize=(side + 5.0, side), layout="constrained")
    axes, words = figure.subplots(1, 2, width_ratios=[side, 4.0])
    order = cluster_order(confusion)
    shares = row_shares(confusion)[np.ix_(order, order)]
    image = axes.imshow(
        shares, cmap="Blues", norm=PowerNorm(_POWER, 0, 1), interpolation="nearest"
    )
    bar = figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0%", "5%", "20%", "50%", "100%"])
    bar.set_label("share of the true class's texts")
    axes.grid(False)
    axes.set_xlabel(f"predicted: {len(classes)} classes, similar ones side by side")
    axes.set_ylabel("true")
    axes.set_xticks([])
    axes.set_yticks([])
    if len(classes) <= _MAX_NAMED:
        names = [_short(classes[c]) for c in order]
        how: dict[str, Any] = {"parse_math": False, "fontsize": 7}
        axes.set_xticks(range(len(names)), names, rotation=90, **how)
        axes.set_yticks(range(len(names)), names, **how)
    _number_errors(axes, words, confusion, classes, order)
    return figure


def _number_errors(
    axes: Any,
    words: Any,
    confusion: np.ndarray,
    classes: Sequence[str],
    order: Sequence[int],
) -> None:
    """Ring the commonest errors in `axes`, and list them in `words`."""
    place = {c: i for i, c in enumerate(order)}
    support = confusion.sum(axis=1)
    words.axis("off")
    lines = ["The commonest errors, true → predicted:"]
    pairs = confused_pairs(confusion, NUMBERED)
    for number, (true, answer, count) in enumerate(pairs, start=1):
        x, y = place[answer], place[true]
        axes.plot(x, y, "o", markersize=9, fillstyle="none", color=COLORS[1])
        # Away from the diagonal, where the cells are dark.
        side = 1 if x > y else -1
        axes.annotate(
            str(number),
            (x, y),
            (side * 6, -side * 2 if number % 2 else side * 9),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
            color=COLORS[1],
            fontweight="bold",
        )
        lines.append(
            f"{number:>2}  {_short(classes[true])}\n"
            f"      → {_short(classes[answer])}: {count} of {support[true]}"
        )
    words.text(
        0,
        1,
        "\n".join(lines),
        va="top",
        fontsize=8.5,
        linespacing=1.35,
        color=INK,
        parse_math=False,
        transform=words.transAxes,
    )


def heat_map_svg(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Return the heat map as SVG; a cell that is pointed at names its classes."""
    order, size = cluster_order(confusion), len(classes)
    support, shares = confusion.sum(axis=1), row_shares(confusion)
    cells = []
    for y, true in enumerate(order):
        for x, answer in enumerate(order):
            if count := int(confusion[true, answer]):
                kind = "right" if true == answer else "wrong"
                told = (
                    f"{classes[true]} → {classes[answer]}: {count} of {support[true]}"
                )
                cells.append(
                    f'<rect class="{kind}" x="{x}" y="{y}" width="1" height="1" '
                    f'fill-opacity="{shares[true, answer] ** _POWER:.3f}">'
                    f"<title>{escape(told)}</title></rect>"
                )
    label = f"confusion of {size} classes, true ones in rows, answers in columns"
    return (
        f'<svg class="heat" role="img" aria-label="{label}" '
        f'viewBox="0 0 {size} {size}"><rect class="ground" width="{size}" '
        f'height="{size}"/>{"".join(cells)}</svg>\n'
    )


def scale_html() -> str:
    """Return what the shades of the SVG mean."""
    steps = ""
    for kind in ("right", "wrong"):
        steps += f"<span>{kind}:</span>" + "".join(
            f'<span><span class="swatch {kind}" '
            f'style="opacity:{share**_POWER:.2f}"></span>{100 * share:g}%</span>'
            for share in (0.05, 0.2, 0.5, 1.0)
        )
    return f'<p class="scale">{steps}</p>\n'


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
