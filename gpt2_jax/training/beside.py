"""The linear models beside a trained one: baselines, and what they add to it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np

from gpt2_jax.engine.cut import parts_read
from gpt2_jax.engine.long import first_pieces
from gpt2_jax.evaluation.baselines import LINEAR
from gpt2_jax.evaluation.calibration import fit_temperature
from gpt2_jax.evaluation.metrics import confusion_matrix, mean_scores
from gpt2_jax.lexical.fit import fit_lexical, fit_linear, fit_weights
from gpt2_jax.lexical.linear import Counts, Lexical, LinearModel
from gpt2_jax.plan.task import Task
from gpt2_jax.workdir.run import Run

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Beside:
    """What linear models on the same training texts do beside a trained model."""

    logits: dict[str, np.ndarray]  # of each part, with the lexical part of the model
    answers: Mapping[str, np.ndarray | None]  # to the test texts, by baseline
    lexical: Lexical | None = None  # of the model, unless --no-lexical
    temperature_alone: float | None = None  # of the model without it
    told: dict[str, Any] | None = None  # the `lexical` entry of results.json


def begin_beside(task: Task, run: Run) -> None:
    """Begin to fit what `fit_beside` needs, in a thread beside the training."""
    if _fits(task):
        _fitting(task, run)


def fit_beside(task: Task, logits: dict[str, np.ndarray], run: Run) -> Beside:
    """Fit the linear models, and make them part of the model, unless --no-lexical.

    Args:
        logits: [N, C] of each part, of the model alone.
    """
    if not _fits(task):
        return Beside(logits, {})
    fitted = _fitting(task, run).result()
    answers = fitted.answers if task.config.baselines == "linear" else {}
    if not fitted.models:  # no word in the texts
        return Beside(logits, answers)
    validation, counts = task.labels("validation"), fitted.counts
    every = [
        logits["validation"],
        *(m.weigh(c) for m, c in zip(fitted.models, counts["validation"], strict=True)),
    ]
    told = {
        "on": task.config.lexical,
        "alone": _scores(logits["validation"], validation),
        "together": _scores(_held_out(every, validation), validation),
    }
    if not task.config.lexical:
        return Beside(logits, answers, told=told)
    lexical = fit_lexical(fitted.models, every, validation)
    return Beside(
        {part: logits[part] + lexical.weigh(counts[part]) for part in logits},
        answers,
        lexical,
        fit_temperature(logits["validation"], validation),
        told,
    )


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """Linear models on the training texts: the same for every seed."""

    models: list[LinearModel]
    answers: Mapping[str, np.ndarray | None]  # to the test texts, by baseline
    counts: Mapping[str, list[Counts]]  # of each part, by each of the models


def _fits(task: Task) -> bool:
    return task.config.baselines != "none" or task.config.lexical


def _fitting(task: Task, run: Run) -> Future[_Fitted]:
    """Return what is being fitted; seeds share it."""
    read = (task.max_length, task.config.long, task.tokenizer.sha256)
    key = (task.config.data, task.dataset.sha256, task.dataset.classes, *read)
    return run.options.memo.get("linear models", key, lambda: _in_thread(task))


def _in_thread(task: Task) -> Future[_Fitted]:
    fitted: Future[_Fitted] = Future()

    def fit() -> None:
        try:
            fitted.set_result(_fit(task))
        except BaseException as error:  # it is raised where the result is asked for
            fitted.set_exception(error)

    # A daemon: no run that is stopped waits for it.
    threading.Thread(target=fit, name="linear models", daemon=True).start()
    return fitted


def _fit(task: Task) -> _Fitted:
    texts, labels = task.texts_of("train"), task.labels("train")
    models = {
        name: fit_linear(kind, texts, labels, len(task.dataset.classes))
        for name, kind in LINEAR.items()
    }
    answers = {
        name: model and model.logits(task.texts_of("test")).argmax(-1)
        for name, model in models.items()
    }
    fitted = [model for model in models.values() if model is not None]
    read = {part: _read(task, part) for part in task.texts.parts}
    counts = {part: [m.counts(texts) for m in fitted] for part, texts in read.items()}
    return _Fitted(fitted, answers, counts)


def _read(task: Task, part: str) -> list[str]:
    """Return what is read of the texts of a part."""
    rows = task.texts.parts[part]
    first = rows[first_pieces(task.texts.pieces_of(rows))]
    return parts_read(
        task.texts_of(part),
        task.texts.lengths[first].tolist(),
        task.max_length,
        task.tokenizer,
        task.config.long,
    )


def _held_out(every: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Return joint logits [N, C], weighed without the texts that they are of.

    Args:
        every: [N, C] of each model.
    """
    joint = np.empty(every[0].shape)
    for fold in range(_FOLDS):
        held = np.arange(len(labels)) % _FOLDS == fold
        weights = fit_weights([rows[~held] for rows in every], labels[~held])
        joint[held] = sum(
            w * rows[held] for w, rows in zip(weights, every, strict=True)
        )
    return joint


def _scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    predicted = logits.argmax(-1)
    confusion = confusion_matrix(labels, predicted, logits.shape[-1])
    return {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": mean_scores(confusion)["macro_f1"],
    }
