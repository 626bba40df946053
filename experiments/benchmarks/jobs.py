"""One job, timed from after the imports to its end; prints one line of JSON.

    python experiments/benchmarks/jobs.py NAME --weights mini --folder DIR

`peers.py` runs these in processes of their own. Ours and the peers' (`torch_jobs.py`)
read the same rows, and start from the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[], dict[str, Any]]  # of a job whose imports are done


def finetune_book(arguments: argparse.Namespace, trainable: str = "last_block") -> Run:
    """`gpt2-jax finetune --preset book`, with all that it writes."""
    return _finetune("book", arguments, trainable)


def finetune_default(arguments: argparse.Namespace) -> Run:
    """`gpt2-jax finetune --data sms-spam`, with all that it writes."""
    return _finetune("default", arguments, "last_block")


def _finetune(preset: str, arguments: argparse.Namespace, trainable: str) -> Run:
    import matplotlib.pyplot  # noqa: F401  (the run needs it; imports are not timed)
    import sklearn.linear_model  # noqa: F401  (likewise)

    from gpt2_jax.config import FINETUNE_PRESETS
    from gpt2_jax.engine.compilation import keep_compiled_programs
    from gpt2_jax.training.finetune import finetune

    config = FINETUNE_PRESETS[preset]
    config = dataclasses.replace(
        config,
        weights=arguments.weights,
        dtype=arguments.dtype,
        data=dataclasses.replace(config.data, source="sms-spam"),
        train=dataclasses.replace(config.train, trainable=(trainable,)),
    )

    def run() -> dict[str, Any]:
        if arguments.cache:
            keep_compiled_programs()
        results = finetune(config, arguments.folder / f"{preset}-{time.time_ns()}")
        return {
            "phases": results["seconds"],
            "accuracy": results["accuracy"],
            "compilation_cache": results["compilation_cache"],
            **device(),
        }

    return run


def predict(arguments: argparse.Namespace) -> Run:
    """`Classifier` on every message, as raw texts."""
    from gpt2_jax.engine.compilation import keep_compiled_programs
    from gpt2_jax.inference.classifier import Classifier

    texts = messages()

    def run() -> dict[str, Any]:
        if arguments.cache:
            keep_compiled_programs()
        classifier = Classifier.load(arguments.folder / "classifier")
        return {"texts": len(classifier.predict_proba(texts)), **device()}

    return run


def save_classifier(arguments: argparse.Namespace) -> Run:
    """Write a classifier to predict with; its head is random, as the peers' is."""
    import jax
    import numpy as np

    from gpt2_jax.model.gpt2 import to_classifier
    from gpt2_jax.weights.pretrained import load_pretrained
    from gpt2_jax.weights.trained import TrainedModel, save_model

    def run() -> dict[str, Any]:
        config, params = load_pretrained(arguments.weights)
        model, params = to_classifier(
            config, params, num_classes=2, key=jax.random.key(0)
        )
        config = dataclasses.replace(model.config, dtype=arguments.dtype)
        params = jax.tree.map(np.asarray, params)
        trained = TrainedModel(config, params, ("ham", "spam"), config.max_len)
        save_model(arguments.folder / "classifier" / "model", trained)
        return {}

    return run


def device() -> dict[str, Any]:
    """Return the name of jax's device, and the memory that it needed, if it tells."""
    import jax

    (first, *_) = jax.local_devices()
    statistics = first.memory_stats() or {}
    peak = statistics.get("peak_bytes_in_use")
    return {"device": first.device_kind, "device_peak_bytes": peak}


def messages() -> list[str]:
    from gpt2_jax.config import DataConfig
    from gpt2_jax.data.sources import load_dataset

    return list(load_dataset(DataConfig(source="sms-spam"), to_train=False).texts)


JOBS: dict[str, Callable[[argparse.Namespace], Run]] = {
    "ours-book": finetune_book,
    "ours-all": functools.partial(finetune_book, trainable="all"),
    "ours-default": finetune_default,
    "ours-predict": predict,
    "save-classifier": save_classifier,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help=f"{', '.join(JOBS)}, or one of torch_jobs.py")
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--dtype", default="float32", help="of our matmuls")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--cache", action="store_true", help="keep compiled programs")
    arguments = parser.parse_args()
    ours = arguments.name in JOBS
    jobs = JOBS if ours else importlib.import_module("torch_jobs").JOBS
    if arguments.name not in jobs:
        parser.error(f"no job {arguments.name!r}; known: {', '.join([*JOBS, *jobs])}")
    run = jobs[arguments.name](arguments)  # imports everything
    started, cpu_started = time.perf_counter(), time.process_time()
    details = run()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    measured = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_started,
        "peak_bytes": peak * unit,
    }
    print(json.dumps({**measured, **details}))


if __name__ == "__main__":
    main()
