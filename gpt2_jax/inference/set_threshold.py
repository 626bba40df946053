"""The threshold of a run: chosen on its validation part, kept with its model."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np

from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.evaluation.decision import Choice, choose_threshold, decide
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import read_sealed, sealed
from gpt2_jax.weights.trained import MODEL_FILE, Threshold, load_model
from gpt2_jax.workdir.predictions import PREDICTIONS


def set_threshold(
    run: Path,
    *,
    precision: float | None = None,
    recall: float | None = None,
    positive: str | None = None,
) -> list[str]:
    """Choose and store the threshold of a class; return what it gives, line by line.

    The test part has no say in it: what is told of it is an estimate for new texts.

    Args:
        precision, recall: the target, one of them, on the validation part; None, both:
            remove the threshold.
        positive: the class; None: the second of two.

    Raises:
        UserError: the class must be named, or no threshold reaches the target.
        WeightsError: the run cannot be read.
    """
    trained = load_model(run)
    if precision is None and recall is None:
        _store(run, None)
        return ["threshold removed: the answer is the most probable label"]
    index = _index(trained.classes, positive)
    positive = trained.classes[index]
    labels, rows = _read(run, "validation", trained.classes)
    if not (labels == index).any():
        raise UserError(
            f"{run}: no validation text is {positive!r}, so that nothing can be "
            "measured; train with a larger validation part (--split)"
        )
    found, nearest = choose_threshold(
        rows[:, index], labels == index, precision=precision, recall=recall
    )
    if found is None:
        raise UserError(
            f"{run}: no threshold for {positive!r} reaches {_target(precision, recall)}"
            f" on the {len(labels)} validation texts; the best is {_told(nearest)}, "
            f"at {nearest.value:.6f}"
        )
    _store(run, Threshold(positive, found.value))
    return [
        f"threshold: {positive} from a probability of {found.value:.6f} on",
        f"validation: {_told(found)} (n={len(labels)}, {(labels == index).sum()} of "
        f"them {positive})",
        _test_line(run, trained.classes, index, found.value),
        f"stored: {run / 'model' / MODEL_FILE}",
    ]


def _index(classes: tuple[str, ...], positive: str | None) -> int:
    if positive is None and len(classes) == 2:
        return 1
    if positive not in classes:
        given = "" if positive is None else f"{positive!r} is no class; "
        raise UserError(f"{given}name one with --positive: {', '.join(classes)}")
    return classes.index(positive)


def _target(precision: float | None, recall: float | None) -> str:
    return f"precision {precision:g}" if recall is None else f"recall {recall:g}"


def _told(choice: Choice) -> str:
    return f"precision {choice.precision:.4f}, recall {choice.recall:.4f}"


def _test_line(run: Path, classes: tuple[str, ...], index: int, value: float) -> str:
    labels, rows = _read(run, "test", classes)
    predicted = decide(rows, (index, value)) == index
    hits = (predicted & (labels == index)).sum()
    precision, recall = (
        f"{hits / total:.4f}" if total else "n/a"
        for total in (predicted.sum(), (labels == index).sum())
    )
    return f"test: precision {precision}, recall {recall} (n={len(labels)})"


def _read(
    run: Path, part: str, classes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [N] and probabilities [N, C] of a part, as the run kept them."""
    path = run / PREDICTIONS[part]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        labels = np.asarray([classes.index(row["label"]) for row in rows])
        values = [[float(row[f"p_{name}"]) for name in classes] for row in rows]
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; train again to have it") from None
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: not of this run ({error})") from None
    return labels, np.asarray(values)


def _store(run: Path, threshold: Threshold | None) -> None:
    path = run / "model" / MODEL_FILE
    values = read_sealed(path)
    values["threshold"] = threshold and dataclasses.asdict(threshold)
    try:
        write_json(path, sealed(values))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror})") from None
