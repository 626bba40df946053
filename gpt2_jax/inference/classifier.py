"""Load a trained classifier and classify texts with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gpt2_jax.engine.engine import Scorer
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.texts import lay_out, pad_examples
from gpt2_jax.engine.trunk import SLAB, run_trunk
from gpt2_jax.errors import WeightsError
from gpt2_jax.evaluation.decision import decide
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.inference.explain import OCCLUSION, Word, explain
from gpt2_jax.inference.gradients import Attribution, integrated_gradients
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.tokenizer import END_OF_TEXT, encode
from gpt2_jax.weights.pretrained import read_pretrained
from gpt2_jax.weights.trained import TrainedModel, load_model

# Tokens whose trunk outputs are held at once: 128 MiB with mini, 384 MiB with 124M.
SLAB_TOKENS = 2**17


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text."""

    label: str | None  # None: abstained
    prob: float  # of the label, also where it was not given
    probs: dict[str, float]  # of every class
    n_tokens: int  # of the whole text; 0: it is empty
    truncated: bool  # only its first `max_length` tokens were read


class Classifier:
    """A trained classifier; texts are encoded as they were in training."""

    def __init__(self, trained: TrainedModel) -> None:
        self._trained = trained
        config = trained.config
        self._params = jax.tree.map(jnp.asarray, trained.params)
        # Of the last block only the pooled position is needed.
        self._split = config.num_layers - (config.pool != "mean")
        top = {
            "ln_f",
            "out_head",
            *(f"h_{i}" for i in range(self._split, config.num_layers)),
        }
        self._top = {name: self._params[name] for name in top}
        self._steps = jit_steps(GPT2(config), {}, split=self._split)

    @classmethod
    def load(cls, run: str | Path) -> Classifier:
        """Load the classifier of a run.

        Raises:
            WeightsError: there is none, or it is damaged.
        """
        return cls(load_model(Path(run)))

    @classmethod
    def from_weights(
        cls,
        path: str | Path,
        *,
        classes: Sequence[str] | None = None,
        max_length: int | None = None,
        pool: str | None = None,
        num_heads: int | None = None,
        naming: str | None = None,
    ) -> Classifier:
        """Load a classifier that another program trained.

        Args:
            path: a GPT2ForSequenceClassification of Hugging Face, or a classifier of
                LLMs-from-scratch, such as `review_classifier.pth`.
            classes: the labels, in the order of the logits; None: those of config.json.
            max_length: tokens; what is longer is cut. The pool `last` needs it, since
                it reads what texts were padded to in training (120 in the book);
                None: all positions of the model.
            pool: None: `last_real` for Hugging Face, `last` for LLMs-from-scratch.
            num_heads, naming: as in `load_pretrained`.

        Raises:
            WeightsError: no such classifier, or something that it does not tell is not
                given.
        """
        found = read_pretrained(path, num_heads=num_heads, naming=naming)
        config, limit = found.config, found.config.max_len
        if config.num_classes is None:
            raise WeightsError(f"{path}: no classifier; gpt2-jax finetune makes one")
        names = tuple(classes or found.classes or ())
        if len(names) != config.num_classes:
            raise WeightsError(
                f"{path}: {config.num_classes} logits, but {len(names)} class names; "
                "give classes=(...)"
            )
        config = dataclasses.replace(config, pool=pool or config.pool)
        max_length = max_length or found.max_length
        if max_length is None and config.pool == "last":
            raise WeightsError(
                f"{path}: the pool last reads padding; give max_length, the tokens "
                "that texts were padded to in training, or another pool"
            )
        if not 1 <= (max_length or limit) <= limit:
            raise WeightsError(f"{path}: max_length={max_length} is not in 1..{limit}")
        return cls(TrainedModel(config, found.params, names, max_length or limit))

    @property
    def positive(self) -> str | None:
        """The class whose precision is told; None: the second of two."""
        return self._trained.positive

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the columns of `predict_proba`."""
        return self._trained.classes

    @property
    def max_length(self) -> int:
        """Tokens; what is longer is cut."""
        return self._trained.max_length

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the label of each text, as `decide` does."""
        rows = decide(self.predict_proba(texts), self._threshold)
        return [self.labels[i] for i in rows]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return float64 probabilities [N, C], calibrated; each row sums to 1.

        Raises:
            TypeError: `texts` is one string, or holds something else than strings.
        """
        return softmax(self.logits(texts) / self._trained.temperature)

    def decide(
        self, probabilities: np.ndarray, *, abstain_below: float = 0.0
    ) -> list[str | None]:
        """Return the label of each row of `predict_proba`.

        It is the most probable one, unless `gpt2-jax threshold` stored a threshold.
        None where the probability of the label is below `abstain_below`.
        """
        rows = decide(probabilities, self._threshold)
        chosen = np.take_along_axis(probabilities, rows[:, None], axis=-1)[:, 0]
        return [
            self.labels[row] if probability >= abstain_below else None
            for row, probability in zip(rows, chosen, strict=True)
        ]

    def describe_threshold(self) -> list[str]:
        """Return a line about the threshold, if one is stored."""
        threshold = self._trained.threshold
        if threshold is None:
            return []
        return [
            f"threshold: {threshold.positive} from a probability of "
            f"{threshold.value:.6f} on"
        ]

    @property
    def _threshold(self) -> tuple[int, float] | None:
        threshold = self._trained.threshold
        if threshold is None:
            return None
        return self.labels.index(threshold.positive), threshold.value

    def classify(
        self, texts: Sequence[str], *, abstain_below: float = 0.0
    ) -> list[Prediction]:
        """Return label, probabilities and length of each text; see `decide`."""
        encoded = self._encode(texts)
        lengths = [
            len(ids) if text else 0 for text, ids in zip(texts, encoded, strict=True)
        ]
        rows = softmax(self._logits(encoded) / self._trained.temperature)
        answers = self.decide(rows, abstain_below=abstain_below)
        return [
            Prediction(
                label=answer,
                prob=float(row[chosen]),
                probs=dict(zip(self.labels, row.tolist(), strict=True)),
                n_tokens=length,
                truncated=length > self.max_length,
            )
            for answer, row, chosen, length in zip(
                answers, rows, decide(rows, self._threshold), lengths, strict=True
            )
        ]

    def explain(
        self, texts: Sequence[str], method: str = OCCLUSION
    ) -> list[list[Word]]:
        """Return what each word of each text adds to its label; approximate.

        Args:
            method: `occlusion`, differences of the label's probability, or
                `gradients`, integrated gradients of its log-probability.

        Raises:
            ValueError: an unknown method.
        """
        return explain(self, texts, method)

    def attributions(
        self, texts: Sequence[str], *, steps: int | None = None
    ) -> list[Attribution]:
        """Return the integrated gradients of each text, token by token."""
        trained = self._trained
        encoded = self._encode(texts)
        labels = self._logits(encoded).argmax(-1)
        cut = [ids[: self.max_length] for ids in encoded]
        if trained.config.pool == "last":
            cut = [_pad(ids, self.max_length) for ids in cut]
        return integrated_gradients(
            trained.config,
            self._params,
            cut,
            labels,
            max_length=self.max_length,
            steps=steps,
        )

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 class logits [N, C], before the calibration."""
        return self._logits(self._encode(texts))

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("expected a sequence of strings, such as ['a text']")
        return [encode(text) for text in texts]

    def _logits(self, encoded: Sequence[list[int]]) -> np.ndarray:
        out = [np.empty((0, len(self.labels)), np.float32)]
        start = tokens = 0
        padded = self._trained.config.pool == "last"
        for end, ids in enumerate(encoded, start=1):
            tokens += self.max_length if padded else min(len(ids), self.max_length)
            full = end - start == SLAB or tokens >= SLAB_TOKENS
            if full or end == len(encoded):
                out.append(self._slab_logits(encoded[start:end]))
                start, tokens = end, 0
        return np.concatenate(out)

    def _slab_logits(self, encoded: Sequence[list[int]]) -> np.ndarray:
        config = self._trained.config
        examples = pad_examples(
            encoded,
            np.zeros(len(encoded)),
            max_length=self.max_length,
            limit=config.max_len,
        )
        weights = np.ones(1, np.float32)
        tokens = lay_out(examples, weights, padded=config.pool == "last")
        hidden = run_trunk(config, self._params, tokens, self._split)
        scorer = Scorer.create(self._steps, hidden, resident=False)
        return scorer.logits(self._top, np.arange(len(encoded)))

    def count_cut(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than `max_length` tokens."""
        # A token is at least one byte: few texts need their tokens counted.
        may_be = [
            text
            for text in texts
            if len(text.encode("utf-8", "surrogatepass")) > self.max_length
        ]
        return sum(len(encode(text)) > self.max_length for text in may_be)


def _pad(ids: list[int], length: int) -> list[int]:
    return ids + [END_OF_TEXT] * (length - len(ids))
