"""Which settings are the defaults, and why.

python -m experiments.recipe.run --seeds 0 1 2
"""

import dataclasses
from typing import Any

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import ACCURACIES, Setting, Study
from gpt2_jax.config import FINETUNE_PRESETS, DataConfig, FinetuneConfig

DEFAULT = FinetuneConfig()
# The book's rows and split; all else is ours.
BOOK = dataclasses.replace(DEFAULT, data=FINETUNE_PRESETS["book"].data)
UNSEEN = dataclasses.replace(BOOK, data=dataclasses.replace(BOOK.data, unseen=True))
SMS_SPAM = dataclasses.replace(
    DEFAULT, data=DataConfig(source="sms-spam", balance="undersample")
)
DATA = {
    "the book's split": BOOK,
    "the book's split, unseen": UNSEEN,
    "sms-spam": SMS_SPAM,
    "demo": DEFAULT,
}
TOP_FOUR = ("h_(8|9|10|11)/.*", "ln_f/.*", "out_head/.*")
CONSTANT = {"learning_rate": 5e-4, "schedule": "constant"}
# What was tried on the book's split; the first few on all data.
CANDIDATES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "rate 5e-4": {"learning_rate": 5e-4},
    "rate 5e-4, batches of 4": {"learning_rate": 5e-4, "batch_size": 4},
    "rate 2e-3": {"learning_rate": 2e-3},
    "keep best": {"keep": "best"},
    "rate 5e-4, constant": CONSTANT,
    "rate 5e-4, constant, keep best": CONSTANT | {"keep": "best"},
    "rate 3e-4": {"learning_rate": 3e-4},
    "rate 3e-4, 10 epochs": {"learning_rate": 3e-4, "epochs": 10},
    "rate 2e-4, batches of 2": {"learning_rate": 2e-4, "batch_size": 2},
    "rate 1e-4, batches of 2": {"learning_rate": 1e-4, "batch_size": 2},
    "rate 1e-4, batches of 1": {"learning_rate": 1e-4, "batch_size": 1},
    "rate 1e-3, batches of 32, 10 epochs": {"batch_size": 32, "epochs": 10},
    "rate 2e-3, batches of 32, 10 epochs": {
        "learning_rate": 2e-3,
        "batch_size": 32,
        "epochs": 10,
    },
    "3 epochs": {"epochs": 3},
    "10 epochs": {"epochs": 10},
    "20 epochs": {"epochs": 20},
    "weight decay 0": {"weight_decay": 0.0},
    "weight decay 1": {"weight_decay": 1.0},
    "clipped at norm 1": {"clip_norm": 1.0},
    "mean of the text": {"pool": "mean"},
    "last two blocks": {"trainable": ("last_two_blocks",)},
    "last two blocks, mean of the text": {
        "trainable": ("last_two_blocks",),
        "pool": "mean",
    },
    "last four blocks, rate 5e-4": {"trainable": TOP_FOUR, "learning_rate": 5e-4},
    "all layers, rate 1e-4": {"trainable": ("all",), "learning_rate": 1e-4},
    "all layers, rate 3e-4": {"trainable": ("all",), "learning_rate": 3e-4},
    "all layers, rate 3e-4, no causal mask": {
        "trainable": ("all",),
        "learning_rate": 3e-4,
        "causal": False,
    },
    "LoRA, rank 16, alpha 16": {"trainable": ("lora",)},
    "rate 5e-4, 20 epochs": {"learning_rate": 5e-4, "epochs": 20},
    "rate 2e-3, batches of 32, 20 epochs": {
        "learning_rate": 2e-3,
        "batch_size": 32,
        "epochs": 20,
    },
    "batches of 16, 20 epochs": {"batch_size": 16, "epochs": 20},
    "weight decay 1, 20 epochs": {"weight_decay": 1.0, "epochs": 20},
    "40 epochs": {"epochs": 40},
}
ON_ALL_DATA = 7  # of the candidates


def _changed(config: FinetuneConfig, changes: dict[str, Any]) -> FinetuneConfig:
    whole = {k: v for k, v in changes.items() if k in ("pool", "causal")}
    train = {k: v for k, v in changes.items() if k not in whole}
    train = dataclasses.replace(config.train, **train)
    return dataclasses.replace(config, train=train, **whole)


STUDY = Study(
    name="recipe",
    title="Why these are the defaults",
    question="Which settings are the best on validation, and how do they test? The "
    "rows of one data set share its test part.",
    settings=tuple(
        Setting(f"{data}: {name}", _changed(config, changes))
        for place, (data, config) in enumerate(DATA.items())
        for name, changes in list(CANDIDATES.items())[
            : None if place == 0 else ON_ALL_DATA
        ]
    ),
    command="python -m experiments.recipe.run",
    beside=baselines.accuracies,
    metrics={name: ACCURACIES[name] for name in ("validation", "test")},
    plots=(("validation", "test"),),
)

if __name__ == "__main__":
    main(STUDY)
