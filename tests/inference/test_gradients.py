"""Integrated gradients: complete, the same in any company, by words."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from helpers import TINY, random_params
from training_helpers import ON_DISK, compilations

from gpt2_jax.engine.cut import part_read
from gpt2_jax.engine.packing import DEVICE_CALL_TOKENS
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.inference import gradients
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.tokenizer import END_OF_TEXT, encode
from gpt2_jax.weights.trained import TrainedModel

_TEXTS = ["win a free prize", "see you", "🎉 naïve\u2028é  twice  ", "a " * 30]
_ODD = ["", " ", "\n\t", "half \ud83d one", "<|endoftext|>", "x" * 300, "🎉" * 40]


def _classifier(pool: str = "last_real") -> Classifier:
    config = dataclasses.replace(ON_DISK, num_classes=3, pool=pool)
    params = random_params(config)
    params["wte"]["embedding"] *= 4  # far from the baseline, so that
    params["out_head"]["kernel"] *= 10  # few steps are too few
    return Classifier(TrainedModel(config, params, ("a", "b", "c"), 24))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return _classifier()


def _error(classifier: Classifier, steps: int) -> float:
    found = classifier.attributions(_TEXTS[:3], steps=steps)  # of one width
    return max(abs(a.tokens.sum() - a.difference) for a in found)


@pytest.mark.slow
def test_attributions_sum_to_the_difference_the_closer_the_more_steps(classifier):
    errors = [_error(classifier, steps) for steps in (2, 4, 8)]
    assert errors[0] > 5e-3
    assert errors[0] > 8 * errors[1] > 64 * errors[2]
    assert errors[2] < 1e-3


def _check_difference(classifier: Classifier, width: int | None) -> None:
    """The baseline is as many `<|endoftext|>`, which no text can spell."""
    rows = np.log(softmax(classifier.logits(_TEXTS)))
    lengths = [width or min(len(encode(text)), 24) for text in _TEXTS]
    ends = classifier._scorer.logits([[END_OF_TEXT] * length for length in lengths])
    for row, base, found in zip(
        rows, np.log(softmax(ends)), classifier.attributions(_TEXTS), strict=True
    ):
        assert found.label == row.argmax()
        expected = row[found.label] - base[found.label]
        assert found.difference == pytest.approx(expected, abs=1e-4)
        assert found.tokens.sum() == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_the_difference_is_that_of_the_log_probabilities(classifier):
    _check_difference(classifier, None)


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["last", "mean", "first"])
def test_it_is_so_for_every_pool(pool):
    _check_difference(_classifier(pool), 24 if pool == "last" else None)


@pytest.mark.slow
def test_texts_do_not_meet_in_a_batch(classifier):
    together = classifier.attributions(_TEXTS)
    for text, found in zip(_TEXTS, together, strict=True):
        alone = classifier.attributions([text])[0].tokens
        np.testing.assert_allclose(alone, found.tokens, atol=1e-5)


def test_a_word_weighs_what_its_tokens_do(classifier):
    text = "  win  a zxqvian 🎉prize\n"
    words = classifier.explain([text], "gradients")[0]
    assert [word.word for word in words] == text.split()
    assert all(text[w.start : w.end] == w.word for w in words)
    tokens = classifier.attributions([text])[0].tokens
    assert sum(w.weight for w in words) == pytest.approx(tokens.sum())
    before, own = len(encode("  win  a")), len(encode(" zxqvian"))
    assert own > 1
    assert words[2].weight == pytest.approx(tokens[before : before + own].sum())


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_every_text_can_be_explained(classifier, method):
    found = classifier.explain(_ODD, method)
    for text, words in zip(_ODD, found, strict=True):
        assert all(text[w.start : w.end] == w.word for w in words)
        assert all(np.isfinite(w.weight) for w in words)
        part = part_read(text, classifier.max_length)
        assert "".join(w.word for w in words) == "".join(part.split())
    assert [len(words) for words in found[:3]] == [0, 0, 0]


def test_only_the_part_that_is_read_is_explained(classifier):
    text = "word " * 20 + "🎉" * 3 + " never"
    part = part_read(text, 21)
    assert text.startswith(part) and part.count("🎉") == 0
    assert len(encode(part)) <= 21
    assert part_read(text, 24).count("🎉") == 1
    for method in ("occlusion", "gradients"):
        words = classifier.explain([text], method)[0]
        assert all(word.word != "never" for word in words)


@pytest.mark.slow
def test_many_texts_compile_few_programs(classifier):
    texts = ["so " * (i % 30) + "free prize" for i in range(90)]
    with compilations() as counts:
        classifier.attributions(texts)
        classifier.attributions(texts[:70])
    assert counts["run"] <= 2  # the widths of up to 24 tokens: 16 and 24


def test_an_unknown_method_is_refused(classifier):
    with pytest.raises(ValueError, match="method='guess' is not one of occlusion"):
        classifier.explain(["a"], "guess")


def test_a_device_that_is_fed_by_the_host_gets_larger_calls(monkeypatch):
    asked = []
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(
        gradients, "by_length", lambda *given: asked.append(given[-1]) or []
    )
    gradients.integrated_gradients(TINY, {}, [[1]], np.zeros(1), max_length=8, steps=1)
    assert asked == [DEVICE_CALL_TOKENS]
