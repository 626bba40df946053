"""What was understood of the data, and what will train, for the user to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data.checks import counted
from gpt2_jax.engine.param_labels import trained_leaves
from gpt2_jax.engine.widths import BUCKETS
from gpt2_jax.model.gpt2 import count_params
from gpt2_jax.plan.task import Task, ids_sha256

LENGTH_BINS = 40


def describe(task: Task) -> list[str]:
    """Return, line by line, what was read, dropped and cut, and what will train."""
    dataset = task.dataset
    lines = [
        f"data: {dataset.name}: {len(dataset.texts)} texts read, "
        f"{task.split.dropped} left out{_left_out_by(task.config.data)}"
    ]
    if dataset.understood is not None:
        lines += [f"data: {line}" for line in dataset.understood.lines()]
    lines.append(f"data: split: {split_kind(task)}")
    lines += [f"data: {note}" for note in (*dataset.notes, *task.split.notes)]
    for part, counts in class_counts(task).items():
        number = sum(counts.values())
        lines.append(f"data: {part}: {number} texts ({counted(counts)})")
    lines.append(
        f"data: up to {task.num_tokens.max()} tokens; {_read_of_long(task)}, "
        f"{task.empty} empty; {task.tokens_per_character:.2f} tokens a character"
    )
    if task.tokens_per_character > 1:  # so characters are cut
        lines.append(
            f"data: the vocabulary of {task.config.weights} cuts this script to bytes: "
            "texts take many tokens, and the model knows few words of it; compare with "
            "the linear baselines"
        )
    total = count_params(task.params)
    trained = count_params(trained_leaves(task.params, task.param_labels))
    lines.append(
        f"model: {task.config.weights}: {total:,} parameters, {trained:,} trained "
        f"({', '.join(task.config.train.trainable)}), pool "
        f"{task.config.pool}"
    )
    if task.head is not None:
        lines.append(f"model: {task.config.weights}: {task.head}")
    return lines


def _read_of_long(task: Task) -> str:
    """Return in words what becomes of texts that are longer than the model reads."""
    if task.config.long == "windows":
        count = int((task.num_tokens > task.max_length).sum())
        return (
            f"{count} texts read in windows of {task.max_length}, "
            f"{len(task.texts) - len(task.num_tokens) + count} of them"
        )
    how = " (beginning and end)" * (task.config.long == "head_tail")
    return f"{task.cut} texts cut to {task.max_length}{how}"


def _left_out_by(config: DataConfig) -> str:
    """Return the flags that may have left texts out."""
    flags = {
        "--preset book": config.book,
        "--balance undersample": config.balance == "undersample" and not config.book,
        "--drop-duplicates": config.drop_duplicates,
        "--limit": config.limit is not None,
        "--shots": config.shots is not None,
        "--unseen": config.unseen,
    }
    named = ", ".join(flag for flag, given in flags.items() if given)
    return f" ({named})" if named else ""


def class_counts(task: Task) -> dict[str, dict[str, int]]:
    """Return the number of texts of each class, for each part."""
    classes = task.dataset.classes
    return {
        part: dict(
            zip(
                classes,
                np.bincount(task.labels(part), minlength=len(classes)).tolist(),
                strict=True,
            )
        )
        for part in task.split.parts()
    }


def split_kind(task: Task) -> str:
    """Return how the parts came about."""
    config, dataset = task.config.data, task.dataset
    if config.book:
        which = {"chapter": "", "additional": "'s additional experiments"}
        return f"as in the book{which[config.book_split]}, drawn at random"
    if dataset.parts is not None:
        return "as given" + (f" in {config.split_column!r}" * bool(config.split_column))
    shares = "/".join(f"{100 * share:g}" for share in config.split)
    by = "families" if dataset.groups is not None else "identical texts"
    by = f"the values of {config.group_column!r}" if config.group_column else by
    kept = f"; {by} stay on one side" if config.group else ""
    drawn = f"at random, every class alike (seed {config.split_seed}){kept}"
    if config.folds is not None:
        fold = f"fold {config.fold} of {config.folds} is the test part"
        return f"{fold}, the others training and validation; {drawn}"
    return f"{shares} {drawn}"


def length_counts(task: Task) -> dict[str, list[int]]:
    """Return the token lengths of all parts by equal bins, as curves.json holds them.

    A bin takes in its left edge, and the last one its right edge too.
    """
    lengths = task.num_tokens
    step = max(1, -(-int(lengths.max()) // LENGTH_BINS))
    edges = np.arange(0, lengths.max() + step + 1, step)
    counts, _ = np.histogram(lengths, bins=edges)
    return {"edges": edges.tolist(), "n": counts.tolist()}


def length_histogram(task: Task) -> list[str]:
    """Return the token lengths of all parts as lines of text."""
    lengths = task.num_tokens
    edges = [0, *(width for width in BUCKETS if width < lengths.max()), lengths.max()]
    counts, _ = np.histogram(lengths, bins=np.asarray(edges) + 0.5)
    widest = max(counts.max(), 1)
    bars = ["#" * round(40 * count / widest) for count in counts]
    return [
        f"{low + 1:5d} to {high:4d} tokens {count:6d} {bar}"
        for low, high, count, bar in zip(edges, edges[1:], counts, bars, strict=False)
    ]


def describe_data(task: Task) -> dict[str, Any]:
    """Return the `data` entry of results.json."""
    dataset, split = task.dataset, task.split
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "rows": len(dataset.texts),
        "classes": list(dataset.classes),
        "used": {part: len(rows) for part, rows in task.split.parts().items()},
        "class_counts": class_counts(task),
        "split": split_kind(task),
        "notes": [*dataset.notes, *split.notes],
        "balance": task.config.data.balance,
        "balanced": split.balanced,
        "repeated_texts": len(task.repeated_texts()),
        "dropped": split.dropped,
        "cut": task.cut,
        "test_ids_sha256": ids_sha256(split.test),
    }
