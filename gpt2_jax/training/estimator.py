"""A classifier as scikit-learn has them, for its pipelines and searches."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gpt2_jax.config import DataConfig, FinetuneConfig
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.inference.given import given_texts
from gpt2_jax.training.finetune import finetune

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ImportError as error:
    raise ImportError(
        "GPT2Classifier needs the extra: pip install 'gpt2-jax[report]'"
    ) from error


class GPT2Classifier(ClassifierMixin, BaseEstimator):
    """A GPT-2 that is fine-tuned by `fit`; texts in, labels of the caller's type out.

    What is None is as in `config`.

    Args:
        config: everything else that decides a run; None: the default.
        weights, pool, max_length: fields of `FinetuneConfig`.
        trainable, epochs, batch_size, learning_rate: fields of `TrainConfig`.
        random_state: the seed of the run, and of which texts validate.
        validation_fraction: of the texts, which are not trained on: probabilities are
            calibrated on them, and `keep="best"` and `patience` go by them.
        verbose: print what is done.

    Attributes:
        classes_: the labels [C], sorted.
        classifier_: the trained `Classifier`; its labels are places in `classes_`.
        results_: the `Results` of the run; its test part is the validation part.
    """

    def __init__(
        self,
        config: FinetuneConfig | None = None,
        *,
        weights: str | None = None,
        pool: str | None = None,
        max_length: int | None = None,
        trainable: Sequence[str] | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: int | None = None,
        validation_fraction: float = 0.1,
        verbose: bool = False,
    ) -> None:
        self.config = config
        self.weights = weights
        self.pool = pool
        self.max_length = max_length
        self.trainable = trainable
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.validation_fraction = validation_fraction
        self.verbose = verbose

    def fit(self, X: Iterable[str], y: Any) -> GPT2Classifier:
        """Fine-tune on texts [N] and labels [N].

        Raises:
            TypeError: X holds no strings.
            ValueError: X and y are not equally long, a parameter is out of range, or
                there are too few texts to validate on.
            UserError: as `finetune`.
        """
        texts = given_texts(X)
        labels = column_or_1d(y)
        if len(texts) != len(labels):
            raise ValueError(f"{len(texts)} texts, but {len(labels)} labels")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        config = self._run_config()
        train, validation = train_test_split(
            np.arange(len(texts)),
            test_size=max(
                len(self.classes_), round(self.validation_fraction * len(texts))
            ),
            random_state=config.train.seed,
            stratify=codes,
        )
        batch = min(config.train.batch_size, len(train))
        config = dataclasses.replace(
            config, train=dataclasses.replace(config.train, batch_size=batch)
        )
        parts = {
            part: ([texts[row] for row in rows], codes[rows])
            for part, rows in (
                ("train", train),
                ("validation", validation),
                ("test", validation),
            )
        }
        with tempfile.TemporaryDirectory(prefix="gpt2-jax-") as folder:
            workdir = f"{folder}/run"
            self.results_ = finetune(
                config, workdir, dataset=parts, verbose=self.verbose
            )
            self.classifier_ = Classifier.load(workdir)
        return self

    def predict(self, X: Iterable[str]) -> np.ndarray:
        """Return the most probable label of each text: [N], of the type of `y`."""
        rows = self.predict_proba(X).argmax(-1)
        return self.classes_[rows]

    def predict_proba(self, X: Iterable[str]) -> np.ndarray:
        """Return float64 probabilities [N, C], in the order of `classes_`.

        Raises:
            sklearn.exceptions.NotFittedError: before `fit`.
            TypeError: X holds no strings.
        """
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def _run_config(self) -> FinetuneConfig:
        config = self.config or FinetuneConfig()
        model = {n: getattr(self, n) for n in ("weights", "pool", "max_length")}
        train = {
            name: getattr(self, name)
            for name in ("trainable", "epochs", "batch_size", "learning_rate")
        } | {"seed": self.random_state}
        return dataclasses.replace(
            config,
            data=dataclasses.replace(config.data, source=DataConfig().source),
            train=dataclasses.replace(config.train, **_given(train)),
            baselines="none",
            **_given(model),
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
