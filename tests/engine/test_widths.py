import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.engine.widths import (
    BUCKETS,
    by_length,
    epoch_order,
    epoch_rows,
    next_width,
    widths_up_to,
)


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
