"""What a study puts beside a fine-tuned model, trained on the same texts."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.class_weight import compute_sample_weight

from gpt2_jax.config import FinetuneConfig, from_stored
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset

Texts = Sequence[str]
Parts = Mapping[str, tuple[list[str], np.ndarray]]  # texts and labels of each part
# Texts to predicted labels [N].
Predict = Callable[[Texts], np.ndarray]
NAMES = {
    "tfidf": "TF-IDF of characters + logistic regression",
    "word_tfidf": "TF-IDF of words + logistic regression",
    "fasttext": "bag of word n-grams, as fastText",
    "majority": "majority class",
}
LABELS = {"test": "mini, test accuracy (%)"} | {k: f"{v} (%)" for k, v in NAMES.items()}
# Words and pairs of them, as in the paper; fewer buckets and dimensions, as there are
# few texts, more epochs, and Adam.
BUCKETS, WIDTH, EPOCHS, BATCH, RATE = 2**16, 32, 10, 32, 0.01
PREDICTED = 256  # texts at once


def parts_of(config: FinetuneConfig) -> Parts:
    """Return the texts and labels of each part that a run of `config` has."""
    dataset = load_dataset(config.data)
    labels = np.asarray(dataset.labels)
    return {
        part: ([dataset.texts[row] for row in rows], labels[rows])
        for part, rows in split_dataset(dataset, config.data).parts().items()
    }


def config_of(run: Path) -> FinetuneConfig:
    return from_stored(
        FinetuneConfig, json.loads((run / "config.json").read_text("utf-8"))
    )


def measure(run: Path, results: Mapping[str, Any]) -> dict[str, float]:
    """Return test accuracies in percent, of what is trained on the texts of `run`."""
    config = config_of(run)
    numbers = accuracies(config, config.train.seed)
    return {key: numbers[name]["test"] for key, name in NAMES.items()}


def accuracies(config: FinetuneConfig, seed: int) -> dict[str, dict[str, float]]:
    """Return the test accuracy of each in percent, to stand beside a study."""
    return accuracies_on(parts_of(config), seed)


def accuracies_on(parts: Parts, seed: int) -> dict[str, dict[str, float]]:
    test, expected = parts["test"]
    return {
        name: {"test": 100 * float((predict(test) == expected).mean())}
        for name, predict in fit_all(*parts["train"], seed=seed).items()
    }


def fit_all(
    texts: Texts, labels: np.ndarray, *, seed: int, balanced: bool = False
) -> dict[str, Predict]:
    """Fit all of them; `balanced` weighs the examples of all but the majority."""
    most = np.bincount(labels).argmax()
    fitted = {
        "tfidf": fit_char_tfidf(texts, labels, balanced=balanced),
        "word_tfidf": fit_word_tfidf(texts, labels, balanced=balanced),
        "fasttext": fit_fasttext(texts, labels, seed=seed, balanced=balanced),
        "majority": lambda texts: np.full(len(texts), most),
    }
    return {NAMES[key]: predict for key, predict in fitted.items()}


def fit_char_tfidf(
    texts: Texts, labels: np.ndarray, *, balanced: bool = False
) -> Predict:
    """Fit the baseline that every run has in its results."""
    return char_tfidf(balanced=balanced).fit(texts, labels).predict


def fit_word_tfidf(
    texts: Texts, labels: np.ndarray, *, balanced: bool = False
) -> Predict:
    return word_tfidf(balanced=balanced).fit(texts, labels).predict


def char_tfidf(*, balanced: bool = False) -> Pipeline:
    return _pipeline(balanced, analyzer="char_wb", ngram_range=(2, 5))


def word_tfidf(*, balanced: bool = False) -> Pipeline:
    return _pipeline(balanced, analyzer="word", ngram_range=(1, 2))


def _pipeline(balanced: bool, **features: Any) -> Pipeline:
    weights = "balanced" if balanced else None
    return make_pipeline(
        TfidfVectorizer(sublinear_tf=True, **features),
        LogisticRegression(C=10.0, max_iter=2000, class_weight=weights),
    )


def fit_fasttext(
    texts: Texts, labels: np.ndarray, *, seed: int = 0, balanced: bool = False
) -> Predict:
    """Fit a mean of embeddings of words and word pairs, and a linear layer.

    Source: Joulin et al. 2017, Bag of Tricks for Efficient Text Classification.
    """
    num_classes = int(labels.max()) + 1
    random = np.random.default_rng(seed)
    params = {
        "embed": random.uniform(-1 / WIDTH, 1 / WIDTH, (BUCKETS, WIDTH)),
        "head": np.zeros((WIDTH, num_classes)),
    }
    params = jax.tree.map(jnp.float32, params)
    tx = optax.adam(RATE)
    state = tx.init(params)

    @jax.jit
    def step(
        params: Any, state: Any, bags: Array, labels: Array, weights: Array
    ) -> tuple[Any, Any]:
        def loss_fn(params: Any) -> Array:
            logits = _logits(params, bags)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return (losses * weights).sum() / weights.sum()

        updates, state = tx.update(jax.grad(loss_fn)(params), state)
        return optax.apply_updates(params, updates), state

    bags = _bags(texts)
    weights = compute_sample_weight("balanced" if balanced else None, labels)
    weights = weights.astype(np.float32)
    for _ in range(EPOCHS):
        order = random.permutation(len(texts))
        for rows in np.split(order, range(BATCH, len(order), BATCH)):
            rows = np.resize(rows, BATCH)  # one shape; the last batch repeats its texts
            params, state = step(params, state, bags[rows], labels[rows], weights[rows])

    def predict(texts: Texts) -> np.ndarray:
        bags = _bags(texts)
        some = np.split(bags, range(PREDICTED, len(bags), PREDICTED))
        return np.concatenate([_logits(params, bags).argmax(-1) for bags in some])

    return predict


def _logits(params: Any, bags: Any) -> Array:
    real = (bags > 0)[..., None]  # [B, N, 1]
    embedded = jnp.where(real, params["embed"][bags], 0.0)  # [B, N, W]
    mean = embedded.sum(1) / jnp.maximum(real.sum(1), 1)
    return mean @ params["head"]


def _bags(texts: Texts) -> np.ndarray:
    """Return the bucket of each word and word pair, and 0 where there is none."""
    grams = [_grams(text) for text in texts]
    bags = np.zeros((len(texts), max(map(len, grams))), np.int32)
    for bag, found in zip(bags, grams, strict=True):
        bag[: len(found)] = [1 + zlib.crc32(g.encode()) % (BUCKETS - 1) for g in found]
    return bags


def _grams(text: str) -> list[str]:
    words = text.lower().split()
    return [*words, *map(" ".join, itertools.pairwise(words))]
