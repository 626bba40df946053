"""The files of a run: metrics.jsonl, results.json, and the trained model itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.storage.atomic import write_text

# What differs between the lines of runs that are the same, for it is measured.
MEASURED = (
    *("seconds", "step_seconds", "tokens_per_second", "peak_fraction", "goodput"),
)


class MetricsLog:
    """Appends lines to metrics.jsonl; one process of a run `writes`."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self._path, self._writes = path, writes

    def write(self, **values: Any) -> None:
        self._append([values])

    def write_losses(self, step: int, losses: np.ndarray, seconds: float) -> None:
        """Write the losses [S] of the steps after `step`, a line each.

        `seconds`: that one of them took, without the compiler's.
        """
        lines = enumerate(losses.tolist(), start=step + 1)
        each = round(seconds, 6)
        self._append(
            [{"step": n, "loss": loss, "step_seconds": each} for n, loss in lines]
        )

    def _append(self, lines: list[dict[str, Any]]) -> None:
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def read(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        *lines, _ = self._path.read_text("utf-8").split("\n")  # a kill cuts the last
        return [json.loads(line) for line in lines]

    def truncate(self, step: int, *, behind: bool) -> None:
        """Drop what lies after `step`: a resumed run will write it again.

        Where it is `behind` that is all but the loss of `step` itself.
        """
        if not self._writes:
            return
        kept = [
            line
            for line in self.read()
            if line["step"] < step
            or (line["step"] == step and ("loss" in line or not behind))
        ]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
