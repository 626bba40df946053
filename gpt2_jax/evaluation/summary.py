"""The results of a run or of an evaluation as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt2_jax.data.balance import BALANCED
from gpt2_jax.evaluation.baselines import NAMES
from gpt2_jax.evaluation.confusions import (
    MAX_MATRIX,
    confused_pairs,
    worst_and_best,
)

_SHOWN = 5  # of many classes: the worst, the best, and the most confused pairs


def format_results(results: Mapping[str, Any], *, verbose: bool = False) -> list[str]:
    """Return the result of a run, line by line; `verbose`: of every class."""
    parts, test, seconds = results["accuracy"], results["test"], results["seconds"]
    data = results["data"]
    low, high = (100 * bound for bound in test["ci95"])
    lines = [
        f"accuracy: train {100 * parts['train']:.2f}%, validation "
        f"{100 * parts['validation']:.2f}%, test {100 * parts['test']:.2f}% "
        f"(95% interval {low:.1f} to {high:.1f}, n={test['n']})",
        f"before training: test {100 * results['accuracy_before']:.2f}%",
        *format_test(test, data["classes"], verbose=verbose),
        *format_baselines(results["baselines"]),
        *format_lexical(results.get("lexical")),
        format_calibration(results["calibration"]),
    ]
    lines += never_named(test, data["classes"])
    if data.get("balanced"):
        lines.append(f"note: {BALANCED}")
    if number := data.get("repeated_texts"):
        lines.append(
            f"note: {number} texts with several labels or in several parts are listed "
            "in repeated_texts.csv"
        )
    return [
        *lines,
        f"seconds: {seconds['total']:.1f} in all (compiling {seconds['compile']:.1f}, "
        f"frozen trunk {seconds['trunk']:.1f}, training {seconds['train']:.1f}) on "
        f"{results['device']}",
        *format_pace(results.get("pace")),
    ]


def never_named(test: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Return what to do where one of two classes is the likeliest label of no text."""
    confusion = np.asarray(test["confusion"])
    rare = np.flatnonzero((confusion.sum(axis=0) == 0) & (confusion.sum(axis=1) > 0))
    if len(classes) != 2 or not len(rare):
        return []
    name, share = classes[rare[0]], confusion[rare[0]].sum() / confusion.sum()
    return [
        f"note: {name!r}, {100 * share:.1f}% of the test texts, is the likeliest label "
        "of none: gpt2-jax threshold RUN --best-f1 chooses, on validation, from which "
        "probability on it is the answer"
    ]


def format_pace(pace: Mapping[str, float] | None) -> list[str]:
    """Return in a line how fast the steps were, as far as it was measured."""
    wording = {
        "step_seconds": lambda value: f"{1e3 * value:.1f} ms a step",
        "tokens_per_second": lambda value: f"{value:,.0f} tokens/s",
        "peak_fraction": lambda value: f"{value:.1%} of the device's peak",
        "goodput": lambda value: f"{value:.1%} of the time since the first start",
    }
    found = pace or {}
    told = [say(found[name]) for name, say in wording.items() if name in found]
    return [f"training steps: {', '.join(told)}"] if told else []


def format_baselines(baselines: Mapping[str, Any]) -> list[str]:
    """Return what the linear models and the majority class reach, line by line."""
    macro_f1 = baselines.get("macro_f1", {})
    told = []
    for name, words in NAMES.items():
        if baselines.get(name) is not None:
            shown = f"{words} {100 * baselines[name]:.2f}%"
            if macro_f1.get(name) is not None:
                shown += f" (macro-F1 {macro_f1[name]:.4f})"
            told.append(shown)
    lines = [f"baselines: {', '.join(told)}"]
    if baselines.get("verdict"):
        lines.append(f"note: {baselines['verdict']}")
    return lines


