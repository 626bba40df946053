"""What was understood of the data, and what will train, for the user to read."""

from __future__ import annotations

import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data.checks import counted
from gpt2_jax.engine.param_labels import trained_leaves
from gpt2_jax.engine.widths import BUCKETS
from gpt2_jax.model.gpt2 import count_params
from gpt2_jax.plan.prepare import Prepared

LENGTH_BINS = 40


def describe(prepared: Prepared) -> list[str]:
    """Return, line by line, what was read, dropped and cut, and what will train."""
    dataset, examples = prepared.dataset, prepared.examples
    lines = [
        f"data: {dataset.name}: {len(dataset.texts)} texts read, "
        f"{prepared.split.dropped} left out{_left_out_by(prepared.config.data)}"
    ]
    if dataset.understood:
        lines.append(f"data: {dataset.understood}")
    lines.append(f"data: split: {split_kind(prepared)}")
    lines += [f"data: {note}" for note in (*dataset.notes, *prepared.split.notes)]
    for part, counts in class_counts(prepared).items():
        lines.append(f"data: {part}: {len(examples[part])} texts ({counted(counts)})")
    cut = sum(encoded.cut for encoded in examples.values())
    empty = sum(encoded.empty for encoded in examples.values())
    lines.append(
        f"data: padded to {prepared.width} tokens; {cut} texts cut to "
        f"{prepared.max_length}, {empty} empty"
    )
    total = count_params(prepared.params)
    trained = count_params(trained_leaves(prepared.params, prepared.labels))
    lines.append(
        f"model: {prepared.config.weights}: {total:,} parameters, {trained:,} trained "
        f"({', '.join(prepared.config.train.trainable)}), pool "
        f"{prepared.config.pool}"
    )
    return lines


def _left_out_by(config: DataConfig) -> str:
    """Return the flags that may have left texts out."""
    flags = {
        "--preset book": config.book,
        "--balance undersample": config.balance == "undersample",
        "--drop-duplicates": config.drop_duplicates,
        "--limit": config.limit is not None,
        "--shots": config.shots is not None,
        "--unseen": config.unseen,
    }
    named = ", ".join(flag for flag, given in flags.items() if given)
    return f" ({named})" if named else ""


def class_counts(prepared: Prepared) -> dict[str, dict[str, int]]:
    """Return the number of texts of each class, for each part."""
    classes = prepared.dataset.classes
    return {
        part: dict(
            zip(
                classes,
                np.bincount(encoded.labels, minlength=len(classes)).tolist(),
                strict=True,
            )
        )
        for part, encoded in prepared.examples.items()
    }


def split_kind(prepared: Prepared) -> str:
    """Return how the parts came about."""
    config, dataset = prepared.config.data, prepared.dataset
    if config.book:
        which = {"chapter": "", "additional": "'s additional experiments"}
        return f"as in the book{which[config.book_split]}, drawn at random"
    if dataset.parts is not None:
        return "as given" + (f" in {config.split_column!r}" * bool(config.split_column))
    shares = "/".join(f"{100 * share:g}" for share in config.split)
    by = "families" if dataset.groups is not None else "identical texts"
    by = f"the values of {config.group_column!r}" if config.group_column else by
    kept = f"; {by} stay on one side" if config.group else ""
    return f"{shares} at random, every class alike (seed {config.split_seed}){kept}"


def length_counts(prepared: Prepared) -> dict[str, list[int]]:
    """Return the token lengths of all parts by equal bins, as curves.json holds them.

    A bin takes in its left edge, and the last one its right edge too.
    """
    lengths = np.concatenate([e.lengths for e in prepared.examples.values()])
    step = max(1, -(-int(lengths.max()) // LENGTH_BINS))
    edges = np.arange(0, lengths.max() + step + 1, step)
    counts, _ = np.histogram(lengths, bins=edges)
    return {"edges": edges.tolist(), "n": counts.tolist()}


def length_histogram(prepared: Prepared) -> list[str]:
    """Return the token lengths of all parts as lines of text."""
    lengths = np.concatenate([e.lengths for e in prepared.examples.values()])
    edges = [0, *(width for width in BUCKETS if width < lengths.max()), lengths.max()]
    counts, _ = np.histogram(lengths, bins=np.asarray(edges) + 0.5)
    widest = max(counts.max(), 1)
    bars = ["#" * round(40 * count / widest) for count in counts]
    return [
        f"{low + 1:5d} to {high:4d} tokens {count:6d} {bar}"
        for low, high, count, bar in zip(edges, edges[1:], counts, bars, strict=False)
    ]
