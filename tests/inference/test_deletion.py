"""Without the words that an explanation names, the label loses more than by chance."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gpt2_jax.config import FinetuneConfig, TrainConfig
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.explain import Word
from gpt2_jax.training.finetune import finetune
from gpt2_jax.weights.trained import load_model

_NUM_TEXTS, _LEFT_OUT = 60, 3


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """`mini` on the shipped texts, for fewer epochs than the default."""
    workdir = tmp_path_factory.mktemp("deletion") / "run"
    finetune(FinetuneConfig(train=TrainConfig(epochs=2)), workdir)
    return workdir


def _without(text: str, words: Sequence[Word]) -> str:
    for word in sorted(words, key=lambda word: -word.start):
        text = text[: word.start] + text[word.end :]
    return text


@pytest.mark.slow
@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_top_words_matter_more_than_random_ones(run, method):
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:_NUM_TEXTS]
    trained, chance = load_model(run), random.Random(0)
    # gradients do not reach the lexical part
    classifier = Classifier(trained if method == "occlusion" else trained.alone())
    explained = classifier.explain(texts, method)
    before = classifier.predict_proba(texts)
    label = before.argmax(-1)

    def lost(chosen: list[list[Word]]) -> np.ndarray:
        changed = [
            _without(text, words) for text, words in zip(texts, chosen, strict=True)
        ]
        rows = classifier.predict_proba(changed)
        return (before - rows)[np.arange(len(texts)), label]

    top = [sorted(words, key=lambda w: -w.weight)[:_LEFT_OUT] for words in explained]
    sampled = [chance.sample(words, min(_LEFT_OUT, len(words))) for words in explained]
    more = lost(top) - lost(sampled)
    assert more.mean() > 0.1
    assert more.mean() > 2 * more.std() / np.sqrt(len(more))  # and not by luck
