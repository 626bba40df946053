import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.engine.texts import encode_examples, widen
from gpt2_jax.engine.widths import (
    BUCKETS,
    by_length,
    epoch_order,
    epoch_rows,
    next_width,
    widths_up_to,
)
from gpt2_jax.tokenizer import END_OF_TEXT, encode

TEXTS = ["hello", "a somewhat longer text", "", "see you at lunch tomorrow, then " * 9]


def examples(max_length=None, limit=1024):
    return encode_examples(TEXTS, [0, 1, 0, 1], max_length=max_length, limit=limit)


def test_texts_are_padded_behind_their_end():
    encoded = examples()
    for row, text in enumerate(TEXTS):
        ids = encode(text)
        assert encoded.lengths[row] == len(ids)
        assert encoded.tokens[row, : len(ids)].tolist() == ids
        assert (encoded.tokens[row, len(ids) :] == END_OF_TEXT).all()
    assert (encoded.cut, encoded.empty) == (0, 1)
    assert encoded.tokens.shape[1] == encoded.lengths.max()


def test_what_is_cut_is_counted():
    encoded = examples(max_length=4)
    assert encoded.tokens.shape == (4, 4)
    assert encoded.cut == sum(len(encode(text)) > 4 for text in TEXTS)
    assert examples(limit=3).tokens.shape == (4, 3)


@pytest.mark.fault(38)
def test_a_text_of_more_than_1024_tokens_is_cut_and_counted():
    encoded = encode_examples(["word " * 2000], [0], max_length=None, limit=1024)
    assert encoded.tokens.shape == (1, 1024)
    assert encoded.cut == 1


def test_widening_changes_the_padding_only():
    encoded = examples(max_length=5)
    wide = widen(encoded, 9)
    np.testing.assert_array_equal(wide.tokens[:, :5], encoded.tokens)
    assert (wide.tokens[:, 5:] == END_OF_TEXT).all()


def test_the_order_is_a_function_of_seed_and_epoch():
    order = epoch_order(50, seed=1, epoch=2)
    np.random.seed(0)  # numpy's global state has no part in it
    np.testing.assert_array_equal(order, epoch_order(50, seed=1, epoch=2))
    assert sorted(order) == list(range(50))
    for other in ((2, 2), (1, 3), (2, 1)):
        assert not np.array_equal(order, epoch_order(50, *other))


@given(num=st.integers(1, 60), size=st.integers(1, 9), epoch=st.integers(0, 3))
def test_the_ragged_training_batch_is_dropped(num, size, epoch):
    batches = list(epoch_rows(num, size, seed=5, epoch=epoch))
    assert [len(rows) for rows in batches] == [size] * (num // size)
    order = epoch_order(num, 5, epoch)
    rows = np.concatenate([np.empty(0, np.int64), *batches])
    np.testing.assert_array_equal(rows, order[: num // size * size])


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1), tokens=st.sampled_from([8, 99])
)
def test_by_length_covers_every_row_once_the_long_ones_first(lengths, tokens):
    lengths = np.asarray(lengths, np.int32)
    batches = list(by_length(lengths, (8, 16, 40), tokens))
    rows = np.concatenate([rows for rows, _, _ in batches])
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) <= 0).all()
    for rows, width, size in batches:
        assert lengths[rows].max() <= width
        assert len(rows) <= size and (size == 1 or size * width <= tokens)
    assert all(len(rows) == size for rows, _, size in batches[:-1])


@given(st.integers(1, 1024), st.integers(1, 1024))
def test_a_batch_is_as_wide_as_the_smallest_width_that_holds_it(longest, limit):
    longest = min(longest, limit)
    holding = [bucket for bucket in BUCKETS if bucket >= longest]
    assert next_width(longest, widths_up_to(limit)) == min(holding[0], limit)
