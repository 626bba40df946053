"""From logits to what a run found, and the files that say so."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import logging
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax import config as configs
from gpt2_jax import distributed
from gpt2_jax.data import checks
from gpt2_jax.engine.engine import Engine
from gpt2_jax.engine.optimizer import create_schedule
from gpt2_jax.engine.param_labels import trained_leaves
from gpt2_jax.evaluation import baselines
from gpt2_jax.evaluation.calibration import describe_calibration, fit_temperature
from gpt2_jax.evaluation.curves import collect_curves
from gpt2_jax.evaluation.figures import draw_figures, write_pictures
from gpt2_jax.evaluation.history_plots import History
from gpt2_jax.evaluation.metrics import (
    ECE_BINS,
    accuracy,
    evaluate_probabilities,
    softmax,
)
from gpt2_jax.evaluation.model_card import write_model_card
from gpt2_jax.evaluation.report import Report, write_report_html
from gpt2_jax.model.gpt2 import count_params
from gpt2_jax.plan.describe import describe_data, length_counts
from gpt2_jax.plan.task import Task
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.sealed import read_sealed
from gpt2_jax.training.beside import Beside
from gpt2_jax.training.errors import explain_errors, list_errors
from gpt2_jax.training.pace import summarize
from gpt2_jax.training.results import Results
from gpt2_jax.weights.trained import MODEL_FILE, TrainedModel, save_model
from gpt2_jax.workdir.claim import stored_start
from gpt2_jax.workdir.metrics_log import MetricsLog
from gpt2_jax.workdir.predictions import PREDICTIONS, write_predictions
from gpt2_jax.workdir.run import Run

log = logging.getLogger(__name__)

_PACKAGES = ("gpt2-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def collect(
    task: Task,
    engine: Engine,
    state: TrainState,
    beside: Beside,
    before: float,
    steps: int,
    run: Run,
) -> tuple[TrainedModel, Results]:
    """Return the trained model, calibrated on validation, and what it is worth.

    Args:
        state: the last state, or the best one.
        beside: with the logits of each part under `state`.
        before: accuracy on test before training.
        steps: how many were taken.
    """
    logits = beside.logits
    labels = {part: task.labels(part) for part in logits}
    temperature = fit_temperature(logits["validation"], labels["validation"])
    train, dataset = task.config.train, task.dataset
    probabilities = softmax(logits["test"] / temperature)
    accuracies = {part: accuracy(logits[part], labels[part]) for part in logits}
    test = evaluate_probabilities(
        probabilities, labels["test"], dataset.classes, positive=task.positive
    )
    results = Results(
        accuracy=accuracies,
        accuracy_before=before,
        test={
            **test,
            "errors": list_errors(probabilities, labels["test"], dataset.classes),
        },
        calibration=describe_calibration(logits, labels, temperature),
        baselines=_baselines(task, beside, accuracies["test"], test["macro_f1"]),
        seconds=run.clock.seconds,
        steps=steps,
        examples_seen=steps * train.batch_size,
        params={
            "total": count_params(task.params),
            "trainable": count_params(trained_leaves(task.params, task.param_labels)),
        },
        weights=str(task.config.weights),
        data=describe_data(task),
        seed=train.seed,
        device=f"{engine.steps.num_devices} x {jax.devices()[0].device_kind}",
        versions=versions(),
        dtype=task.config.dtype,
        precision=task.config.precision,
        compilation_cache=run.clock.cache,
        date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        run=run.name,
        lexical=beside.told,
    )
    trained = dataclasses.replace(
        task.trained_model(state.params, temperature),
        lexical=beside.lexical,
        temperature_alone=beside.temperature_alone,
    )
    return trained, results


def _baselines(
    task: Task, beside: Beside, accuracy: float, macro_f1: float
) -> dict[str, Any]:
    measured = baselines.measure_baselines(
        task.labels("train"),
        task.labels("test"),
        beside.answers,
        num_classes=len(task.dataset.classes),
        linear=task.config.baselines == "linear",
    )
    tries = baselines.untried(task.config)
    verdict = baselines.compare_with_linear(measured, accuracy, macro_f1, tries)
    return {**measured, "verdict": verdict}


def learning_rates(task: Task, steps: int) -> dict[str, list[float]]:
    """Return the learning rate of some of the steps, by epoch."""
    train = task.config.train
    chosen = np.unique(np.linspace(0, steps, 100).astype(int))
    # As in training: of a rate of 1, so that runs of any rate and seed compile it once.
    alike = dataclasses.replace(train, seed=0, learning_rate=1.0)
    values = train.learning_rate * np.asarray(_rates(alike, task.num_steps, chosen))
    return {
        "epoch": (chosen / task.steps_per_epoch).round(4).tolist(),
        "value": np.broadcast_to(values, chosen.shape).tolist(),
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _rates(train: configs.TrainConfig, total_steps: int, steps: jax.Array) -> jax.Array:
    return jnp.asarray(create_schedule(train, total_steps)(steps))


def versions() -> dict[str, str]:
    """Return the version of Python and of each package that decides the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "not installed"
    return found


