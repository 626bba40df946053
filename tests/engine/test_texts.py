"""Texts end to end: nothing but the tokens, equal texts once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.engine.texts import lay_out, pad
from gpt2_jax.tokenizer import END_OF_TEXT, encode

_TEXTS = ["hello", "a somewhat longer text", "", "see you at lunch tomorrow, then " * 9]
_IDS = st.lists(
    st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=30
)


@given(encoded=_IDS, limit=st.integers(1, 14), padded=st.booleans())
def test_every_text_is_where_it_is_said_to_be(encoded, limit, padded):
    texts = lay_out(encoded, limit=limit, padded=padded)
    for row, ids in enumerate(encoded):
        expected = ids[:limit]
        if padded:
            expected = expected + [END_OF_TEXT] * (limit - len(expected))
        assert texts.tokens_of(row).tolist() == expected
    distinct = {tuple(texts.tokens_of(row)) for row in range(len(encoded))}
    assert len(texts.values) == sum(map(len, distinct))  # no padding, no text twice
    assert texts.widths[-1] == max(map(len, distinct))


@pytest.mark.fault(38)
def test_a_text_of_more_than_1024_tokens_is_cut():
    texts = lay_out([encode("word " * 2000)], limit=1024)
    assert texts.lengths.tolist() == [1024] and texts.widths[-1] == 1024


def test_padding_is_behind_the_end():
    encoded = [encode(text) for text in _TEXTS]
    padded = pad(encoded, 9)
    assert padded.shape == (4, 9) and padded.dtype == np.int32
    for row, ids in zip(padded, encoded, strict=True):
        assert row[: len(ids)].tolist() == ids[:9]
        assert (row[len(ids) :] == END_OF_TEXT).all()


def test_a_text_weighs_what_its_class_does():
    weights = np.asarray([0.5, 2.0], np.float32)
    texts = lay_out([[1], [2], [1]], limit=4, labels=[0, 1, 1], class_weights=weights)
    assert texts.labels.tolist() == [0, 1, 1]
    assert texts.loss_weights.tolist() == [0.5, 2.0, 2.0]
    assert lay_out([[1]], limit=4).loss_weights.tolist() == [1.0]
