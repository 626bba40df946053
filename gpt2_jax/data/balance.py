"""What was done about uneven classes, and what that means for what is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpt2_jax.data import checks

# Said wherever a precision is told that was measured on balanced texts.
BALANCED = (
    "validation and test are balanced too: precision holds for that prevalence only, "
    "not for texts where one class is commoner"
)

_UNEVEN = 1.5  # times as many texts of the commonest class as of the rarest


def describe_balance(
    labels: np.ndarray, classes: Sequence[str], balance: str, *, given: bool
) -> list[str]:
    """Return what was done about uneven classes, and what the other ways would do.

    Args:
        labels: class indices of the texts that are balanced, before that: those of
            all parts, or where these are given, of the training part.
        balance: of `config.BALANCES`.
        given: the parts are.
    """
    counts = np.bincount(labels, minlength=len(classes))
    counts = {name: int(n) for name, n in zip(classes, counts, strict=True) if n}
    least, total = min(counts.values(), default=0), len(labels)
    if max(counts.values(), default=0) <= _UNEVEN * least:
        return []
    used = least * len(counts)
    training = " training" if given else ""
    kept = f"{used} of {total}{training} texts, {least} of each class"
    ways = {
        "none": f"all {total}{training} texts are used as they are",
        "weights": f"all {total}{training} texts are used, and each class weighs the "
        "same in the loss",
        "undersample": f"{kept}, are used",
    }
    others = {
        "none": f"--balance none would use all {total}",
        "weights": f"--balance weights would use all {total} and let each class weigh "
        "the same in the loss",
        "undersample": f"--balance undersample would use {kept}"
        + ("" if given else ", and balance validation and test too"),
    }
    told = "; ".join(others[name] for name in others if name != balance)
    notes = [f"uneven classes ({checks.counted(counts)}): {ways[balance]}; {told}"]
    if balance == "undersample" and not given:
        notes.append(BALANCED)
    return notes
