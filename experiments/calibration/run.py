"""Do the probabilities mean what they say?

python -m experiments.calibration.run --seeds 0 1 2
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.evaluation.metrics import expected_calibration_error

EPOCHS = (1, 2, 5, 10)
METRICS = {
    "ece_before": "expected calibration error (%)",
    "ece_after": "the same, with the fitted temperature (%)",
    "temperature": "temperature",
    "test": "test accuracy (%)",
}


def measure(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    test = results["calibration"]["test"]
    return {
        "ece_before": 100 * test["ece_before"],
        "ece_after": 100 * test["ece_after"],
        "temperature": results["calibration"]["temperature"],
    }


def beside(config: FinetuneConfig, seed: int) -> dict[str, dict[str, float]]:
    """Return accuracies, and the calibration error of what gives probabilities."""
    numbers, parts = baselines.accuracies(config, seed), baselines.parts_of(config)
    test, expected = parts["test"]
    makers = {"tfidf": baselines.char_tfidf, "word_tfidf": baselines.word_tfidf}
    for key, make in makers.items():
        probabilities = make().fit(*parts["train"]).predict_proba(test)
        error = expected_calibration_error(probabilities, expected)
        numbers[baselines.NAMES[key]]["ece_before"] = 100 * error
    return numbers


def _config(source: str, epochs: int) -> FinetuneConfig:
    config = FinetuneConfig(data=DataConfig(source=source, balance="undersample"))
    train = dataclasses.replace(config.train, epochs=epochs)
    return dataclasses.replace(config, train=train)


STUDY = Study(
    name="calibration",
    title="Do the probabilities mean what they say?",
    question="Calibration error on the test part over the number of epochs, before and "
    "after the one temperature that is fitted on the validation part.",
    settings=tuple(
        Setting(f"--data {source}", _config(source, epochs), x=epochs)
        for source in ("sms-spam", "demo")
        for epochs in EPOCHS
    ),
    command="python -m experiments.calibration.run",
    beside=beside,
    metrics=METRICS,
    plots=(("ece_before", "ece_after"), ("test",)),
    x_label="epochs",
    measure=measure,
)

if __name__ == "__main__":
    main(STUDY)
