"""How many labelled texts are needed?

python -m experiments.learning_curve.run --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from experiments import baselines
from experiments.parts import take_share, write_parts
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)
STEPS = 650  # of the whole training part in 5 epochs of batches of 8


def build(arguments: argparse.Namespace) -> Study:
    data = DataConfig(source="sms-spam", balance="undersample")
    dataset = load_dataset(data)
    labels, parts = np.asarray(dataset.labels), split_dataset(dataset, data).parts()
    folder = (arguments.workdir or Path("checkpoints") / "learning_curve") / "data"
    settings = []
    for share in SHARES:
        rows = take_share(parts["train"], labels, share)
        own = write_parts(
            folder / f"{len(rows)}.csv", dataset, {**parts, "train": rows}
        )
        config = FinetuneConfig(data=own)
        epochs = round(STEPS / (len(rows) // config.train.batch_size))
        config = dataclasses.replace(
            config, train=dataclasses.replace(config.train, epochs=epochs)
        )
        settings.append(Setting("mini", config, x=len(rows)))
    return Study(
        name="learning_curve",
        title="How many labelled texts are needed?",
        question="Test accuracy on SMS Spam over the number of training texts, half of "
        "them spam; the smaller sets lie in the larger ones, and all take about as "
        "many steps.",
        settings=tuple(settings),
        command="python -m experiments.learning_curve.run",
        metrics=baselines.LABELS,
        plots=(("test", "tfidf", "word_tfidf", "fasttext"),),
        x_label="training texts",
        log_x=True,
        measure=baselines.measure,
    )


if __name__ == "__main__":
    main(build)