def _say_lost_threshold(folder: Path) -> None:
    """Warn where a run that is evaluated again has a threshold of its old answers."""
    path = folder / "model" / MODEL_FILE
    if path.is_file() and read_sealed(path).get("threshold"):
        log.warning(
            "the stored threshold was of other probabilities, and is removed; choose "
            "one again: gpt2-jax threshold %s",
            folder,
        )


def _draw(
    run: Run, history: History, results: dict[str, Any], curves: dict[str, Any]
) -> dict[str, str] | None:
    """Write the pictures, and return those of the report; None: they are not wanted."""
    if not run.options.figures:
        return None
    write_pictures(run.folder, history, results)
    return draw_figures(history, results, curves)


def write_files(
    task: Task,
    trained: TrainedModel,
    logits: dict[str, np.ndarray],
    results: Results,
    run: Run,
    *,
    schedule: bool = True,
) -> Results:
    """Write the model, the predictions, the report, and results.json last.

    Only the first process of a run does. Returns the results with the final seconds,
    and the words that errors rest on. `schedule`: the learning rate is the config's.
    """
    if not distributed.is_first():
        return results
    classes, workdir = task.dataset.classes, run.folder
    probabilities = {
        part: softmax(rows / trained.temperature) for part, rows in logits.items()
    }
    curves = collect_curves(
        probabilities["test"], task.labels("test"), classes, ECE_BINS, task.positive
    )
    curves["lengths"] = length_counts(task)
    if schedule:
        curves["learning_rate"] = learning_rates(task, results.steps)
    history = MetricsLog(workdir / "metrics.jsonl").read()
    with ThreadPoolExecutor(1) as beside:  # matplotlib takes as long as all else here
        drawing = beside.submit(_draw, run, history, results.to_json(), curves)
        with run.phase("evaluate"):
            _say_lost_threshold(workdir)
            save_model(workdir / "model", trained)
            # Alone: a classifier of several processes waits for all of them.
            if run.options.figures and jax.process_count() == 1:
                wrong, texts = results.test["errors"], task.texts_of("test")
                test = {**results.test, "errors": explain_errors(wrong, texts, trained)}
                results = dataclasses.replace(results, test=test)
        for part, name in PREDICTIONS.items():
            write_predictions(
                workdir / name,
                task.texts_of(part),
                [classes[label] for label in task.labels(part)],
                probabilities[part],
                classes,
            )
        write_json(workdir / "curves.json", curves)
        if repeated := task.repeated_texts():
            checks.write_repeated_texts(workdir / checks.REPEATED, repeated)
        figures = drawing.result()
    results = dataclasses.replace(
        results,
        seconds=run.clock.seconds,
        compilation_cache=run.clock.cache,
        pace=summarize(history, stored_start(workdir)),
    )
    config = configs.to_dict(task.config)
    texts = task.texts_of("test")
    report = Report(results.to_json(), config, texts, figures, workdir, history, curves)
    write_report_html(report)
    write_model_card(report)
    write_json(workdir / "results.json", results.to_json())
    return results
