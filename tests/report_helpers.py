"""Results, curves and a history as a run keeps them, for tests of its report."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from gpt2_jax.evaluation.report import Report

SCRIPT = "<script>alert('x')</script>"
HISTORY = [
    {"step": 1, "loss": 0.7},
    {"step": 1, "train_loss": 0.69, "validation_loss": 0.7, "seconds": 0.1},
    {"step": 4, "train_loss": 0.5, "validation_loss": 0.6, "seconds": 0.3},
    {"step": 5, "epoch": 1, "train_accuracy": 0.9, "validation_accuracy": 0.8},
]
CONFIG = {"train": {"trainable": ["last_block"], "batch_size": 8}, "pool": "last_real"}
BEFORE_AFTER = {
    f"{key}_{when}": value
    for key, when, value in (
        ("ece", "before", 0.1234),
        ("ece", "after", 0.0567),
        ("loss", "before", 0.4),
        ("loss", "after", 0.3),
    )
}


def report_results(classes: tuple[str, ...] = ("ham", "spam")) -> dict:
    size = len(classes)
    return {
        "accuracy": {"train": 0.9, "validation": 0.8, "test": 0.75},
        "accuracy_before": 0.5,
        "test": {
            "precision": 0.7,
            "recall": 0.6,
            "f1": 0.65,
            "positive": classes[1] if size == 2 else None,
            "macro_f1": 0.61,
            "weighted_f1": 0.62,
            "balanced_accuracy": 0.63,
            "confusion": [[10 * i + j for j in range(size)] for i in range(size)],
            "roc_auc": 0.8,
            "pr_auc": 0.85,
            "brier": 0.11,
            "ece": 0.0567,
            "ci95": [0.6, 0.85],
            "n": 40,
            "per_class": {
                name: {"precision": 0.7, "recall": 0.6, "f1": 0.65, "n": 20}
                for name in classes
            },
            "errors": [
                {"row": 1, "label": classes[0], "predicted": classes[1], "prob": 0.987}
            ],
        },
        "calibration": {
            "temperature": 1.5,
            "fitted_on": 30,
            "validation": BEFORE_AFTER,
            "test": BEFORE_AFTER,
        },
        "baselines": {
            "majority": 0.5,
            "tfidf_logreg": 0.7,
            "tfidf_words_logreg": 0.68,
            "macro_f1": {
                "majority": 0.3333,
                "tfidf_logreg": 0.6666,
                "tfidf_words_logreg": 0.6555,
            },
            "verdict": None,
        },
        "seconds": {"total": 9.0, "compile": 3.0, "trunk": 1.0, "train": 2.0},
        "steps": 10,
        "examples_seen": 80,
        "params": {"total": 1000, "trainable": 100},
        "weights": "mini",
        "data": {
            "name": "texts.csv",
            "sha256": "ab12",
            "rows": 110,
            "classes": list(classes),
            "used": {"train": 40, "validation": 30, "test": 40},
            "class_counts": {
                part: dict.fromkeys(classes, 15)
                for part in ("train", "validation", "test")
            },
            "split": "at random",
            "notes": ["3 of 40 test texts stand in the train part too"],
            "dropped": 2,
            "cut": 1,
        },
        "seed": 123,
        "device": "1 x cpu",
        "versions": {"gpt2-jax": "0.1.0"},
    }


def report_curves(classes: tuple[str, ...] = ("spam",)) -> dict:
    line = [0.0, 0.5, 1.0]
    return {
        "roc": {name: {"fpr": line, "tpr": line} for name in classes},
        "precision_recall": {
            name: {"recall": line, "precision": line} for name in classes
        },
        "reliability": {"confidence": [0.6, 0.9], "accuracy": [0.5, 0.95], "n": [3, 9]},
        "lengths": {"edges": [0, 5, 10], "n": [4, 6]},
        "learning_rate": {"epoch": [0, 1, 2], "value": [0.0, 1e-3, 0.0]},
        "scores": {"edges": [0, 0.5, 1], "n": {"spam": [1, 2], "ham": [2, 1]}},
        "thresholds": {
            "kind": "alarm",
            "of": classes[0],
            "rows": [
                {"threshold": 0.5, "precision": 0.75, "recall": 0.5, "per_1000": 123.4},
                {
                    "threshold": 0.99,
                    "precision": None,
                    "recall": 0.0,
                    "per_1000": 0.0,
                },
            ],
        },
    }


def make_report(folder: Path, results: dict | None = None, figures=None) -> Report:
    texts = ["right", "the error: " + SCRIPT]
    return Report(
        results or report_results(),
        CONFIG,
        texts,
        figures or {},
        folder,
        HISTORY,
        report_curves(),
    )


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data
