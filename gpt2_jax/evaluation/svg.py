"""A matplotlib figure as SVG for a page: its colours become CSS variables.

It is drawn in stand-in colours, so that one drawing is right in light, in dark and on
paper.
"""

from __future__ import annotations

import io
import re
from typing import Any

# Okabe and Ito's colours, which the colour-blind can tell apart; lines differ too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

STYLES = ("-", "--", "-.", ":")


INK, GRID, PAPER = "#1a1a1a", "#c9c9c9", "#fefefe"


VARIABLES = {INK: "--ink", GRID: "--grid", PAPER: "--paper"} | {
    color: f"--series-{number}" for number, color in enumerate(COLORS, start=1)
}

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
}


def to_svg(figure: Any, name: str) -> str:
    """Return `figure` as an SVG element whose colours are CSS variables."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):  # ids differ between figures
        figure.savefig(out, format="svg", transparent=True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    used = set(re.findall(r"#([\w-]+)[\")]", svg))
    svg = re.sub(
        r' id="([\w.-]+)"', lambda m: m[0] if m[1] in used else "", svg
    )  # matplotlib gives every figure the same ones
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return svg.replace("'DejaVu Sans'", "system-ui")
