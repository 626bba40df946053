"""The linear models: scikit-learn fits them, and numpy gives the same answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.lexical.fit import fit_linear
from gpt2_jax.lexical.linear import Lexical
from gpt2_jax.lexical.ngrams import NGRAMS, VECTORIZERS

pytest.importorskip("sklearn")

_TEXTS = ["win cash", "see you", "win a prize", "you there", "odd one, Odd two"] * 3
_LABELS = np.array([1, 0, 1, 0, 2] * 3)
_UNSEEN = ["win WIN you", "are you", "an odd prize", "", "zzz"]


@pytest.mark.parametrize("kind", NGRAMS)
@given(text=st.text(max_size=60) | st.text("ab \n\t.ß\x1c\u3000İ", max_size=30))
def test_ngrams_are_those_of_scikit_learn(kind, text):
    from sklearn.feature_extraction.text import TfidfVectorizer

    expected = TfidfVectorizer(**VECTORIZERS[kind]).build_analyzer()(text)
    assert sorted(NGRAMS[kind](text)) == sorted(expected)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("kind", NGRAMS)
def test_logits_are_those_of_scikit_learn(kind, num_classes):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    used = num_classes > _LABELS
    texts = [text for text, kept in zip(_TEXTS, used, strict=True) if kept]
    labels = _LABELS[used]
    vectorizer = TfidfVectorizer(sublinear_tf=True, **VECTORIZERS[kind])
    model = LogisticRegression(C=10.0, solver="newton-cg", max_iter=2000)
    model.fit(vectorizer.fit_transform(texts), labels)
    expected = model.predict_proba(vectorizer.transform(_UNSEEN))
    ours = fit_linear(kind, texts, labels, num_classes)
    assert ours is not None
    odds = np.exp(ours.logits(_UNSEEN))
    np.testing.assert_allclose(odds / odds.sum(-1, keepdims=True), expected, atol=1e-3)


def test_texts_without_a_word_are_nothing_to_fit():
    assert fit_linear("words", [" "] * 4, np.array([0, 1, 0, 1]), 2) is None


def test_a_class_that_no_training_text_has_is_unlikely_and_not_impossible():
    two, one = np.where(_LABELS == 2, 3, _LABELS), np.zeros(len(_LABELS), int)
    for labels, absent in ((two, 2), (one, 1)):
        model = fit_linear("words", _TEXTS, labels, 4)
        assert model is not None
        logits = model.logits(_UNSEEN)
        assert np.isfinite(logits).all() and (logits.argmin(-1) == absent).all()
        assert set(logits.argmax(-1)) <= set(labels)


def test_a_lexical_part_is_the_same_after_it_was_stored():
    models = [fit_linear(kind, _TEXTS, _LABELS, 3) for kind in NGRAMS]
    part = Lexical(tuple(m.scaled(0.5) for m in models if m is not None))
    again = Lexical.from_tensors(part.tensors(), 3)
    expected = sum(0.5 * m.logits(_UNSEEN) for m in models if m is not None)
    np.testing.assert_allclose(part.logits(_UNSEEN), expected, atol=1e-6)
    np.testing.assert_array_equal(again.logits(_UNSEEN), part.logits(_UNSEEN))
    assert part.logits([]).shape == (0, 3)


def _without_a_term(tensors):
    raw = tensors["chars.terms"].tobytes()
    return {"chars.terms": np.frombuffer(raw[: raw.index(b"\n")], np.uint8)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {"chars.more": t["chars.idf"]}, "no lexical part"),
        (lambda t: {"other.idf": t["chars.idf"]}, "no lexical part"),
        (lambda t: {"chars.coef": t["chars.coef"][:, :2]}, "expected shapes"),
        (_without_a_term, "expected shapes"),
    ],
)
def test_other_tensors_are_refused(change, said):
    model = fit_linear("chars", _TEXTS, _LABELS, 3)
    assert model is not None
    tensors = Lexical((model,)).tensors()
    with pytest.raises(ValueError, match=said):
        Lexical.from_tensors({**tensors, **change(tensors)}, 3)
    with pytest.raises(ValueError, match="no lexical part"):
        Lexical.from_tensors({}, 3)
