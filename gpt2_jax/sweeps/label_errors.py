"""From a cross-validation to the labels that a person should look at again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt2_jax.data.corrections import CORRECTED, LABEL, TEXT
from gpt2_jax.errors import WeightsError
from gpt2_jax.evaluation.label_errors import overlaps, probable_errors, similar_pairs
from gpt2_jax.storage.atomic import write_text
from gpt2_jax.sweeps.folds import OUT_OF_FOLD

LABEL_ERRORS = "label_errors.csv"
_HEAD = ("why", "row", TEXT, LABEL, "suggested", "p_label", "p_suggested")
_SHOWN = 10  # pairs of classes


def find_label_errors(folder: Path) -> list[str]:
    """Write label_errors.csv into the folder of a cross-validation; say what is in it.

    Its last column, `corrected`, is empty: whoever looks at a line writes the right
    label there, and gives the file to `--corrections`.

    Raises:
        WeightsError: no finished cross-validation is there.
    """
    found = _read(folder / OUT_OF_FOLD)
    errors = probable_errors(found.probabilities, found.labels)
    pairs = similar_pairs(found.texts, found.labels)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_HEAD, "like_row", "like_text", CORRECTED])
    writer.writerows(_lines(found, errors, pairs))
    write_text(folder / LABEL_ERRORS, out.getvalue())
    lines = [
        f"{len(errors)} of {len(found.texts)} labels are probably wrong, and "
        f"{len(pairs)} pairs of nearly the same text have different labels"
    ]
    lines += [
        f"overlapping classes: {found.classes[a]} and {found.classes[b]}: {count} "
        "texts of one look like the other"
        for a, b, count in overlaps(found.probabilities, found.labels)[:_SHOWN]
    ]
    path = folder / LABEL_ERRORS
    return [
        *lines,
        f"look at {path}, write right labels into its column {CORRECTED!r}, and train "
        f"with --corrections {path}",
    ]


class _Found:
    """What out_of_fold.csv holds."""

    def __init__(self, rows: list[dict[str, str]], columns: list[str]) -> None:
        self.classes = [name[2:] for name in columns if name.startswith("p_")]
        self.rows = [row["row"] for row in rows]
        self.texts = [row["text"] for row in rows]
        place = {name: i for i, name in enumerate(self.classes)}
        self.labels = np.asarray([place[row["label"]] for row in rows])
        names = [f"p_{name}" for name in self.classes]
        cells = [[row[name] for name in names] for row in rows]
        self.probabilities = np.asarray(cells, np.float64)


def _read(path: Path) -> _Found:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return _Found(list(reader), list(reader.fieldnames or ()))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise WeightsError(
            f"{path}: cannot be read ({error}); give the folder of a finished "
            "gpt2-jax cv"
        ) from error


def _lines(
    found: _Found, errors: np.ndarray, pairs: list[tuple[int, int]]
) -> Iterator[list[str]]:
    """Yield a line for each label to look at, the most probable errors first."""
    classes, p = found.classes, found.probabilities
    for row in errors.tolist():
        label = int(found.labels[row])
        other = int(np.where(np.arange(p.shape[1]) == label, -1, p[row]).argmax())
        yield [
            "probable error",
            *(found.rows[row], found.texts[row], classes[label], classes[other]),
            *(f"{p[row, label]:.4f}", f"{p[row, other]:.4f}", "", "", ""),
        ]
    for pair in pairs:
        # The one whose own label is less probable is the one to look at.
        row, like = sorted(pair, key=lambda i: float(p[i, found.labels[i]]))
        label, other = int(found.labels[row]), int(found.labels[like])
        yield [
            "nearly the same text",
            *(found.rows[row], found.texts[row], classes[label], classes[other]),
            *(f"{p[row, label]:.4f}", f"{p[row, other]:.4f}"),
            *(found.rows[like], found.texts[like], ""),
        ]
