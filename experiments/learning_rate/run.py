"""Which learning rate for which scope?

python -m experiments.learning_rate.run --seeds 0 1 2
"""

from __future__ import annotations

import dataclasses

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import DataConfig, FinetuneConfig

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SCOPES = ("head", "last_block", "last_two_blocks")
BASE = FinetuneConfig(data=DataConfig(source="sms-spam", balance="undersample"))
STUDY = Study(
    name="learning_rate",
    title="Which learning rate for which scope?",
    question="Validation and test accuracy on SMS Spam over the highest learning rate "
    "(cosine schedule, 5 epochs), by what trains.",
    settings=tuple(
        Setting(
            f"--trainable {scope}",
            dataclasses.replace(
                BASE,
                train=dataclasses.replace(
                    BASE.train, trainable=(scope,), learning_rate=rate
                ),
            ),
            x=rate,
        )
        for scope in SCOPES
        for rate in RATES
    ),
    command="python -m experiments.learning_rate.run",
    beside=baselines.accuracies,
    plots=(("validation",), ("test",)),
    x_label="learning rate",
    log_x=True,
)

if __name__ == "__main__":
    main(STUDY)
