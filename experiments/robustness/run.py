"""What do changes cost that a reader hardly notices, and texts of an unseen kind?

python -m experiments.robustness.run --seeds 0 1 2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import baselines
from experiments.study.command import main
from experiments.study.spec import Setting, Study
from gpt2_jax import Classifier
from gpt2_jax.config import DataConfig, FinetuneConfig

_LEET = str.maketrans("aeiostAEIOST", "431057431057")


def double_spaces(text: str) -> str:
    return text.replace(" ", "  ")


def spell_out(text: str) -> str:
    """Put a space between the letters of every third word."""
    words = text.split(" ")
    return " ".join(
        " ".join(word) if place % 3 == 0 else word for place, word in enumerate(words)
    )


def leetspeak(text: str) -> str:
    return text.translate(_LEET)


CHANGES: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "upper": ("UPPER CASE", str.upper),
    "lower": ("lower case", str.lower),
    "spaces": ("double spaces", double_spaces),
    "spelled": ("s p e l l e d out", spell_out),
    "leet": ("l3375p34k", leetspeak),
}
METRICS = {"test": "as they are, test accuracy (%)"}
METRICS |= {name: f"{shown} (%)" for name, (shown, _) in CHANGES.items()}


def measure(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    """Return accuracies in percent on test texts that were changed."""
    test, expected = baselines.parts_of(baselines.config_of(run))["test"]
    classifier = Classifier.load(run)

    def predict(texts: Sequence[str]) -> np.ndarray:
        return classifier.predict_proba(texts).argmax(-1)

    return on_changed(predict, test, expected)


def beside(config: FinetuneConfig, seed: int) -> dict[str, dict[str, float]]:
    """Return the same of the baselines."""
    parts = baselines.parts_of(config)
    test, expected = parts["test"]
    return {
        name: {"test": accuracy(predict, test, expected)}
        | on_changed(predict, test, expected)
        for name, predict in baselines.fit_all(*parts["train"], seed=seed).items()
    }


def on_changed(
    predict: baselines.Predict, texts: Sequence[str], labels: np.ndarray
) -> dict[str, float]:
    return {
        name: accuracy(predict, [change(text) for text in texts], labels)
        for name, (_, change) in CHANGES.items()
    }


def accuracy(
    predict: baselines.Predict, texts: Sequence[str], labels: np.ndarray
) -> float:
    return 100 * float((np.asarray(predict(texts)) == labels).mean())


STUDY = Study(
    name="robustness",
    title="What do small changes of the texts cost, and an unseen kind of text?",
    question="Accuracy on test texts that were changed; the training texts were not. "
    "The demo texts come in families: in the second row no family is on both sides.",
    settings=(
        Setting(
            "SMS Spam",
            FinetuneConfig(data=DataConfig(source="sms-spam", balance="undersample")),
        ),
        Setting("demo, unseen families", FinetuneConfig()),
        Setting(
            "demo, families on both sides",
            FinetuneConfig(data=DataConfig(group=False)),
        ),
    ),
    command="python -m experiments.robustness.run",
    metrics=METRICS,
    plots=(("test", *CHANGES),),
    measure=measure,
    beside=beside,
)

if __name__ == "__main__":
    main(STUDY)
