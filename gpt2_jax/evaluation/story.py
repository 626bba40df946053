"""What the numbers of a run say, in sentences, each with what to try."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt2_jax.data.balance import BALANCED
from gpt2_jax.evaluation.baselines import LINEAR, NAMES
from gpt2_jax.evaluation.summary import format_lexical

_RISE = 1.1  # times the lowest validation loss, from which on it has risen
_GAP = 0.05  # of accuracy between training and validation
_WIDE = 0.1  # an interval of accuracy in which two models cannot be told apart
_RECALL, _TEXTS = 0.7, 5  # a class of so many texts is missed too often below this
_ECE = 0.05


def story(
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return the sentences, the most important ones first.

    Args:
        results: of results.json.
        config: of config.json.
        history: the lines of metrics.jsonl.
    """
    baselines = results["baselines"]
    notes = [*_baseline(results), *_epochs(config["train"], history), *_gap(results)]
    notes += [*_weak_class(results["test"]), *_interval(results["test"])]
    notes += [*format_lexical(results.get("lexical")), *_calibration(results)]
    if results["data"].get("balanced"):
        notes.append(BALANCED)
    if baselines.get("verdict"):
        notes.insert(0, baselines["verdict"])
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _baseline(results: Mapping[str, Any]) -> Iterator[str]:
    """Compare the errors with those of the best linear model, where that is worse."""
    baselines, n = results["baselines"], results["test"]["n"]
    measured = [name for name in LINEAR if baselines.get(name) is not None]
    if not measured or baselines.get("verdict"):
        return
    best = max(measured, key=lambda name: baselines[name])
    theirs = round(n * (1 - baselines[best]))
    ours = round(n * (1 - results["accuracy"]["test"]))
    if ours < theirs:
        yield (
            f"of {n} test texts it gets {ours} wrong; the best linear model "
            f"({NAMES[best]}) gets {theirs} wrong"
        )


def _epochs(
    train: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    losses = {
        line["epoch"]: line["validation_loss"]
        for line in history
        if "epoch" in line and line.get("validation_loss") is not None
    }
    if len(losses) < 2:
        return
    (*_, before, last) = losses.values()
    best = min(losses, key=lambda epoch: losses[epoch])
    low = losses[best]
    if last > _RISE * low:
        ratio = last / max(low, 1e-9)
        rise = f"rises by {100 * (ratio - 1):.0f}%"
        after = "more than doubles" if ratio > 2 else rise
        said = (
            f"validation loss is lowest at epoch {best} ({low:.3f}) and {after} after"
        )
        if train.get("keep") == "best":
            yield f"{said}; --keep best has kept the epoch with the best score"
        else:
            yield f"{said}: try --keep best --metric loss, or --epochs {best}"
    elif last < 0.95 * before:
        yield "validation loss was still falling in the last epoch: try more --epochs"


def _gap(results: Mapping[str, Any]) -> Iterator[str]:
    train, validation = (results["accuracy"][part] for part in ("train", "validation"))
    if train - validation > _GAP:
        yield (
            f"it is right on {100 * train:.1f}% of its training texts, but on "
            f"{100 * validation:.1f}% of the validation part: more labelled texts "
            "would help most"
        )


def _weak_class(test: Mapping[str, Any]) -> Iterator[str]:
    each = {k: v for k, v in test["per_class"].items() if v["n"] >= _TEXTS}
    if not each:
        return
    name = min(each, key=lambda k: each[k]["recall"])
    recall, n = each[name]["recall"], each[name]["n"]
    if recall < _RECALL:
        yield (
            f"it finds {round(recall * n)} of the {n} test texts of {name}, the label "
            "that it misses most"
        )


def _interval(test: Mapping[str, Any]) -> Iterator[str]:
    low, high = test["ci95"]
    if high - low > _WIDE:
        yield (
            f"the test part is small: with {test['n']} texts the accuracy may lie "
            f"anywhere from {100 * low:.0f} to {100 * high:.0f}%"
        )


def _calibration(results: Mapping[str, Any]) -> Iterator[str]:
    ece = results["calibration"]["test"]["ece_after"]
    if ece > _ECE:
        yield (
            f"its probabilities are off by {100 * ece:.0f} points on average (ECE "
            f"{ece:.3f}): compare them, but do not read them as frequencies"
        )
    else:
        yield (
            "its probabilities mean what they say on texts like these (ECE "
            f"{ece:.3f} after calibration)"
        )
