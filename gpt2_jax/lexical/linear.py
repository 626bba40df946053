"""A linear model on TF-IDF of n-grams, in numpy: what prediction needs of it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from gpt2_jax.lexical.ngrams import NGRAMS

# Of each text the n-grams that a model knows, and their TF-IDF, float32.
Counts = Sequence[tuple[np.ndarray, np.ndarray]]

_SEPARATOR = "\n"  # no n-gram holds it: those of characters end at white space


@dataclasses.dataclass(frozen=True, eq=False)
class LinearModel:
    """Class logits of a text: `tfidf(text) @ coef + intercept`."""

    kind: str  # a key of `NGRAMS`
    terms: tuple[str, ...]  # V n-grams
    idf: np.ndarray  # float32 [V]
    coef: np.ndarray  # float32 [V, C]
    intercept: np.ndarray  # float32 [C]

    @functools.cached_property
    def _ids(self) -> Mapping[str, int]:
        return {term: i for i, term in enumerate(self.terms)}

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 [N, C]."""
        return self.weigh(self.counts(texts))

    def counts(self, texts: Sequence[str]) -> Counts:
        """Return what stands in each text; the same whatever the coefficients are."""
        return [self._count(text) for text in texts]

    def weigh(self, counts: Counts) -> np.ndarray:
        """Return the logits of texts, float32 [N, C], from what stands in them."""
        rows = [weights @ self.coef[ids] + self.intercept for ids, weights in counts]
        return np.stack(rows) if rows else np.empty((0, len(self.intercept)), "f4")

    def _count(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids, ngrams = self._ids, NGRAMS[self.kind](text)
        found = [ids[ngram] for ngram in ngrams if ngram in ids]
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows, counts = np.unique(found, return_counts=True)
        weights = (1 + np.log(counts)) * self.idf[rows]
        return rows, (weights / np.linalg.norm(weights)).astype(np.float32)

    def scaled(self, by: float) -> LinearModel:
        """Return the model whose logits are `by` times as large."""
        coef, intercept = np.float32(by) * self.coef, np.float32(by) * self.intercept
        return dataclasses.replace(self, coef=coef, intercept=intercept)


@dataclasses.dataclass(frozen=True)
class Lexical:
    """What n-grams add to the logits of a model."""

    models: tuple[LinearModel, ...]

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 [N, C]: the sum over the models."""
        return self.weigh([model.counts(texts) for model in self.models])

    def weigh(self, counts: Sequence[Counts]) -> np.ndarray:
        """Return float32 [N, C] of what each model has counted."""
        pairs = zip(self.models, counts, strict=True)
        return np.sum([model.weigh(of_model) for model, of_model in pairs], axis=0)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return all that it is, by name, as safetensors keep it."""
        found: dict[str, np.ndarray] = {}
        for model in self.models:
            terms = _SEPARATOR.join(model.terms).encode("utf-8", "surrogatepass")
            found |= {
                f"{model.kind}.terms": np.frombuffer(terms, np.uint8),
                f"{model.kind}.idf": model.idf,
                f"{model.kind}.coef": np.ascontiguousarray(model.coef),
                f"{model.kind}.intercept": model.intercept,
            }
        return found

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], num_classes: int
    ) -> Lexical:
        """Return what `tensors` made of it.

        Raises:
            ValueError: these are not the tensors of such a part.
        """
        kinds = list(dict.fromkeys(name.partition(".")[0] for name in tensors))
        fields = ("terms", "idf", "coef", "intercept")
        names = {f"{kind}.{field}" for kind, field in itertools.product(kinds, fields)}
        if not kinds or set(kinds) - set(NGRAMS) or names != set(tensors):
            raise ValueError(f"tensors {', '.join(tensors)} are no lexical part")
        models = []
        for kind in kinds:
            raw, idf, coef, intercept = (tensors[f"{kind}.{f}"] for f in fields)
            terms = raw.tobytes().decode("utf-8", "surrogatepass").split(_SEPARATOR)
            shapes = [(len(terms),), (len(terms), num_classes), (num_classes,)]
            if [v.shape for v in (idf, coef, intercept)] != shapes:
                raise ValueError(
                    f"{kind}: expected shapes {shapes}, got "
                    f"{[v.shape for v in (idf, coef, intercept)]}"
                )
            models.append(LinearModel(kind, tuple(terms), idf, coef, intercept))
        return cls(tuple(models))