def format_lexical(lexical: Mapping[str, Any] | None) -> list[str]:
    """Return what the n-grams of the linear models add on validation, if measured."""
    if lexical is None:
        return []
    alone, together = (
        f"accuracy {100 * scores['accuracy']:.2f}%, macro-F1 {scores['macro_f1']:.4f}"
        for scores in (lexical["alone"], lexical["together"])
    )
    if lexical["on"]:
        return [f"lexical part: validation {together}; without it, {alone}"]
    return [f"with --lexical: validation {together}; now {alone}"]


def format_test(
    test: Mapping[str, Any], classes: Sequence[str], *, verbose: bool = False
) -> list[str]:
    """Return the metrics of a part, line by line, of many classes the telling ones."""
    lines = [
        *_means(test),
        f"{subject(test, classes)}: {format_scores(test)}",
    ]
    if len(classes) <= MAX_MATRIX:
        lines += _matrix(test["confusion"], classes)
    if len(classes) > MAX_MATRIX or verbose:
        lines += _by_class(test, classes, verbose)
    return lines


def _means(test: Mapping[str, Any]) -> list[str]:
    if "macro_f1" not in test:  # of an older version
        return []
    return [
        f"macro-F1 {test['macro_f1']:.4f}, weighted F1 {test['weighted_f1']:.4f}, "
        f"balanced accuracy {test['balanced_accuracy']:.4f}"
    ]


def subject(test: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return whose precision, recall, F1 and AUC `test` holds."""
    if len(classes) == 2:
        return f"class {test.get('positive') or classes[1]}"
    return "mean over the classes"


def format_scores(test: Mapping[str, Any]) -> str:
    """Return precision, recall, F1 and the areas, of the class or mean `subject`."""
    roc, pr = (
        "n/a" if test[key] is None else f"{test[key]:.4f}"
        for key in ("roc_auc", "pr_auc")
    )
    return (
        f"precision {test['precision']:.4f}, recall {test['recall']:.4f}, F1 "
        f"{test['f1']:.4f}, ROC AUC {roc}, PR AUC {pr}"
    )


def _matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[str]:
    title = "confusion, true in rows:"
    width = max(8, *(len(name) for name in classes))
    first = max(len(title), *(len(name) for name in classes))
    rows = zip((title, *classes), (classes, *confusion), strict=True)
    return [
        " ".join([name.rjust(first), *(str(cell).rjust(width) for cell in row)])
        for name, row in rows
    ]


def _by_class(
    test: Mapping[str, Any], classes: Sequence[str], verbose: bool
) -> list[str]:
    each = [test["per_class"][name] for name in classes]
    f1, support = ([row[key] for row in each] for key in ("f1", "n"))
    width = max(len(name) for name in classes)

    def row(c: int) -> str:
        v = each[c]
        return (
            f"  {classes[c].ljust(width)} precision {v['precision']:.4f}, recall "
            f"{v['recall']:.4f}, F1 {v['f1']:.4f}, n={v['n']}"
        )

    pairs = confused_pairs(np.asarray(test["confusion"]), None if verbose else _SHOWN)
    told = [
        f"  {classes[true]} taken for {classes[answer]}: {count} of {support[true]}"
        for true, answer, count in pairs
    ]
    confused = ["most confused:" if not verbose else "confused:", *told] if told else []
    if verbose:
        worst, _ = worst_and_best(f1, support, len(classes))
        absent = [c for c, texts in enumerate(support) if not texts]
        return ["by class, the worst first:", *map(row, worst + absent), *confused]
    worst, best = worst_and_best(f1, support, _SHOWN)
    return [
        f"worst {len(worst)} of {len(classes)} classes:",
        *map(row, worst),
        f"best {len(best)}:",
        *map(row, best),
        *confused,
        "every class: --verbose, report.html",
    ]


def format_calibration(calibration: Mapping[str, Any]) -> str:
    """Return what the temperature did to the test part, better or worse."""
    test = calibration["test"]
    return (
        f"calibration: temperature {calibration['temperature']:.3f} from "
        f"{calibration['fitted_on']} validation texts; test ECE "
        f"{test['ece_before']:.4f} before, {test['ece_after']:.4f} after"
    )
