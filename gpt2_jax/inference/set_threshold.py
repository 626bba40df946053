"""The threshold of a run: chosen on its validation part, kept with its model."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np

from gpt2_jax.data.balance import BALANCED
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.evaluation.decision import (
    Choice,
    choose_best_f1,
    choose_threshold,
    decide,
)
from gpt2_jax.evaluation.metrics import wilson_interval
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import read_json, read_sealed, sealed
from gpt2_jax.weights.trained import MODEL_FILE, Threshold, TrainedModel, load_model
from gpt2_jax.workdir.predictions import PREDICTIONS


def set_threshold(
    run: Path,
    *,
    precision: float | None = None,
    recall: float | None = None,
    best_f1: bool = False,
    positive: str | None = None,
) -> list[str]:
    """Choose and store the threshold of a class; return what it gives, line by line.

    The test part has no say in it: what is told of it is an estimate for new texts.

    Args:
        precision, recall: the target, one of them, on the validation part.
        best_f1: instead of a target, the highest F1 there. With none of the three the
            threshold is removed.
        positive: the class; None: that of the run.

    Raises:
        UserError: the class must be named, no threshold reaches the target, or too few
            texts are above the one that does.
        WeightsError: the run cannot be read.
    """
    trained = load_model(run)
    if precision is None and recall is None and not best_f1:
        _store(run, None)
        return ["threshold removed: the answer is the most probable label"]
    index = _index(trained, positive)
    positive = trained.classes[index]
    labels, rows = _read(run, "validation", trained.classes)
    if not (labels == index).any():
        raise UserError(
            f"{run}: no validation text is {positive!r}, so that nothing can be "
            "measured; train with a larger validation part (--split)"
        )
    scores, true = rows[:, index], labels == index
    if best_f1:
        found = nearest = choose_best_f1(scores, true)
    else:
        found, nearest = choose_threshold(
            scores, true, precision=precision, recall=recall
        )
    if found is None:
        raise UserError(
            f"{run}: no threshold for {positive!r} reaches {_target(precision, recall)}"
            f" on the {len(labels)} validation texts; the best is {_told(nearest)}, "
            f"at {nearest.value:.6f}"
        )
    if precision is not None:
        above = int((scores >= found.value).sum())
        _check_enough(run, positive, precision, above, len(labels))
    _store(run, Threshold(positive, found.value))
    return [
        f"threshold: {positive} from a probability of {found.value:.6f} on",
        _measured("validation", labels, rows, index, found.value, positive),
        _measured(
            "test", *_read(run, "test", trained.classes), index, found.value, positive
        ),
        *([f"note: {BALANCED}"] if _is_balanced(run) else []),
        f"stored: {run / 'model' / MODEL_FILE}",
    ]


def _index(trained: TrainedModel, positive: str | None) -> int:
    classes = trained.classes
    positive = trained.positive if positive is None else positive
    if positive is None and len(classes) == 2:
        return 1
    if positive not in classes:
        given = "" if positive is None else f"{positive!r} is no class; "
        raise UserError(f"{given}name one with --positive: {', '.join(classes)}")
    return classes.index(positive)


def _check_enough(
    run: Path, positive: str, precision: float, above: int, texts: int
) -> None:
    """Refuse a precision that so few texts cannot tell from a lower one.

    Raises:
        UserError: there are fewer than 1 / (1 - precision), so that one error more
            would miss it.
    """
    if precision == 1.0:
        raise UserError(
            f"{run}: no number of texts shows a precision of 1; ask for 0.99 or less"
        )
    needed = math.ceil(1 / (1 - precision) - 1e-9)
    if above < needed:
        reachable = math.floor(100 * (1 - 1 / max(above, 1))) / 100
        less = f"ask for {reachable:g} or less, or " if reachable else ""
        raise UserError(
            f"{run}: {above} of {texts} validation texts are above the threshold for "
            f"{positive!r}, too few to tell a precision of {precision:g}: that takes "
            f"{needed}; {less}train with a larger validation part (--split)"
        )


def _target(precision: float | None, recall: float | None) -> str:
    return f"precision {precision:g}" if recall is None else f"recall {recall:g}"


def _told(choice: Choice) -> str:
    return f"precision {choice.precision:.4f}, recall {choice.recall:.4f}"


def _measured(
    part: str,
    labels: np.ndarray,
    rows: np.ndarray,
    index: int,
    value: float,
    positive: str,
) -> str:
    """Return precision with its interval, recall, prevalence and the texts above."""
    predicted = decide(rows, (index, value)) == index
    true = labels == index
    hits, above = int((predicted & true).sum()), int(predicted.sum())
    precision = "n/a"
    if above:
        low, high = wilson_interval(hits, above)
        precision = f"{hits / above:.4f} (95% interval {low:.4f} to {high:.4f})"
    recall = f"{hits / true.sum():.4f}" if true.any() else "n/a"
    return (
        f"{part}: precision {precision}, recall {recall}; {above} of {len(labels)} "
        f"texts above it; {true.sum()} are {positive}, a prevalence of "
        f"{100 * true.mean():.1f}%"
    )


def _is_balanced(run: Path) -> bool:
    """Were validation and test undersampled too? Older runs tell it by their config."""
    results, config = run / "results.json", run / "config.json"
    if results.is_file():
        told = read_json(results).get("data")
        if isinstance(told, dict) and "balanced" in told:
            return bool(told["balanced"])
        if isinstance(told, dict) and str(told.get("split")).startswith("as given"):
            return False
    if not config.is_file():
        return False
    data = read_json(config).get("data")
    return isinstance(data, dict) and (
        data.get("balance") == "undersample" or bool(data.get("book"))
    )


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
