"""One of our jobs, timed from after the imports to its end; prints a line of JSON.

    python experiments/benchmarks/jobs.py NAME --weights mini --folder DIR

`peers.py` runs these in processes of their own. The peers' (`torch_jobs.py`) read the
same rows, and start from the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Mapping
from typing import Any

from job import Job, Run, main, messages


def finetune_book(arguments: argparse.Namespace, trainable: str = "last_block") -> Run:
    """`gpt2-jax finetune --preset book`, with all that it writes."""
    return _finetune("book", arguments, trainable)


def finetune_default(arguments: argparse.Namespace) -> Run:
    """`gpt2-jax finetune --data sms-spam --balance undersample`, and all it writes.

    The rows are those of the book.
    """
    return _finetune("default", arguments, "last_block")


def _finetune(preset: str, arguments: argparse.Namespace, trainable: str) -> Run:
    import matplotlib.pyplot  # noqa: F401  (the run needs it; imports are not timed)
    import sklearn.linear_model  # noqa: F401  (likewise)

    from gpt2_jax import finetune
    from gpt2_jax.config import FINETUNE_PRESETS
    from gpt2_jax.engine.compilation import keep_compiled_programs

    config = FINETUNE_PRESETS[preset]
    config = dataclasses.replace(
        config,
        weights=arguments.weights,
        dtype=arguments.dtype,
        data=dataclasses.replace(config.data, source="sms-spam", balance="undersample"),
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
    from gpt2_jax import Classifier
    from gpt2_jax.engine.compilation import keep_compiled_programs

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

    from gpt2_jax import load_pretrained, to_classifier
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


JOBS: Mapping[str, Job] = {
    "ours-book": finetune_book,
    "ours-all": functools.partial(finetune_book, trainable="all"),
    "ours-default": finetune_default,
    "ours-predict": predict,
    "save-classifier": save_classifier,
}

if __name__ == "__main__":
    main(JOBS, __doc__)
