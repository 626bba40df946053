"""The results of a run or of an evaluation as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def format_results(results: Mapping[str, Any]) -> list[str]:
    """Return the result of a run, line by line."""
    parts, test, seconds = results["accuracy"], results["test"], results["seconds"]
    low, high = (100 * bound for bound in test["ci95"])
    baseline = results["baselines"]["tfidf_logreg"]
    shown = "not measured" if baseline is None else f"{100 * baseline:.2f}%"
    return [
        f"accuracy: train {100 * parts['train']:.2f}%, validation "
        f"{100 * parts['validation']:.2f}%, test {100 * parts['test']:.2f}% "
        f"(95% interval {low:.1f} to {high:.1f}, n={test['n']})",
        f"before training: test {100 * results['accuracy_before']:.2f}%",
        f"baselines: majority {100 * results['baselines']['majority']:.2f}%, "
        f"TF-IDF + logistic regression {shown}",
        *format_test(test, results["data"]["classes"]),
        format_calibration(results["calibration"]),
        f"seconds: {seconds['total']:.1f} in all (compiling {seconds['compile']:.1f}, "
        f"frozen trunk {seconds['trunk']:.1f}, training {seconds['train']:.1f}) on "
        f"{results['device']}",
    ]


def format_test(test: dict[str, Any], classes: Sequence[str]) -> list[str]:
    """Return precision, recall, F1 and the confusion matrix, line by line."""
    title = "confusion, true in rows:"
    width = max(8, *(len(name) for name in classes))
    first = max(len(title), *(len(name) for name in classes))
    roc, pr = (
        "n/a" if test[area] is None else f"{test[area]:.4f}"
        for area in ("roc_auc", "pr_auc")
    )
    return [
        f"precision {test['precision']:.4f}, recall {test['recall']:.4f}, "
        f"F1 {test['f1']:.4f}, ROC AUC {roc}, PR AUC {pr}",
        *(
            " ".join([name.rjust(first), *(str(cell).rjust(width) for cell in row)])
            for name, row in zip(
                (title, *classes), (classes, *test["confusion"]), strict=True
            )
        ),
    ]


def format_calibration(calibration: dict[str, Any]) -> str:
    """Return what the temperature did to the test part, better or worse."""
    test = calibration["test"]
    return (
        f"calibration: temperature {calibration['temperature']:.3f} from "
        f"{calibration['fitted_on']} validation texts; test ECE "
        f"{test['ece_before']:.4f} before, {test['ece_after']:.4f} after"
    )
