"""Occlusion: the words that matter are found, whatever the text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.inference.explain import occlusion, word_spans


def _prizes(texts: Sequence[str]) -> np.ndarray:
    """Spam is more probable with each "prize" and less so with each "lunch"."""
    spam = [0.55 + 0.2 * t.count("prize") - 0.1 * t.count("lunch") for t in texts]
    return np.stack([1 - np.asarray(spam), spam], axis=-1)


def test_a_word_weighs_what_the_probability_loses_without_it():
    text = "a prize for 🎉 lunch"
    weights = {text[start:end]: w for (start, end), w in occlusion(_prizes, text)}
    expected = {"a": 0.0, "prize": 0.2, "for": 0.0, "🎉": 0.0, "lunch": -0.1}
    assert weights == pytest.approx(expected)


def test_weights_speak_for_the_predicted_label():
    weights = [weight for _, weight in occlusion(_prizes, "lunch lunch prize")]
    assert weights == pytest.approx([-0.1, -0.1, 0.2])
    weights = [weight for _, weight in occlusion(_prizes, "lunch " * 3)]
    assert weights == pytest.approx([0.1] * 3)  # for ham, which it is now


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_text_without_words_rests_on_none(text):
    assert occlusion(_prizes, text) == []


@given(st.text(), st.integers(1, 8))
def test_spans_hold_every_word_once_in_order_and_are_no_more_than_asked(text, limit):
    spans = word_spans(text, limit)
    assert len(spans) <= limit
    words = [word for start, end in spans for word in text[start:end].split()]
    assert "".join(words) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("两个prize", ["两", "个", "prize"]),
        ("です。 かぶ", ["で", "す", "。", "か", "ぶ"]),
        ("ที่นี่ ok", ["ที่", "นี่", "ok"]),  # a letter keeps its vowel and its tone
        ("ខ្ញុំ", ["ខ្", "ញុំ"]),
        ("한국어 문장", ["한국어", "문장"]),  # Korean has spaces
        ("x" * 50, ["x" * 40, "x" * 10]),
    ],
)
def test_without_spaces_each_character_is_a_word(text, words):
    assert [text[start:end] for start, end in word_spans(text)] == words


def test_a_text_without_spaces_rests_on_a_part_of_it():
    def answers(texts: Sequence[str]) -> np.ndarray:
        spam = np.asarray([0.4 + 0.5 * ("奖" in text) for text in texts])
        return np.stack([1 - spam, spam], axis=-1)

    text = "恭喜你中奖了请回复"
    found = occlusion(answers, text)
    assert [text[start:end] for (start, end), weight in found if weight > 0.1] == ["奖"]
