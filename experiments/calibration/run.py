"""Do the probabilities mean what they say?

python -m experiments.calibration.run --seeds 0 1 2
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import baselines
from experiments.study import Setting, Study, main
from gpt2_jax.config import DataConfig, FinetuneConfig

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


def _config(source: str, epochs: int) -> FinetuneConfig:
    config = FinetuneConfig(data=DataConfig(source=source))
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
    beside=baselines.accuracies,
    metrics=METRICS,
    plots=(("ece_before", "ece_after"), ("test",)),
    x_label="epochs",
    measure=measure,
)

if __name__ == "__main__":
    main(STUDY)
