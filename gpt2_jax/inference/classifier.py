"""Load a trained classifier and classify texts with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.config import ForeignConfig
from gpt2_jax.config.layout import NamingName
from gpt2_jax.config.model import PoolName
from gpt2_jax.data.checks import shortened
from gpt2_jax.engine.cut import count_cut, part_read, parts_read
from gpt2_jax.engine.texts import pad
from gpt2_jax.errors import UserError
from gpt2_jax.evaluation.decision import decide
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.inference.explain import OCCLUSION, Word, explain
from gpt2_jax.inference.given import given_texts
from gpt2_jax.inference.gradients import Attribution, integrated_gradients
from gpt2_jax.inference.prediction import Prediction
from gpt2_jax.inference.scorer import Scorer
from gpt2_jax.storage.home import expanded
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights.foreign import read_classifier
from gpt2_jax.weights.trained import TrainedModel, load_model


class Classifier:
    """A trained classifier; texts are encoded as they were in training.

    It can be pickled, for joblib or a process that multiprocessing spawns.

    Raises:
        RuntimeError: in a fork of a process that has one; jax does not survive a fork.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self._trained = trained
        self.positive = trained.positive  # whose precision is told; None: the second
        threshold = trained.threshold
        # The class that is given from a probability on: its index, and that.
        self.threshold: tuple[int, float] | None = threshold and (
            trained.classes.index(threshold.positive),
            threshold.value,
        )
        self._scorer = Scorer(trained)
        names = ("max_length", "tokenizer", "long")
        self._cut = {name: getattr(trained, name) for name in names}

    def __reduce__(self) -> tuple[Any, ...]:
        chosen = {"positive": self.positive, "threshold": self.threshold}
        return type(self), (self._trained,), chosen

    def __repr__(self) -> str:
        config, classes = self._trained.config, self.labels
        return (
            f"<Classifier of {len(classes)} classes ({shortened(classes)}), GPT-2 of "
            f"{config.num_layers} layers of {config.embed_dim}, pool {config.pool}, up "
            f"to {self.max_length} tokens>"
        )

    @classmethod
    def load(cls, run: str | Path) -> Classifier:
        """Load the classifier of a run.

        Raises:
            WeightsError: there is none, or it is damaged.
        """
        return cls(load_model(expanded(run)))

    @classmethod
    def from_weights(
        cls,
        path: str | Path,
        *,
        classes: Sequence[str] | None = None,
        max_length: int | None = None,
        pool: PoolName | None = None,
        num_heads: int | None = None,
        naming: NamingName | None = None,
        tokenizer: str | Path | None = None,
        offline: bool = False,
    ) -> Classifier:
        """Load a classifier that another program trained, or one of ours.

        Args:
            path: a GPT2ForSequenceClassification of Hugging Face, its id on the hub,
                a classifier of LLMs-from-scratch, such as `review_classifier.pth`, or
                a run of ours.
            classes: the labels, in the order of the logits; None: those of config.json.
            max_length: tokens; what is longer is cut. The pool `last` needs it, since
                it reads what texts were padded to in training (120 in the book);
                None: all positions of the model.
            pool: None: `last_real` for Hugging Face, `last` for LLMs-from-scratch.
            num_heads, naming, offline: as in `load_pretrained`.
            tokenizer: its folder; None: beside the weights, else GPT-2's.

        Raises:
            WeightsError: no such classifier, something that it does not tell is not
                given, or something is given that a run of ours tells itself.
            ValueError: a pool, a naming or a number that none can be.
        """
        layout = {"num_heads": num_heads, "naming": naming, "tokenizer": tokenizer}
        names = None if classes is None else tuple(classes)
        how = ForeignConfig(**layout, classes=names, max_length=max_length, pool=pool)
        return cls(read_classifier(path, how, offline=offline))

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the columns of `predict_proba`."""
        return self._trained.classes

    @property
    def max_length(self) -> int:
        """Tokens that are read at once of a text."""
        return self._trained.max_length

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of texts."""
        return self._trained.tokenizer

    def predict(self, texts: Iterable[str]) -> list[str]:
        """Return the label of each text, as `decide` does."""
        rows = decide(self.predict_proba(texts), self.threshold)
        return [self.labels[i] for i in rows]

    def predict_proba(self, texts: Iterable[str]) -> np.ndarray:
        """Return float64 probabilities [N, C], calibrated; each row sums to 1.

        Raises:
            TypeError: `texts` is one string or a table, or holds something else than
                strings.
        """
        return self._proba(*self._encode(texts))

    def decide(
        self, probabilities: np.ndarray, *, abstain_below: float = 0.0
    ) -> list[str | None]:
        """Return the label of each row of `predict_proba`.

        It is the most probable one, unless `gpt2-jax threshold` stored a threshold.
        None where the probability of the label is below `abstain_below`.
        """
        rows = decide(probabilities, self.threshold)
        chosen = np.take_along_axis(probabilities, rows[:, None], axis=-1)[:, 0]
        return [
            self.labels[row] if probability >= abstain_below else None
            for row, probability in zip(rows, chosen, strict=True)
        ]

    def classify(
        self, texts: Iterable[str], *, abstain_below: float = 0.0
    ) -> list[Prediction]:
        """Return label, probabilities and length of each text; see `decide`."""
        given, encoded = self._encode(texts)
        lengths = [
            len(ids) if text else 0 for text, ids in zip(given, encoded, strict=True)
        ]
        rows = self._proba(given, encoded)
        answers = self.decide(rows, abstain_below=abstain_below)
        return [
            Prediction(
                label=answer,
                prob=float(row[chosen]),
                probs=dict(zip(self.labels, row.tolist(), strict=True)),
                n_tokens=length,
                truncated=self.truncates(length),
            )
            for answer, row, chosen, length in zip(
                answers, rows, decide(rows, self.threshold), lengths, strict=True
            )
        ]

    def explain(
        self, texts: Iterable[str], method: str = OCCLUSION
    ) -> list[list[Word]]:
        """Return what each word of each text adds to its label; approximate.

        Args:
            method: `occlusion`, differences of the label's probability, or
                `gradients`, integrated gradients of its log-probability.

        Raises:
            ValueError: an unknown method.
            TypeError: as in `predict_proba`.
        """
        return explain(self, given_texts(texts), method)

    def attributions(
        self, texts: Iterable[str], *, steps: int | None = None
    ) -> list[Attribution]:
        """Return the integrated gradients of each text, token by token."""
        trained, (given, encoded) = self._trained, self._encode(texts)
        if trained.lexical is not None:
            what = "gradients do not reach the lexical part of this classifier"
            raise UserError(f"{what}; explain with {OCCLUSION}")
        labels = decide(self._proba(given, encoded), self.threshold)
        most = max(map(len, encoded), default=0)
        if trained.long != "cut" and most > self.max_length:
            what = f"gradients are of texts that are read at once, not of {most} tokens"
            raise UserError(f"{what}; explain with {OCCLUSION}")
        cut = [ids[: self.max_length] for ids in encoded]
        if self._scorer.pool.reads_padding:
            cut = pad(encoded, self.max_length, self.tokenizer.end_id).tolist()
        limits = {"max_length": self.max_length, "end_id": self.tokenizer.end_id}
        return integrated_gradients(
            trained.config, self._scorer.params, cut, labels, steps=steps, **limits
        )

    def logits(self, texts: Iterable[str]) -> np.ndarray:
        """Return float32 class logits [N, C], before the calibration."""
        return self._logits(*self._encode(texts))

    def embed(self, texts: Iterable[str]) -> np.ndarray:
        """Return float32 embeddings [N, D]: what the classification head reads.

        With the pool `last_mean` they are [N, 2D].
        """
        return self._scorer.embeddings(self._encode(texts)[1])

    def _proba(self, texts: Sequence[str], encoded: Sequence[list[int]]) -> np.ndarray:
        return softmax(self._logits(texts, encoded) / self._trained.temperature)

    def _encode(self, texts: Iterable[str]) -> tuple[Sequence[str], list[list[int]]]:
        """Return the texts and the tokens of each."""
        given = given_texts(texts)
        return given, [self.tokenizer.encode(text) for text in given]

    def _logits(self, texts: Sequence[str], encoded: Sequence[list[int]]) -> np.ndarray:
        logits, lexical = self._scorer.logits(encoded), self._trained.lexical
        if lexical is None:
            return logits
        sizes = map(len, encoded)
        return logits + lexical.logits(parts_read(texts, sizes, **self._cut))

    def count_cut(self, texts: Iterable[str]) -> int:
        """Return of how many texts not all is read."""
        return count_cut(given_texts(texts), **self._cut)

    def truncates(self, num_tokens: int) -> bool:
        """Return whether not all is read of a text of so many tokens."""
        return num_tokens > self.max_length and self._trained.long != "windows"

    def part_read(self, text: str) -> str:
        """Return the beginning of `text` up to where it is read."""
        return part_read(text, **self._cut)
