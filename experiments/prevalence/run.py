"""Is it better to drop ham, or to weigh it?

python -m experiments.prevalence.run --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments import baselines
from experiments.parts import write_parts
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import BALANCES, DataConfig, FinetuneConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.evaluation.metrics import evaluate_probabilities

NAMES = {
    "none": "all texts, as they come (--balance none)",
    "undersample": "as much ham as spam (--balance undersample)",
    "weights": "all texts, weighed by class (--balance weights)",
}
METRICS = {
    "test": "test accuracy (%)",
    "spam_f1": "F1 of spam (%)",
    "spam_precision": "precision of spam (%)",
    "spam_recall": "recall of spam (%)",
}


def of_spam(test: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of spam in `test`, as results.json has it."""
    spam = test["per_class"]["spam"]
    return {f"spam_{name}": 100 * spam[name] for name in ("f1", "precision", "recall")}


def measure(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    return of_spam(results["test"])


def beside(config: FinetuneConfig, seed: int) -> dict[str, dict[str, float]]:
    """Return the same numbers of the baselines; class 1 is spam."""
    parts = baselines.parts_of(config)
    test, expected = parts["test"]
    balanced = config.data.balance == "weights"
    fitted = baselines.fit_all(*parts["train"], seed=seed, balanced=balanced)
    numbers = {}
    for name, predict in fitted.items():
        predicted = np.asarray(predict(test))
        certain = np.eye(2)[predicted]
        numbers[name] = {
            "test": 100 * float((predicted == expected).mean()),
            **of_spam(evaluate_probabilities(certain, expected, ("ham", "spam"))),
        }
    return numbers


def build(arguments: argparse.Namespace) -> Study:
    data = DataConfig(source="sms-spam", balance="none")
    dataset = load_dataset(data)
    folder = (arguments.workdir or Path("checkpoints") / "prevalence") / "data"
    own = write_parts(
        folder / "natural.csv", dataset, split_dataset(dataset, data).parts()
    )
    return Study(
        name="prevalence",
        title="Is it better to drop ham, or to weigh it?",
        question="All 5,574 messages, of which 13.4% are spam, split 70/10/20; only "
        "the training part is balanced. All are tested on the same messages, with ham "
        "as frequent as it comes.",
        settings=tuple(
            Setting(
                NAMES[balance],
                FinetuneConfig(data=dataclasses.replace(own, balance=balance)),
            )
            for balance in BALANCES
        ),
        command="python -m experiments.prevalence.run",
        metrics=METRICS,
        plots=(("spam_f1", "spam_precision", "spam_recall"),),
        measure=measure,
        beside=beside,
    )


if __name__ == "__main__":
    main(build)
