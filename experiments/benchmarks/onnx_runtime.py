"""Prediction of few and of many texts, beside ONNX Runtime with the same weights.

    python -m experiments.benchmarks.onnx_runtime RUN --data sms-spam

RUN is a run of finetune; both have its model without the lexical part, in float32, and
make tokens of the texts with its tokenizer. ONNX Runtime is given batches of texts of
like length, padded to the longest of each. Ours and theirs in turn, in one process: a
number of calls at once, then a pause, in which the threads of either come to rest.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.engine.texts import pad
from gpt2_jax.export import onnx_file
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.weights.trained import load_model

CASES = ((1, 1), (1, 20), (32, 1), (500, 1))  # texts, calls at once
BATCH = 32  # texts of a call of ONNX Runtime; 8 and 64 are slower
PAUSE = 0.05  # seconds; threads of ONNX Runtime spin on for a while

Logits = Callable[[Sequence[str]], np.ndarray]


def theirs(folder: Path, classifier: Classifier) -> Logits:
    """Return what makes logits [N, C] of texts by ONNX Runtime."""
    run, limit = onnx_file.read(folder), classifier.max_length

    def logits(texts: Sequence[str]) -> np.ndarray:
        encoded = [classifier.tokenizer.encode(text)[:limit] for text in texts]
        lengths = np.asarray([len(ids) for ids in encoded])
        order, out = np.argsort(lengths), []
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            width = int(lengths[rows].max())
            out.append(run(pad([encoded[row] for row in rows], width), lengths[rows]))
        return np.concatenate(out)[np.argsort(order)]

    return logits


def in_turn(
    runs: Sequence[Callable[[], Any]], repeats: int, at_once: int
) -> list[list[float]]:
    """Return the seconds of each call of each of `runs`, in turn."""
    seconds: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()  # compiles
    for _ in range(repeats):
        for run, times in zip(runs, seconds, strict=True):
            time.sleep(PAUSE)
            for _ in range(at_once):
                started = time.perf_counter()
                run()
                times.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--repeats", type=int, default=21)
    arguments = parser.parse_args()
    trained = load_model(arguments.run).alone()
    classifier = Classifier(trained)
    texts = load_dataset(DataConfig(arguments.data)).texts
    print(
        f"{arguments.data}, {jax.devices()[0].device_kind}, {arguments.repeats} turns"
    )
    print("\n| texts | tokens | calls at once | ours | ONNX Runtime | ratio |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        onnx_file.write(Path(folder) / "onnx", trained)
        peer = theirs(Path(folder) / "onnx", classifier)
        for count, at_once in CASES:
            some = texts[:count]
            np.testing.assert_allclose(classifier.logits(some), peer(some), atol=1e-4)
            tokens = sum(len(classifier.tokenizer.encode(text)) for text in some)
            runs = [functools.partial(run, some) for run in (classifier.logits, peer)]
            found = in_turn(runs, arguments.repeats, at_once)
            ours, their = (1e3 * statistics.median(times) for times in found)
            row = f"{ours:.2f} ms | {their:.2f} ms | {ours / their:.2f}"
            print(f"| {count} | {tokens} | {at_once} | {row} |", flush=True)


if __name__ == "__main__":
    main()
