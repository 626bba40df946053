"""results.json, predictions.csv and the pictures of a finished run."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt2_jax import config as configs
from gpt2_jax.data import checks
from gpt2_jax.engine.param_labels import trained_leaves
from gpt2_jax.evaluation import baselines
from gpt2_jax.evaluation.calibration import describe_calibration
from gpt2_jax.evaluation.curves import collect_curves
from gpt2_jax.evaluation.figures import draw_figures, write_pictures
from gpt2_jax.evaluation.metrics import (
    ECE_BINS,
    accuracy,
    confident_errors,
    evaluate_probabilities,
    softmax,
)
from gpt2_jax.evaluation.model_card import write_model_card
from gpt2_jax.evaluation.report import Report, write_report_html
from gpt2_jax.model.gpt2 import count_params
from gpt2_jax.plan.describe import class_counts, length_counts, split_kind
from gpt2_jax.plan.prepare import Prepared, ids_sha256
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.workdir import metrics_log
from gpt2_jax.workdir.clock import Clock
from gpt2_jax.workdir.predictions import PREDICTIONS, write_predictions

MAX_ERRORS = 20


REPEATED = "repeated_texts.csv"


_PACKAGES = ("gpt2-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def collect_results(
    prepared: Prepared,
    logits: dict[str, np.ndarray],
    *,
    temperature: float,
    before: float,
    steps: int,
    seconds: dict[str, float],
    devices: int,
) -> dict[str, Any]:
    """Return every key of results.json from the final logits of each part."""
    labels = {part: e.labels for part, e in prepared.examples.items()}
    train, dataset = prepared.config.train, prepared.dataset
    probabilities = softmax(logits["test"] / temperature)
    wrong = confident_errors(probabilities, labels["test"], MAX_ERRORS)
    test = evaluate_probabilities(
        probabilities, labels["test"], dataset.classes, positive=prepared.positive
    )
    measured = baselines.measure_baselines(
        prepared.texts("train"),
        labels["train"],
        prepared.texts("test"),
        labels["test"],
        num_classes=len(dataset.classes),
        linear=prepared.config.baselines == "linear",
    )
    measured["verdict"] = baselines.compare_with_linear(
        measured,
        accuracy(logits["test"], labels["test"]),
        test["macro_f1"],
        baselines.untried(prepared.config),
    )
    return {
        "accuracy": {part: accuracy(logits[part], labels[part]) for part in logits},
        "accuracy_before": before,
        "test": {
            **test,
            "errors": [
                {
                    "row": int(row),  # of predictions.csv, from 0
                    "label": dataset.classes[labels["test"][row]],
                    "predicted": dataset.classes[probabilities[row].argmax()],
                    "prob": float(probabilities[row].max()),
                }
                for row in wrong
            ],
        },
        "calibration": describe_calibration(logits, labels, temperature),
        "baselines": measured,
        "seconds": seconds,
        "steps": steps,
        "examples_seen": steps * train.batch_size,
        "params": {
            "total": count_params(prepared.params),
            "trainable": count_params(trained_leaves(prepared.params, prepared.labels)),
        },
        "weights": prepared.config.weights,
        "data": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "rows": len(dataset.texts),
            "classes": list(dataset.classes),
            "used": {part: len(e) for part, e in prepared.examples.items()},
            "class_counts": class_counts(prepared),
            "split": split_kind(prepared),
            "notes": [*dataset.notes, *prepared.split.notes],
            "balance": prepared.config.data.balance,
            "balanced": prepared.split.balanced,
            "repeated_texts": len(_repeated(prepared)),
            "dropped": prepared.split.dropped,
            "cut": sum(e.cut for e in prepared.examples.values()),
            "test_ids_sha256": ids_sha256(prepared.split.test),
        },
        "seed": train.seed,
        "device": f"{devices} x {jax.devices()[0].device_kind}",
        "versions": versions(),
    }


def _repeated(prepared: Prepared) -> list[checks.Repeated]:
    dataset = prepared.dataset
    labels = [dataset.classes[label] for label in dataset.labels]
    return checks.repeated_texts(dataset.texts, labels, prepared.split.parts())


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            found[package] = "not installed"
    return found


def write_report(
    prepared: Prepared,
    logits: dict[str, np.ndarray],
    results: dict[str, Any],
    workdir: Path,
    clock: Clock,
) -> None:
    """Write the predictions, curves.json, the report, and results.json last."""
    classes = prepared.dataset.classes
    temperature = results["calibration"]["temperature"]
    probabilities = {part: softmax(rows / temperature) for part, rows in logits.items()}
    for part, name in PREDICTIONS.items():
        write_predictions(
            workdir / name,
            prepared.texts(part),
            [classes[label] for label in prepared.examples[part].labels],
            probabilities[part],
            classes,
        )
    test = prepared.examples["test"].labels
    curves = collect_curves(
        probabilities["test"], test, classes, ECE_BINS, prepared.positive
    )
    curves["lengths"] = length_counts(prepared)
    write_json(workdir / "curves.json", curves)
    repeated = _repeated(prepared)
    if repeated:
        checks.write_repeated_texts(workdir / REPEATED, repeated)
    history = metrics_log.MetricsLog(workdir / "metrics.jsonl").read()
    write_pictures(workdir, history, results)
    figures = draw_figures(history, results, curves)
    results["seconds"] = clock.seconds
    results["compilation_cache"] = clock.cache
    config = configs.to_dict(prepared.config)
    report = Report(results, config, prepared.texts("test"), figures, workdir)
    write_report_html(report)
    write_model_card(report)
    write_json(workdir / "results.json", results)
