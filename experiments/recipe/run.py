"""Which learning rate, schedule and parameters to end with are the defaults, and why.

python -m experiments.recipe.run --seeds 0 1 2
"""

import dataclasses
from typing import Any

from experiments.study import ACCURACIES, Setting, Study, main
from gpt2_jax.config import DataConfig, FinetuneConfig

CONSTANT = {"learning_rate": 5e-4, "schedule": "constant"}
RECIPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "--keep best": {"keep": "best"},
    "--learning-rate 2e-3": {"learning_rate": 2e-3},
    "--learning-rate 5e-4 --schedule constant": CONSTANT,
    "--learning-rate 5e-4 --schedule constant --keep best": CONSTANT | {"keep": "best"},
}
DEFAULT = FinetuneConfig()
SETTINGS = {
    f"--data {source} {name}": dataclasses.replace(
        DEFAULT,
        data=DataConfig(source=source),
        train=dataclasses.replace(DEFAULT.train, **changes),
    )
    for source in ("sms-spam", "demo")
    for name, changes in RECIPES.items()
}

STUDY = Study(
    name="recipe",
    title="Why these are the defaults",
    question="Which learning rate, schedule and parameters to end with are the best?",
    settings=tuple(Setting(f"`{name}`", config) for name, config in SETTINGS.items()),
    command="python -m experiments.recipe.run",
    metrics=ACCURACIES | {"tfidf": "TF-IDF + logistic regression (%)"},
)

if __name__ == "__main__":
    main(STUDY)
